"""The two sides of ``quant-report``: a quantised ONNX file, and the float model that it is compared with."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ....graph.edit import clone
from ....models.doors.building import tuples
from ....models.registry import find
from ....models.spec import face_words
from ....models.weights.place import NAMED
from ....runtime.bundle.bundle import Bundle, open_bundle
from ....runtime.errors import UserMistake
from ....runtime.ground.limits import FP8, INT4, INT8, NVFP4
from ....runtime.pictures.preprocess import ImageContract
from ...run.foreign.words import asked_of_engine, in_words
from ...tasks.known import EXPORTS, find_export
from ...tasks.task import shapes_of
from ..inspect.foreign.graphs import ForeignGraph, read_picture_graph
from ..inspect.foreign.pictures import USUAL, Face, PictureInput, raw
from ..inspect.foreign.tried import try_graph
from ..measure.file_peers import file_of, is_of_file

if TYPE_CHECKING:
    import onnx_ir as ir

    from ....calibration.report.quantised_file import Place
    from ....graph.run import Runner
    from ...tasks.task import ExportTask

MICROSOFT = "com.microsoft"
Shape = tuple[int, int, int]  # batch (0 where it is open), height, width
FAMILIES = {"float8": FP8, "float4": NVFP4, INT4: INT4, "uint4": INT4, "int16": "int16", "uint16": "int16"}
ASSUMED = (
    "an ONNX file does not say how its pictures are prepared: bicubic, centre crop, ImageNet's mean and std are assumed; "
    "--model NAME prepares them as that model does"
)


@dataclass(frozen=True)
class File:
    """A quantised ONNX file: ``model`` has probes, ``runnable`` is the graph as it is."""

    path: Path
    runnable: ir.Model
    model: ir.Model
    places: tuple[Place, ...]
    takes: PictureInput

    @property
    def shape(self) -> Shape:
        return _shape(self.takes)

    def answering(self, answers: Mapping[str, str]) -> File:
        """The same file with these outputs alone."""
        return replace(self, runnable=only(self.runnable, answers), model=only(self.model, answers))

    @property
    def precision(self) -> str:
        """Of most weights, else of most activations: int8, fp8, int4 ..."""
        kinds = Counter(place.weight.dtype for place in self.places if place.weight)
        kinds = kinds or Counter(one.dtype for place in self.places for one in place.activations)
        word = kinds.most_common(1)[0][0]
        return next((name for start, name in FAMILIES.items() if word.startswith(start)), INT8)

    @property
    def form(self) -> str:
        """In words: how the file says that it is quantised."""
        known = (node for node in self.runnable.graph if not node.domain or node.domain == MICROSOFT)
        ops = Counter(node.op_type for node in known)
        parts = [
            f"{count} {op}"
            for op, count in ops.items()
            if "quantize" in op.lower() or "Integer" in op or "QLinear" in op
        ]
        return ", ".join(parts + [f"{ops[op]} {op}" for op in ("MatMulNBits", "QGemm") if ops[op]])


@dataclass(frozen=True)
class Reference:
    """The float model: how to run it, what it wants, and its graph where it has one."""

    run: Runner
    contract: ImageContract
    classes: int
    task: ExportTask
    graph: ir.Model | None = None
    path: Path | None = None
    labels: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    rule: Any = None  # of its task, such as which boxes count
    whole: bool = False  # it reads whole numbers, 0..255


def open_file(path: Path, face: Face = USUAL) -> File:
    """``face``: what the pictures at hand are, where they are a bundle's. Raises UserMistake for a file that is no ONNX graph, has no quantisation in it, or takes anything but pictures."""
    from ....calibration.report.quantised_file import read_places

    foreign = read_picture_graph(path, face=face)
    model, places = read_places(foreign.model)
    if not places:
        raise UserMistake(
            f"{path} is not quantised",
            found="no QuantizeLinear, DequantizeLinear or integer operator in it",
            expected="a Q/DQ file, or one with QLinearConv, MatMulInteger or MatMulNBits",
            because="a calibration table of TensorRT or an engine is another thing: it has no graph",
            attempt="edgesmith inspect shows what the file is",
        )
    return File(path, foreign.model, model, places, foreign.takes)


