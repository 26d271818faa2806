"""The two sides of a comparison: a bundle on its own backend, an ONNX file on ONNX Runtime, or a model in PyTorch eager."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ....models.registry import find
from ....runtime.bundle.bundle import open_bundle
from ....runtime.bundle.onnx_scan import check_foreign
from ....runtime.errors import UserMistake
from ...run.runners import Runner, session_runner, torch_runner
from ...tasks.known import EXPORTS, each, find_export

if TYPE_CHECKING:
    from ....runtime.pictures.preprocess import ImageContract
    from ...tasks.task import ExportTask


@dataclass(frozen=True)
class Side:
    """One of the two: how to run it, the input it wants, and its graph file where it has one."""

    name: str
    run: Runner
    shape: tuple[int | str, ...]
    contract: ImageContract | None
    graph: Path | None
    close: Callable[[], None]
    task: ExportTask
    rule: Any = None
    classes: int | None = None  # where they cannot be counted in the answer
    finished: bool = False  # its graph holds the last step of the task, such as NMS

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


def _open_bundle(path: Path) -> Side:
    from ....runtime.backends.load import load

    bundle = open_bundle(path)
    task = find_export(bundle.task)
    rule, spec = task.rule_of(bundle), bundle.picture_input
    session = load(bundle)
    return Side(
        str(path), session_runner(session), spec.shape, bundle.contract, bundle.graph, session.close, task,
        rule=rule, classes=bundle.manifest.get("num_classes"), finished=task.in_graph(rule),
    )  # fmt: skip


def _open_graph(path: Path) -> Side:
    import onnxruntime

    check_foreign(path)
    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:  # noqa: BLE001 ONNX Runtime raises a dozen types for a file it cannot read
        raise UserMistake(
            f"{path} cannot be opened as an ONNX file",
            found=str(error).splitlines()[0][:200],
            expected="an ONNX graph that ONNX Runtime can load",
            attempt="edgesmith inspect, or export it again",
        ) from None
    taken = session.get_inputs()
    if len(taken) != 1 or len(taken[0].shape) != 4:
        raise UserMistake(
            f"{path} does not take pictures",
            found=f"inputs {[(one.name, one.shape) for one in taken]}",
            expected="one input of shape batch x 3 x height x width",
            attempt="compare files of " + each("{}s"),
        )
    task, names = _task_of(path, {one.name: one.shape for one in session.get_outputs()})
    told = tuple(names)

    def run(images: np.ndarray) -> np.ndarray:
        results = session.run(list(names.values()), {taken[0].name: images})
        return task.runtime.joined(dict(zip(told, results, strict=True)))

    finished = told == task.runtime.finished
    return Side(str(path), run, tuple(taken[0].shape), None, path, lambda: None, task, finished=finished)


def _task_of(path: Path, shapes: Mapping[str, list[Any]]) -> tuple[ExportTask, dict[str, str]]:
    """The task of an ONNX file, and our names of its outputs -> its own; those that ask for more are asked first."""
    for task in list(EXPORTS.values())[::-1]:
        if names := task.claims(shapes):
            return task, names
    raise UserMistake(
        f"{path} is neither {each('a {}', joiner=' nor ')}",
        found=f"outputs {list(shapes.items())}",
        expected=", or ".join(task.files for task in EXPORTS.values() if task.files),
        attempt="compare files of " + each("{}s"),
    )


def _open_model(name: str, weights: str, num_classes: int | None) -> Side:
    from ....models import create

    spec = find(name)
    module = create(spec.name, weights, num_classes)
    task = find_export(spec.task)
    run = torch_runner(module, outputs=task.runtime.outputs)
    shape = ("batch", 3, *spec.contract.size)
    return Side(spec.name, run, shape, spec.contract, None, lambda: None, task, rule=task.usual(spec))
