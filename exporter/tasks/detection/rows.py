"""Two computations of the same detections -> one row of agreement, by the same comparison that the device tests itself with."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ....runtime.tasks.detection.verdict import compare, verdict

if TYPE_CHECKING:
    from ....runtime.tasks.detection.detection import DetectionRule


@dataclass(frozen=True)
class DetectionRow:
    """How far one stage is from PyTorch eager float32, over ``count`` inputs of one shape."""

    stage: str
    runner: str
    inputs: str
    shape: tuple[int, ...]
    count: int
    detections: int
    """of the judge, after threshold and suppression"""
    matched: float
    """share of the detections of both sides that have a partner"""
    missing: int
    extra: int
    flips: int
    """without a partner because two overlapping boxes swapped roles in suppression"""
    box_px: float
    """largest difference of a coordinate from the judge's nearest box of the class"""
    score_abs: float
    cosine: float | None
    """of the scores of all cells; None where the graph hands out fewer"""
    limit: str
    passed: bool

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "shape": list(self.shape)}

    def __str__(self) -> str:
        return (
            f"{self.detections} detections, {self.missing} missing, {self.extra} extra, boxes within {self.box_px:.2f} px, "
            f"scores within {self.score_abs:.1e}"
        )


def agreement(
    stage: str, runner: str, inputs: str, shape: tuple[int, ...], judge: np.ndarray, other: np.ndarray, precision: str,
    *, rule: DetectionRule, in_graph: bool = False,
) -> DetectionRow:  # fmt: skip
    """Compare the answers of a detector, (n, N, 4 + K) of the judge and whatever the other stage gives.

    ``in_graph``: suppression is inside the other's graph. NaN or infinity anywhere fails the row.
    """
    figures = compare(judge, other, rule, in_graph)
    if not figures:
        return DetectionRow(
            stage, runner, inputs, shape, len(judge), 0, 0.0, 0, 0, 0, np.inf, np.inf, None, "finite numbers", False
        )
    limit, passed = verdict(precision, figures)
    told = {key: figures[key] for key in ("detections", "missing", "extra", "flips", "box_px", "score_abs", "cosine")}
    return DetectionRow(
        stage, runner, inputs, shape, len(judge), matched=figures["matched"] / 100, limit=limit, passed=passed, **told
    )