def open_reference(
    ref: str | None,
    model: str | None,
    weights: str | None,
    num_classes: int | None,
    shape: Shape,
    like: Collection[str] = (),
    face: Face = USUAL,
) -> Reference:
    """An ONNX file, the graph of a bundle, or a model by name; it must take pictures of ``shape``.

    With both, the file is the reference and the name says how its pictures are prepared. ``like``: outputs that hold the
    answers in the quantised file; those of the same names do here. ``face``: as in ``open_file``.
    """
    if ref is None:
        assert model is not None
        return _named(model, weights, num_classes, shape)
    path = Path(ref)
    if not path.exists():
        raise UserMistake(
            f"There is no reference at {ref}",
            found="no file and no folder at that path",
            expected="the float ONNX file or bundle that the quantised one was made from",
            attempt="check the path, or --model NAME --weights FILE",
        )
    bundle = open_bundle(path) if path.is_dir() else None
    file = bundle.graph if bundle else path
    face = bundle.contract.face if bundle else face
    foreign = read_picture_graph(file, face=face)
    _check_face(file, foreign, face)
    graph, own = foreign.model, _shape(foreign.takes)
    sizes = [(ours, theirs) for ours, theirs in zip(shape[1:], own[1:], strict=True) if ours and theirs]
    if any(ours != theirs for ours, theirs in sizes):
        raise UserMistake(
            "The two do not take the same pictures",
            found=f"quantised {shape[1]} x {shape[2]}, reference {' x '.join(str(theirs) for _, theirs in sizes)}",
            expected="the same height and width",
            attempt="--ref with the model that the file was made from",
        )
    from ....calibration.judge.evaluation import BATCH, any_batch

    notes: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    size = _size(shape, own)
    task = find_export(bundle.task) if bundle else find_export(find(model).task) if model else task_in(graph)
    answers, told = answers_in(graph, task, file, num_classes, like)
    shapes = shapes_of(graph.graph)
    count = task.class_count([shapes[own] for own in answers.values()])
    classes = count if isinstance(count, int) else 0
    if bundle:
        contract, labels, rule = bundle.contract, tuple(bundle.labels), task.rule_of(bundle)
    elif model:
        spec = find(model)
        rule = task.usual(spec)
        contract = replace(spec.contract, size=size)
        labels = tuple(spec.labels(classes)) if classes else ()
    else:
        contract = ImageContract(size=size)
        _, rule = task.assumed()
        notes = (ASSUMED,)
    labels = tuple(task.class_names(labels, classes))
    if foreign.takes.whole:
        contract = raw(contract)
    try_graph(file, (own[0] or BATCH, 3, *size))
    with asked_of_engine(file):
        run = in_words(file, any_batch(only(graph, answers), optimise=True))
    return Reference(run, contract, classes, task, graph, file, labels, (*notes, *told), rule, foreign.takes.whole)


def bundle_reference(bundle: Bundle, weights: str | None, shape: Shape) -> Reference:
    """The PyTorch model or the ONNX file that a bundle was made from; its weights must be the same."""
    told = bundle.manifest.get("weights") or {}
    source = str(told.get("source", ""))
    words = [word for word in NAMED if source.startswith(word)]
    beside = str(bundle.path.parent / Path(source).name)  # a bundle is often left where the checkpoint lies
    chosen = weights or next(iter(words), beside if os.path.isfile(beside) else source)
    if chosen not in NAMED and not os.path.exists(chosen):
        raise UserMistake(
            "The checkpoint of this bundle was not found",
            found=f"nothing at {chosen}",
            expected="the file that the bundle was made from, to compare with",
            attempt="--weights PATH, or --ref model.onnx",
        )
    if is_of_file(bundle):
        classes, face = bundle.manifest.get("num_classes"), bundle.contract.face
        found = open_reference(str(file_of(bundle, chosen)), None, None, classes, shape, face=face)
        return replace(found, contract=bundle.contract, labels=tuple(bundle.labels), notes=())
    return _named(
        str(bundle.manifest["model"]), chosen, bundle.manifest.get("num_classes"), shape, bundle.contract,
        int(told.get("seed") or 0), told.get("sha256"), bool(told.get("ema")), bundle.manifest.get("model_args"),
    )  # fmt: skip


def _check_face(path: Path, foreign: ForeignGraph, face: Face) -> None:
    """UserMistake where the pictures at hand are not what the graph takes."""
    if foreign.face != face:
        raise UserMistake(
            "The two do not take the same pictures",
            found=f"{path}: {face_words(*foreign.takes.face)}",
            expected=face_words(*face),
            attempt="--ref with the model that the file was made from",
        )


