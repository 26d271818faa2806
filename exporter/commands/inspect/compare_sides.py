"""The two sides of a comparison: a bundle on its own backend, an ONNX file on ONNX Runtime, or a model in PyTorch eager."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ....graph.run import open_session
from ....models.doors.names import door_of
from ....models.registry import find, name_recorded
from ....models.spec import face_words
from ....runtime.bundle.bundle import open_bundle
from ....runtime.errors import UserMistake
from ....runtime.pictures.contract import CHANNELS_LAST
from ...bundle.as_written import apart_db, as_written
from ...run.foreign.words import asked_of_engine
from ...run.runners import torch_runner
from ...tasks.known import EXPORTS, each, find_export
from .foreign.graphs import read_picture_graph
from .foreign.pictures import USUAL, Face, PictureInput, prepared, raw
from .foreign.rounding import exact_products, own_rounding
from .foreign.tried import try_graph

if TYPE_CHECKING:
    from ....runtime.pictures.preprocess import ImageContract
    from ...tasks.task import ExportTask

Limits = tuple[int, "int | None"]  # smallest and largest size, None where nothing bounds it


def _as_they_are(images: np.ndarray) -> np.ndarray:
    return images


def _exact(images: np.ndarray) -> None:
    return None


@dataclass(frozen=True)
class Side:
    """One of the two: how to run it, the input it wants, and its graph file where it has one."""

    name: str
    run: Callable[[np.ndarray], dict[str, np.ndarray]]  # (B, 3, H, W) -> every output by its name
    outputs: tuple[str, ...]
    answers: dict[str, str]  # the outputs that the task knows: its name -> the file's
    shape: tuple[int | str, ...]  # batch, channels, height, width, whatever the layout
    limits: tuple[Limits, ...]  # of each of these
    contract: ImageContract | None
    graph: Path | None
    close: Callable[[], None]
    task: ExportTask
    rule: Any = None
    classes: int | None = None  # where they cannot be counted in the answer
    finished: bool = False  # its graph holds the last step of the task, such as NMS
    takes: PictureInput | None = None  # of a file: its type and layout, which ``run`` sees to
    prepare: Callable[[np.ndarray], np.ndarray] = _as_they_are  # pictures of the comparison -> what ``run`` wants
    engine: str = "ONNX Runtime"
    face: Face = USUAL  # what ``run`` takes beside sizes: (channels, dtype, layout)
    rounding: Callable[[np.ndarray], float | None] = _exact  # of the engine itself, in dB; ``run`` is without it

    def answer(self, results: Mapping[str, np.ndarray]) -> np.ndarray:
        """What the task makes of the outputs: one float32 array."""
        return self.task.runtime.joined({ours: results[own] for ours, own in self.answers.items()})

    def classes_of(self, answer: np.ndarray) -> int | None:
        """How many classes an answer tells of; those of a finished graph alone do not say."""
        return self.classes if self.finished else self.task.classes_of(answer)


def face_of(name: str) -> Face:
    """What a bundle takes beside sizes; the usual one for all else, which is told by opening it."""
    if not Path(name).is_dir():
        return USUAL
    bundle = open_bundle(name)
    return bundle.contract.face if isinstance(bundle.manifest.get("input_contract"), Mapping) else USUAL


def open_side(name: str, weights: str | None, num_classes: int | None, beside: str = "", face: Face = USUAL) -> Side:
    """A bundle, an ONNX file, or a model by name; UserMistake for what is none of them.

    ``beside``: what it is compared with, of which a model by name is built; ``face``: what that takes.
    """
    path = Path(name)
    if path.is_dir():
        return _open_bundle(path)
    if path.is_file():
        return _open_graph(path, face)
    if path.suffix in (".onnx", ".edge") or ("/" in name and door_of(name) is None):
        raise UserMistake(
            f"There is nothing at {name}",
            found="no file and no folder at that path",
            expected="a bundle, an ONNX file, or the name of a model",
            attempt="check the path; edgesmith list prints the names of the models",
        )
    return _open_model(name, weights, num_classes, beside)


def check_faces(judge: Side, other: Side) -> None:
    """UserMistake where the two take other pictures, beside their sizes."""
    if judge.face != other.face:
        raise UserMistake(
            "The two do not take the same input",
            found=f"{judge.name}: {face_words(*judge.face)}; {other.name}: {face_words(*other.face)}",
            expected="the same channels, type and layout",
            because="a picture is prepared once, for both",
            attempt="compare with the model or file that the bundle was made from",
        )


def task_of_name(name: str) -> ExportTask | None:
    """The task of a bundle or of a model by name; None for a file, which has to be looked into, and for what is neither."""
    from ....models.registry import find

    path = Path(name)
    if path.is_dir():
        return find_export(open_bundle(path).task)
    if path.exists() or path.suffix or "/" in name:
        return None
    return find_export(find(name).task)


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


def common_pictures(judge: Side, other: Side, known: ImageContract) -> tuple[Side, Side, ImageContract]:
    """The contract of the pictures that both get: raw ones where a side reads whole numbers; then the other prepares its own."""
    sides = (judge, other)
    whole = [side.takes is not None and side.takes.whole for side in sides]
    if not any(whole):
        return judge, other, known
    one, two = (
        side
        if reads
        else replace(side, run=_preparing(side.run, known), prepare=lambda images: prepared(images, known))
        for side, reads in zip(sides, whole, strict=True)
    )
    return one, two, raw(known)


def _preparing(
    run: Callable[[np.ndarray], dict[str, np.ndarray]], contract: ImageContract
) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    return lambda images: run(prepared(images, contract))


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

    def run(images: np.ndarray) -> dict[str, np.ndarray]:
        return session.run({spec.name: images})

    exact = as_written(bundle)
    axes = (0, 3, 1, 2) if bundle.contract.layout == CHANNELS_LAST else (0, 1, 2, 3)
    return Side(
        str(path), exact or run, tuple(shapes), answers, tuple(spec.shape[axis] for axis in axes),
        tuple(spec.limits(axis) for axis in axes), bundle.contract, bundle.graph, session.close, task, face=bundle.contract.face,
        rule=rule, classes=bundle.manifest.get("num_classes"), finished=task.in_graph(rule),
        engine=session.backend, rounding=(lambda images: apart_db(exact(images), run(images))) if exact else _exact,
    )  # fmt: skip


def _open_graph(path: Path, face: Face) -> Side:
    foreign = read_picture_graph(path, face=face)
    try_graph(path, foreign.takes.fixed)
    with asked_of_engine(path):
        session = open_session(exact_products(foreign.model))
    made = session.get_outputs()
    if strange := [f"{one.name} {one.type}" for one in made if not one.type.startswith("tensor(")]:
        raise UserMistake(
            f"{path} hands out what cannot be compared",
            found=", ".join(strange),
            expected="outputs that are tensors",
            attempt="onnx.utils.extract_model takes a file with other outputs",
        )
    feed, outputs = session.get_inputs()[0].name, tuple(one.name for one in made)
    task, answers = _task_of(path, {one.name: one.shape for one in made})

    def run(images: np.ndarray) -> dict[str, np.ndarray]:
        with asked_of_engine(path):
            return dict(zip(outputs, session.run(list(outputs), {feed: images}), strict=True))

    shape = (foreign.takes.shape[0], foreign.face[0], *foreign.takes.shape[2:])
    limits = tuple(_limits(size) for size in shape)
    finished = tuple(answers) == task.runtime.finished
    return Side(
        str(path), run, outputs, answers, shape, limits, None, path, lambda: None, task,
        finished=finished, takes=foreign.takes, face=foreign.face, rounding=lambda images: own_rounding(foreign.model, images),
    )  # fmt: skip


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


def _open_model(name: str, weights: str | None, num_classes: int | None, beside: str) -> Side:
    from ....models import as_recorded, create

    model_args = _arguments_beside(name, beside)
    spec = as_recorded(name, weights, model_args)
    module = create(spec.name, weights, num_classes, model_args=model_args)
    task = find_export(spec.task)
    outputs = task.runtime.outputs
    run = torch_runner(module, outputs=outputs)
    shape = ("batch", spec.contract.channels, *spec.contract.size)
    return Side(
        spec.name, lambda images: task.runtime.separated(run(images)), outputs, {name: name for name in outputs}, shape,
        tuple(_limits(size) for size in shape), spec.contract, None, lambda: None, task, rule=task.usual(spec),
        face=spec.contract.face,
    )  # fmt: skip


def _arguments_beside(name: str, beside: str) -> dict[str, Any]:
    """The arguments of its builder that the bundle beside was made with, where it was made of this model."""
    if not Path(beside).is_dir():
        return {}
    manifest = open_bundle(beside).manifest
    recorded, model_args = name_recorded(manifest, name)
    return model_args if find(recorded, model_args).recorded_name == manifest.get("model") else {}
