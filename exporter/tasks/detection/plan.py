"""The part of a plan that belongs to a detector: where NMS runs, the thresholds, how a picture is fitted, the class names."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ....runtime.errors import UserMistake
from ...plan.checks import check_range, check_word

if TYPE_CHECKING:
    from ....models.registry import ModelSpec
    from ....runtime.pictures.preprocess import ImageContract
    from ....runtime.tasks.detection.detection import DetectionRule
    from ...plan.targets import Target

NMS = ("runtime", "graph", "none")
FITS = ("stretch", "letterbox")
MOST_DETECTIONS = 3840  # the largest k of TensorRT's TopK


def plan_detection(
    spec: ModelSpec,
    target: Target,
    nms: str | None = None,
    score: float | None = None,
    iou: float | None = None,
    max_detections: int | None = None,
) -> DetectionRule | None:
    """The rule that a detector's bundle carries, None for a classifier. Raises UserMistake for what cannot work."""
    if spec.task != "detection":
        _only_for_detectors(spec, {"--nms": nms, "--score": score, "--iou": iou, "--max-detections": max_detections})
        return None
    from ....runtime.tasks.detection.detection import DetectionRule

    place = nms or NMS[0]
    check_word("--nms", place, NMS)
    if place == "graph":
        from .nms_graph import refuses

        if why := refuses(target.engine.name):
            raise UserMistake(
                f"Target {target.name} cannot suppress boxes inside the graph",
                found=f"--nms graph --target {target.name}",
                expected="--nms runtime or none",
                because=why,
                attempt="leave --nms out: the runtime suppresses what the graph finds",
            )
    most = DetectionRule.max_detections if max_detections is None else max_detections
    low, overlap = spec.score if score is None else score, spec.iou if iou is None else iou
    check_range("--score", low, 0, 1, f"{spec.score:g} is what the authors evaluate with")
    check_range("--iou", overlap, 0, 1, f"{spec.iou:g} is what the authors evaluate with")
    check_range("--max-detections", most, 1, MOST_DETECTIONS, "a picture; 500 is what the authors evaluate with")
    return DetectionRule(nms=place, score=low, iou=overlap, max_detections=most)


def usual_rule(spec: ModelSpec) -> DetectionRule | None:
    """The authors' thresholds of a detector, None for a classifier."""
    from ....runtime.tasks.detection.detection import DetectionRule

    return DetectionRule("runtime", spec.score, spec.iou) if spec.task == "detection" else None


def fitted(contract: ImageContract, spec: ModelSpec, fit: str | None) -> ImageContract:
    """The contract with another way to fit pictures; the authors letterbox into the top left corner, zeros elsewhere."""
    if fit is None:
        return contract
    if spec.task != "detection":
        _only_for_detectors(spec, {"--fit": fit})
    check_word("--fit", fit, FITS)
    return replace(contract, fit=fit, anchor="corner" if fit == "letterbox" else contract.anchor)


def class_names(spec: ModelSpec, num_classes: int | None, file: str | os.PathLike[str] | None) -> tuple[str, ...]:
    """One name a class: from a file (one a line, or a JSON list), else those of the model."""
    if file is None:
        return tuple(spec.labels(num_classes))
    path = Path(file)
    try:
        text = path.read_text(encoding="utf-8")
        names = json.loads(text) if text.lstrip().startswith("[") else [line.strip() for line in text.splitlines()]
    except (OSError, ValueError) as error:
        raise UserMistake(
            f"The class names in {path} cannot be read",
            found=str(error.strerror if isinstance(error, OSError) else error),
            expected="a text file with one name a line, or a JSON list of names",
        ) from None
    while names and names[-1] == "":
        names.pop()
    if not names or not all(isinstance(name, str) and name.strip() for name in names):
        raise UserMistake(
            f"The class names in {path} cannot be read",
            found=f"{len(names)} lines, an empty one among them" if names else "no names",
            expected="one name for each class, in the order of the model's outputs",
        )
    if num_classes is not None and len(names) != num_classes:
        raise UserMistake(
            "Names and number of classes do not go together",
            found=f"{len(names)} names in {path}, --num-classes {num_classes}",
            expected="one name for each class",
            attempt=f"leave --num-classes out for the {len(names)} of the file",
        )
    return tuple(names)


def _only_for_detectors(spec: ModelSpec, given: dict[str, Any]) -> None:
    for flag, value in given.items():
        if value is not None:
            raise UserMistake(
                f"{flag} belongs to a detector",
                found=f"{flag} {value} --model {spec.name}",
                expected=f"a model that detects; {spec.name} is made for {spec.task}",
                attempt=f"leave {flag} out, or --model damo_yolo",
            )