def _named(
    model: str,
    weights: str | None,
    num_classes: int | None,
    shape: Shape,
    contract: ImageContract | None = None,
    seed: int = 0,
    sha256: str | None = None,
    ema: bool | None = None,
    model_args: Mapping[str, Any] | None = None,
) -> Reference:
    from ....models import as_recorded, prepare
    from ...run.runners import torch_runner

    arguments = {name: tuples(value) for name, value in (model_args or {}).items()}
    spec = find(model, arguments)
    if weights is None:
        raise UserMistake(
            f"Which weights of {spec.name}?",
            found=f"--model {model} without --weights",
            expected="the checkpoint that the quantised file was made from",
            because="with other weights the difference would not be that of the quantisation",
            attempt="--weights FILE, or --weights pretrained",
        )
    spec = as_recorded(spec.name, weights, arguments)
    size = _size(shape, (0, *spec.contract.size))
    made = prepare(spec.name, weights, num_classes, size, seed, ema, arguments)
    if sha256 and made.sha256 and made.sha256 != sha256:
        raise UserMistake(
            "That is not the checkpoint of this bundle",
            found=f"{weights}, sha256 {made.sha256[:12]}...",
            expected=f"sha256 {sha256[:12]}...",
            attempt="--weights with the file that the bundle was exported from",
        )
    wanted = contract or replace(spec.contract, size=size)
    task = find_export(spec.task)
    labels = tuple(task.class_names(spec.labels(made.num_classes), made.num_classes))
    run = torch_runner(made.module, os.cpu_count() or 1, task.runtime.outputs)
    return Reference(run, wanted, made.num_classes, task, labels=labels, rule=task.usual(spec))


def shape_of(sizes: Any, contract: ImageContract) -> Shape:
    """The shape in a manifest -> batch, height, width; an open batch is 0, open sides are those of the contract."""
    whole = [size if isinstance(size, int) else 0 for size in sizes]
    (high, wide), usual = contract.sides(whole), contract.size
    return whole[0], high or usual[0], wide or usual[1]


def _size(first: Shape, second: Shape) -> tuple[int, int]:
    return first[1] or second[1] or 224, first[2] or second[2] or 224


def task_in(graph: ir.Model) -> ExportTask:
    """The task whose outputs the graph has; any other graph hands out numbers, as one of the first task does."""
    first, *others = EXPORTS.values()
    return next((task for task in others[::-1] if task.claims(shapes_of(graph.graph))), first)


def answers_in(
    graph: ir.Model, task: ExportTask, path: Path, classes: int | None, like: Collection[str] = ()
) -> tuple[dict[str, str], tuple[str, ...]]:
    """The outputs that hold the answers of the task, its name -> the file's, and a note where there are others too.

    Raises UserMistake where it cannot be told which they are.
    """
    shapes = shapes_of(graph.graph)
    answers = task.claims_in(graph.graph, classes)
    if like and set(like) <= set(shapes):
        answers = dict(zip(answers or task.runtime.outputs, like, strict=False))
    if not answers:
        raise UserMistake(
            f"Which output of {path} holds what the {task.noun} answers?",
            found="; ".join(f"{name} {' x '.join(map(str, shape))}" for name, shape in shapes.items()),
            expected=task.files or "outputs " + ", ".join(task.runtime.outputs),
            because="another axis, or several such outputs, would be compared as if they were classes",
            attempt="--num-classes with their number, or onnx.utils.extract_model to take the output that is meant",
        )
    others = [name for name in shapes if name not in answers.values()]
    named = ", ".join(f"{own} ({' x '.join(map(str, shapes[own]))})" for own in answers.values())
    return answers, (f"{path.name}: {named} is compared, not {', '.join(others)}",) if others else ()


def only(model: ir.Model, answers: Mapping[str, str]) -> ir.Model:
    """A copy whose outputs are the answers of a task, under the task's names where there are several."""
    if [str(value.name) for value in model.graph.outputs] == list(answers.values()) and len(answers) == 1:
        return model
    copy = clone(model)
    outputs = {str(value.name): value for value in copy.graph.outputs}
    copy.graph.outputs.clear()
    copy.graph.outputs.extend(outputs[own] for own in answers.values())
    inner = {str(value.name): value for node in copy.graph for value in node.outputs}
    for ours, own in answers.items() if len(answers) > 1 else ():
        if ours != own:
            if ours in inner:
                inner[ours].name = f"{ours}_inner"
            outputs[own].name = ours
    return copy


def _shape(takes: PictureInput) -> Shape:
    """Batch, height, width; 0 where a size is open."""
    batch, _, height, width = (size if isinstance(size, int) else 0 for size in takes.shape)
    return batch, height, width
