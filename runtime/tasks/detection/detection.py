"""Answers of a detector -> the boxes that count: threshold, suppression, the best few; then in pixels of the picture.

boxes and scores of all cells (N, 4 + K)  --keep-->       Kept, in pixels of the network's input
answer of a graph with NMS inside (D, 6)  --kept_rows-->  Kept, in pixels of the network's input
Kept + the picture's size + the contract  --in_image-->   Kept, in pixels of the picture, clipped to it
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import BundleRefused, UserMistake, one_line
from ..described import Described
from .boxes import Kept, clip, to_image
from .nms import nms

if TYPE_CHECKING:
    from ...pictures.preprocess import ImageContract


MAX_DETECTIONS = 1_000_000
TASK = "detection"  # its name, in model specs and manifests, and there the key of its rule


@dataclass(frozen=True)
class DetectionRule:
    """Which of a detector's answers count. The manifest's ``detection``.

    nms "runtime"  suppression here, after the graph
    nms "graph"    suppression inside the graph, at these thresholds
    nms "none"     no suppression: for graphs that give one box an object by themselves, or to do it elsewhere
    """

    nms: str
    score: float  # a detection has a score above it
    iou: float  # of two boxes of one class that overlap more, the better one counts (agnostic_nms: of any class)
    max_detections: int = 500  # the best so many of a picture, all classes together
    agnostic_nms: bool = False  # boxes suppress each other whatever their classes; of suppression in the runtime only

    def __post_init__(self) -> None:
        for holds, name, value, expected in (
            (self.nms in ("runtime", "graph", "none"), "nms", self.nms, "runtime, graph or none"),
            (_is_share(self.score), "score", self.score, "a number from 0 to 1"),
            (_is_share(self.iou), "iou", self.iou, "a number from 0 to 1"),
            (
                type(self.max_detections) is int and 1 <= self.max_detections <= MAX_DETECTIONS,
                "max_detections",
                self.max_detections,
                f"a whole number from 1 to {MAX_DETECTIONS:,}",
            ),
            (
                self.agnostic_nms is False or (self.agnostic_nms is True and self.nms == "runtime"),
                "agnostic_nms",
                self.agnostic_nms,
                'true or false, and true with nms "runtime" only',
            ),
        ):
            if not holds:
                raise UserMistake(f"detection: {name} is not usable", found=repr(value), expected=expected)

    def to_json(self) -> dict[str, Any]:
        """As the manifest has it; what is usual is left out, so that a runtime which does not know of it reads the rest."""
        fields = asdict(self)
        if not self.agnostic_nms:
            del fields["agnostic_nms"]
        return fields

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> DetectionRule:
        """The rule from a manifest; UserMistake names a field that is unknown, missing or of the wrong kind."""
        try:
            return cls(**fields)
        except TypeError as error:
            raise UserMistake("the detection rule cannot be read", found=str(error)) from None

    def override(
        self,
        score: float | None = None,
        iou: float | None = None,
        max_detections: int | None = None,
        agnostic_nms: bool | None = None,
    ) -> DetectionRule:
        """The rule with other thresholds; UserMistake where the graph has applied its own already."""
        if agnostic_nms is not None and not isinstance(agnostic_nms, (bool, np.bool_)):
            raise UserMistake("agnostic_nms is yes or no", found=repr(agnostic_nms)[:80], expected="True or False")
        if self.nms == "none" and (iou is not None or agnostic_nms):
            name, found = ("iou", f"iou={iou}") if iou is not None else ("agnostic_nms", "agnostic_nms")
            raise UserMistake(
                "this bundle does not suppress overlapping boxes",
                found=f"{found}, and nms none in the bundle",
                attempt=f"leave {name} out, or export with --nms runtime",
            )
        if self.nms == "graph" and agnostic_nms:
            raise UserMistake(
                "this bundle suppresses class by class",
                found="agnostic_nms, and nms graph in the bundle",
                expected="suppression in the runtime",
                because="the graph has dropped boxes for others of their class; across classes some of them would stay",
                attempt="export with --nms runtime, then agnostic_nms can be chosen at run time",
            )
        asked: dict[str, Any] = {"score": score, "iou": iou, "max_detections": max_detections}
        asked["agnostic_nms"] = None if agnostic_nms is None else bool(agnostic_nms)
        changed = replace(self, **{key: value for key, value in asked.items() if value is not None})
        if self.nms == "graph":
            for name, fits, possible in (
                ("score", changed.score >= self.score, f"{self.score} or more"),
                ("iou", changed.iou == self.iou, f"{self.iou}"),
                ("max_detections", changed.max_detections <= self.max_detections, f"{self.max_detections} or fewer"),
            ):
                if not fits:
                    raise UserMistake(
                        f"{name} cannot be {getattr(changed, name)} with this bundle",
                        expected=possible,
                        because="its thresholds are in the graph, which drops the other boxes before they come out",
                        attempt="export with --nms runtime, then every threshold can be chosen at run time",
                    )
        return changed


def _is_share(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 1


def keep(answer: np.ndarray, rule: DetectionRule) -> Kept:
    """(N, 4 + K) boxes and scores of one picture -> its detections. Rule "graph" is computed here like "runtime".

    Every pair of a cell and a class with a score above the threshold is a candidate; nothing is dropped before the
    suppression, as in the protocol that published accuracies are measured with.
    """
    return keep_parts(answer[:, :4], answer[:, 4:], rule)


def keep_parts(boxes: np.ndarray, scores: np.ndarray, rule: DetectionRule) -> Kept:
    """``keep`` of boxes (N, 4) and scores (N, K) in two arrays, which saves joining them."""
    check_finite(boxes, scores)
    flat = np.flatnonzero(scores > np.float32(rule.score))  # in the order of cells, then classes: ties fall that way
    cells, classes = np.divmod(flat, max(scores.shape[1], 1))
    values = scores[cells, classes]
    if rule.nms == "none":
        best = np.argsort(-values, kind="stable")[: rule.max_detections]
    else:
        of_one_kind = np.zeros_like(classes) if rule.agnostic_nms else classes
        best = nms(boxes[cells], values, of_one_kind, rule.iou, rule.max_detections)
    return Kept(boxes[cells[best]].astype(np.float32), values[best].astype(np.float32), classes[best])


def kept_rows(answer: np.ndarray, rule: DetectionRule) -> Kept:
    """(D, 6) rows box, score, class of a graph with NMS inside -> the detections; class -1 fills up."""
    check_finite(answer[:, :4], answer[:, 4:])
    rows = answer[(answer[:, 5] >= 0) & (answer[:, 4] > np.float32(rule.score))]
    rows = rows[np.argsort(-rows[:, 4], kind="stable")[: rule.max_detections]]
    return Kept(rows[:, :4].astype(np.float32), rows[:, 4].astype(np.float32), rows[:, 5].astype(np.int64))


def check_finite(boxes: np.ndarray, scores: np.ndarray) -> None:
    """Raises UserMistake for NaN and infinity, which thresholds would drop without a word."""
    if np.isfinite(boxes).all() and np.isfinite(scores).all():
        return
    wrong, total = sum(int((~np.isfinite(part)).sum()) for part in (boxes, scores)), boxes.size + scores.size
    raise UserMistake(
        "the model returned values that are no numbers",
        found=f"{wrong} of {total} boxes and scores are NaN or infinite",
        because="a layer overflowed, usually in fp16",
        attempt="export with --precision fp32 or bf16",
    )


def in_image(kept: Kept, image_size: tuple[int, int], contract: ImageContract) -> Kept:
    """Detections of the network's input -> of a picture of ``image_size`` (height, width), clipped to it."""
    return kept._replace(boxes=clip(to_image(kept.boxes, image_size, contract), image_size))


