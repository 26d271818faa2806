"""The two sides of a comparison: a bundle on its own backend, an ONNX file on ONNX Runtime, or a model in PyTorch eager."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ....models.registry import find
from ....runtime.bundle.bundle import open_bundle
from ....runtime.errors import UserMistake
from ....runtime.tasks.answers import NMS_OUTPUTS, OUTPUTS, joined
from ....runtime.tasks.detection.task import rule_of
from ...bundle.parity import session_runner
from ...run import runners as verify
from ...run.runners import Runner
from ...tasks.detection.plan import usual_rule

if TYPE_CHECKING:
    from ....runtime.pictures.preprocess import ImageContract
    from ....runtime.tasks.detection.detection import DetectionRule


@dataclass(frozen=True)
class Side:
    """One of the two: how to run it, the input it wants, and its graph file where it has one."""

    name: str
    run: Runner
    shape: tuple[int | str, ...]
    contract: ImageContract | None
    graph: Path | None
    close: Callable[[], None]
    task: str = "classification"
    rule: DetectionRule | None = None
    classes: int | None = None  # where they cannot be counted in the answer
    suppressed: bool = False  # its graph holds NMS: it answers with detections

    def classes_of(self, answer: np.ndarray) -> int | None:
        """How many classes an answer tells of; detections alone do not say."""
        if self.suppressed:
            return self.classes
        return answer.shape[-1] - (4 if self.task == "detection" else 0)


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
    session = load(bundle)
    (spec,) = bundle.manifest["inputs"]
    rule = rule_of(bundle) if bundle.task == "detection" else None
    return Side(
        str(path), session_runner(session), tuple(spec["shape"]), bundle.contract, bundle.graph, session.close,
        task=bundle.task, rule=rule, classes=bundle.manifest["num_classes"], suppressed=bool(rule and rule.nms == "graph"),
    )  # fmt: skip


def _open_graph(path: Path) -> Side:
    import onnxruntime

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
            attempt="compare files of classifiers or detectors",
        )
    names = _output_names(path, {one.name: one.shape for one in session.get_outputs()})
    told = tuple(names)

    def run(images: np.ndarray) -> np.ndarray:
        return joined(dict(zip(told, session.run(list(names.values()), {taken[0].name: images}), strict=True)))

    task = "classification" if len(names) == 1 else "detection"
    return Side(
        str(path), run, tuple(taken[0].shape), None, path, lambda: None, task=task, suppressed=told == NMS_OUTPUTS
    )


def _output_names(path: Path, shapes: Mapping[str, list[Any]]) -> dict[str, str]:
    """Our names of the outputs -> those of the file. Boxes and scores are known by name, or else by their shapes."""
    known = next((names for names in (NMS_OUTPUTS, OUTPUTS["detection"]) if set(names) <= set(shapes)), ())
    if known:
        return {name: name for name in known}
    boxes = [name for name, shape in shapes.items() if len(shape) == 3 and shape[-1] == 4]
    scores = [name for name, shape in shapes.items() if len(shape) == 3 and shape[-1] != 4]
    if len(boxes) == len(scores) == 1:
        return dict(zip(OUTPUTS["detection"], (boxes[0], scores[0]), strict=True))
    first, shape = next(iter(shapes.items()))
    if len(shape) == 2:
        return {OUTPUTS["classification"][0]: first}
    raise UserMistake(
        f"{path} is neither a classifier nor a detector",
        found=f"outputs {list(shapes.items())}",
        expected="logits batch x classes, or boxes batch x N x 4 with scores batch x N x classes",
        attempt="compare files of classifiers or detectors",
    )


def _open_model(name: str, weights: str, num_classes: int | None) -> Side:
    from ....models import create

    spec = find(name)
    module = create(spec.name, weights, num_classes)
    return Side(
        spec.name, verify.torch_runner(module), ("batch", 3, *spec.contract.size), spec.contract, None, lambda: None,
        task=spec.task, rule=usual_rule(spec),
    )  # fmt: skip
