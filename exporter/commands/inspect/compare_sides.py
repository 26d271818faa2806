"""The two sides of a comparison: a bundle on its own backend, an ONNX file on ONNX Runtime, or a model in PyTorch eager."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ....runtime.bundle.bundle import open_bundle
from ....runtime.bundle.onnx_scan import check_foreign
from ....runtime.errors import UserMistake
from ....runtime.ground.places import spelled
from ...run.runners import torch_runner
from ...tasks.known import EXPORTS, each, find_export

if TYPE_CHECKING:
    from ....runtime.pictures.preprocess import ImageContract
    from ...tasks.task import ExportTask

Limits = tuple[int, "int | None"]  # smallest and largest size, None where nothing bounds it

FLOATS = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
}  # as ONNX Runtime says


@dataclass(frozen=True)
class Side:
    """One of the two: how to run it, the input it wants, and its graph file where it has one."""

    name: str
    run: Callable[[np.ndarray], dict[str, np.ndarray]]  # (B, 3, H, W) -> every output by its name
    outputs: tuple[str, ...]
    answers: dict[str, str]  # the outputs that the task knows: its name -> the file's
    shape: tuple[int | str, ...]
    limits: tuple[Limits, ...]  # of each axis
    contract: ImageContract | None
    graph: Path | None
    close: Callable[[], None]
    task: ExportTask
    rule: Any = None
    classes: int | None = None  # where they cannot be counted in the answer
    finished: bool = False  # its graph holds the last step of the task, such as NMS

    def answer(self, results: Mapping[str, np.ndarray]) -> np.ndarray:
        """What the task makes of the outputs: one float32 array."""
        return self.task.runtime.joined({ours: results[own] for ours, own in self.answers.items()})

    def classes_of(self, answer: np.ndarray) -> int | None:
        """How many classes an answer tells of; those of a finished graph alone do not say."""
        return self.classes if self.finished else self.task.classes_of(answer)


def open_side(name: str, weights: str, num_classes: int | None) -> Side:
    """A bundle, an ONNX file, or a model by name; UserMistake for what is none of them."""
    path = Path(name)
    if path.is_dir():
        return _open_bundle(path)
    if path.is_file():
        return _open_graph(path)
    if path.suffix in (".onnx", ".edge") or "/" in name:
        raise UserMistake(
            f"There is nothing at {name}",
            found="no file and no folder at that path",
            expected="a bundle, an ONNX file, or the name of a model",
            attempt="check the path; edgesmith list prints the names of the models",
        )
    return _open_model(name, weights, num_classes)


def aligned(judge: Side, other: Side) -> tuple[Side, Side]:
    """The two with one output as the answer of both, where each has one: of one name, else in the same place."""
    if len(judge.answers) != 1 or len(other.answers) != 1:
        return judge, other
    ((ours, mine),), ((_, theirs),) = judge.answers.items(), other.answers.items()
    if mine in other.outputs:
        return judge, replace(other, answers={ours: mine})
    if theirs in judge.outputs:
        return replace(judge, answers={ours: theirs}), other
    if len(judge.outputs) == len(other.outputs):
        return judge, replace(other, answers={ours: other.outputs[judge.outputs.index(mine)]})
    return judge, other


def _open_bundle(path: Path) -> Side:
    from ....runtime.backends.load import load

    bundle = open_bundle(path)
    task = find_export(bundle.task)
    rule, spec = task.rule_of(bundle), bundle.picture_input
    shapes = {one.name: list(one.shape) for one in bundle.outputs}
    own = task.runtime.finished if task.in_graph(rule) else task.runtime.outputs
    answers = {name: name for name in own} if set(own) <= set(shapes) else task.claims(shapes)
    if not answers:
        raise _neither(path, shapes)
    session = load(bundle)
    return Side(
        str(path), lambda images: session.run({spec.name: images}), tuple(shapes), answers, spec.shape,
        tuple(spec.limits(axis) for axis in range(len(spec.shape))), bundle.contract, bundle.graph, session.close, task,
        rule=rule, classes=bundle.manifest.get("num_classes"), finished=task.in_graph(rule),
    )  # fmt: skip


def _open_graph(path: Path) -> Side:
    import onnxruntime

    check_foreign(path)
    name = spelled(path)
    try:
        session = onnxruntime.InferenceSession(name, providers=["CPUExecutionProvider"])
    except Exception as error:  # noqa: BLE001 ONNX Runtime raises a dozen types for a file it cannot read
        raise UserMistake(
            f"{path} cannot be opened as an ONNX file",
            found=str(error).splitlines()[0][:200],
            expected="an ONNX graph that ONNX Runtime can load",
            attempt="edgesmith inspect, or export it again",
        ) from None
    taken = session.get_inputs()
    dtype = FLOATS.get(taken[0].type) if len(taken) == 1 else None
    if dtype is None or len(taken[0].shape) != 4:
        raise UserMistake(
            f"{path} does not take pictures",
            found=f"inputs {[(one.name, one.type, one.shape) for one in taken]}",
            expected="one input of shape batch x 3 x height x width, of floats: prepared pictures",
            attempt="compare files of " + each("{}s"),
        )
    outputs = tuple(one.name for one in session.get_outputs())
    task, answers = _task_of(path, {one.name: one.shape for one in session.get_outputs()})

    def run(images: np.ndarray) -> dict[str, np.ndarray]:
        return dict(zip(outputs, session.run(list(outputs), {taken[0].name: images.astype(dtype)}), strict=True))

    shape = tuple(size if isinstance(size, int) else size or f"axis {axis}" for axis, size in enumerate(taken[0].shape))
    limits = tuple(_limits(size) for size in shape)
    finished = tuple(answers) == task.runtime.finished
    return Side(str(path), run, outputs, answers, shape, limits, None, path, lambda: None, task, finished=finished)


def _task_of(path: Path, shapes: Mapping[str, list[Any]]) -> tuple[ExportTask, dict[str, str]]:
    """The task of an ONNX file, and our names of its outputs -> its own; those that ask for more are asked first."""
    for task in list(EXPORTS.values())[::-1]:
        if names := task.claims(shapes):
            return task, names
    raise _neither(path, shapes)


def _neither(path: Path, shapes: Mapping[str, list[Any]]) -> UserMistake:
    return UserMistake(
        f"{path} is neither {each('a {}', joiner=' nor ')}",
        found=f"outputs {list(shapes.items())}",
        expected=", or ".join(task.files for task in EXPORTS.values() if task.files),
        attempt="compare files of " + each("{}s"),
    )


def _limits(size: int | str) -> Limits:
    return (size, size) if isinstance(size, int) else (1, None)


def _open_model(name: str, weights: str, num_classes: int | None) -> Side:
    from ....models import as_recorded, create

    spec = as_recorded(name, weights)
    module = create(spec.name, weights, num_classes)
    task = find_export(spec.task)
    outputs = task.runtime.outputs
    run = torch_runner(module, outputs=outputs)
    shape = ("batch", 3, *spec.contract.size)
    return Side(
        spec.name, lambda images: task.runtime.separated(run(images)), outputs, {name: name for name in outputs}, shape,
        tuple(_limits(size) for size in shape), spec.contract, None, lambda: None, task, rule=task.usual(spec),
    )  # fmt: skip