@dataclass(frozen=True)
class Detection:
    """One thing in a picture."""

    label: str
    index: int  # of its class, from 0
    score: float
    box: tuple[float, float, float, float]  # x1 y1 x2 y2 in pixels of the picture


@dataclass(frozen=True, eq=False)
class Detections:
    """What the model finds in one picture, best first; ``str()`` is a small table."""

    boxes: np.ndarray  # (n, 4) float32 x1 y1 x2 y2 in pixels of the picture, clipped to it
    scores: np.ndarray  # (n,) float32
    classes: np.ndarray  # (n,) int64, from 0
    labels: Sequence[str]
    image_size: tuple[int, int]  # (height, width)
    preprocess_ms: float = 0.0  # the three for the batch that the picture was part of
    infer_ms: float = 0.0
    postprocess_ms: float = 0.0

    def __len__(self) -> int:
        return len(self.scores)

    def __iter__(self) -> Iterator[Detection]:
        for box, score, index in zip(self.boxes.tolist(), self.scores.tolist(), self.classes.tolist(), strict=True):
            yield Detection(self.labels[index], index, score, tuple(box))

    def above(self, score: float) -> Detections:
        """Those with a score above ``score``."""
        chosen = self.scores > score
        return replace(self, boxes=self.boxes[chosen], scores=self.scores[chosen], classes=self.classes[chosen])

    def to_json(self) -> list[dict[str, Any]]:
        """Plain values: label, class (from 0), score and box [x1, y1, x2, y2] in pixels of the picture."""
        return [{"label": d.label, "class": d.index, "score": d.score, "box": list(d.box)} for d in self]

    def __str__(self) -> str:
        lines = [
            f"{d.score:6.3f}  {one_line(d.label):<20}  " + " ".join(f"{edge:8.1f}" for edge in d.box) for d in self
        ]
        return "\n".join(lines) or "nothing found"


def rule_of(bundle: Described) -> DetectionRule:
    """Which boxes of a detector count, and whether the graph has chosen them already."""
    fields = bundle.manifest.get(TASK)
    try:
        if not isinstance(fields, dict):
            raise UserMistake("nothing to read", found=f"detection: {type(fields).__name__}")
        rule = DetectionRule.from_json(fields)
    except UserMistake as error:
        raise BundleRefused(
            f"{bundle.path} does not say which of its boxes count",
            found=error.found,
            expected='"detection": {"nms": ..., "score": ..., "iou": ..., "max_detections": ...} in the manifest',
            attempt="export it again",
        ) from None
    return rule
