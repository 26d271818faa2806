"""The two sides of a comparison: a bundle on its own backend, an ONNX file on ONNX Runtime, or a model in PyTorch eager."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ....graph.run import open_session
from ....models.doors.kinds import as_made
from ....runtime.bundle.bundle import open_bundle
from ....runtime.errors import UserMistake
from ...bundle.as_written import apart_db, as_written
from ...run.foreign.words import asked_of_engine
from ...run.runners import torch_runner
from ...tasks.known import EXPORTS, each, find_export
from .foreign.graphs import read_picture_graph
from .foreign.pictures import PictureInput, prepared, raw
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
    shape: tuple[int | str, ...]
    limits: tuple[Limits, ...]  # of each axis
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
    rounding: Callable[[np.ndarray], float | None] = _exact  # of the engine itself, in dB; ``run`` is without it

    def answer(self, results: Mapping[str, np.ndarray]) -> np.ndarray:
        """What the task makes of the outputs: one float32 array."""
        return self.task.runtime.joined({ours: results[own] for ours, own in self.answers.items()})

    def classes_of(self, answer: np.ndarray) -> int | None:
        """How many classes an answer tells of; those of a finished graph alone do not say."""
        return self.classes if self.finished else self.task.classes_of(answer)


def open_side(name: str, weights: str | None, num_classes: int | None, task: str | None = None) -> Side:
    """A bundle, an ONNX file, or a model by name; UserMistake for what is none of them.

    ``task``: what the other side is made for, where a model by name may be made for several.
    """
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
    return _open_model(name, weights, num_classes, task)


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
    return Side(
        str(path), exact or run, tuple(shapes), answers, spec.shape,
        tuple(spec.limits(axis) for axis in range(len(spec.shape))), bundle.contract, bundle.graph, session.close, task,
        rule=rule, classes=bundle.manifest.get("num_classes"), finished=task.in_graph(rule),
        engine=session.backend, rounding=(lambda images: apart_db(exact(images), run(images))) if exact else _exact,
    )  # fmt: skip


def _open_graph(path: Path) -> Side:
    foreign = read_picture_graph(path)
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

    limits = tuple(_limits(size) for size in foreign.takes.shape)
    finished = tuple(answers) == task.runtime.finished
    return Side(
        str(path), run, outputs, answers, foreign.takes.shape, limits, None, path, lambda: None, task,
        finished=finished, takes=foreign.takes, rounding=lambda images: own_rounding(foreign.model, images),
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


def _open_model(name: str, weights: str | None, num_classes: int | None, task_name: str | None) -> Side:
    from ....models import as_recorded, create

    spec = as_made(as_recorded(name, weights).with_classes(num_classes), task_name)
    module = create(spec, weights, num_classes)
    task = find_export(spec.task)
    outputs = task.runtime.outputs
    run = torch_runner(module, outputs=outputs)
    shape = ("batch", 3, *spec.contract.size)
    return Side(
        spec.name, lambda images: task.runtime.separated(run(images)), outputs, {name: name for name in outputs}, shape,
        tuple(_limits(size) for size in shape), spec.contract, None, lambda: None, task, rule=task.usual(spec),
    )  # fmt: skip
