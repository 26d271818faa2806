"""The part of a plan that belongs to a detector: where NMS runs, the thresholds, how a picture is fitted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ....runtime.errors import UserMistake
from ....runtime.tasks.detection.detection import DetectionRule
from ...run.arguments import check_range, check_word

if TYPE_CHECKING:
    from ....models.spec import ModelSpec
    from ....runtime.pictures.preprocess import ImageContract
    from ..task import Engine

NMS = ("runtime", "graph", "none")
FITS = ("stretch", "letterbox")
CHOICES = ("fit", "nms", "score", "iou", "max_detections", "agnostic_nms")
MOST_DETECTIONS = 3840  # the largest k of TensorRT's TopK


def plan_detection(spec: ModelSpec, target: Engine, choices: Mapping[str, Any]) -> DetectionRule:
    """The rule that a detector's bundle carries. Raises UserMistake for what cannot work."""
    score, iou, most = (choices.get(name) for name in ("score", "iou", "max_detections"))
    place = choices.get("nms") or NMS[0]
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
    agnostic = bool(choices.get("agnostic_nms"))
    if agnostic and place != NMS[0]:
        raise UserMistake(
            "Suppression across classes is the runtime's",
            found=f"--agnostic-nms --nms {place}",
            expected="--nms runtime",
            because="the graph suppresses class by class"
            if place == "graph"
            else "nothing is suppressed with --nms none",
            attempt="leave --nms out",
        )
    most = DetectionRule.max_detections if most is None else most
    low, overlap = spec.score if score is None else score, spec.iou if iou is None else iou
    check_range("--score", low, 0, 1, f"{spec.score:g} is what the authors evaluate with")
    check_range("--iou", overlap, 0, 1, f"{spec.iou:g} is what the authors evaluate with")
    check_range("--max-detections", most, 1, MOST_DETECTIONS, "a picture; 500 is what the authors evaluate with")
    return DetectionRule(place, low, overlap, most, agnostic)


def usual_rule(spec: ModelSpec) -> DetectionRule:
    """The authors' thresholds."""
    return DetectionRule("runtime", spec.score, spec.iou)


def fitted(contract: ImageContract, fit: str | None) -> ImageContract:
    """The contract with another way to fit pictures; the authors letterbox into the top left corner, zeros elsewhere."""
    if fit is None:
        return contract
    check_word("--fit", fit, FITS)
    return replace(contract, fit=fit, anchor="corner" if fit == "letterbox" else contract.anchor)
