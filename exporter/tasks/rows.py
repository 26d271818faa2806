"""Two computations of the same outputs -> one row of agreement; PyTorch eager in float32 is the judge.

A row stands for some inputs of one shape, run through one stage: the rewritten graph, the typed graph, the bundle. This one
is of networks with a number for each class, of a picture or of each place of a map, and of features; a task may have another
(task.py).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from ...runtime.ground.limits import FP32
from ...runtime.ground.numbers import class_logits, smallest_cosine
from ...runtime.tasks.selftest import verdict


@dataclass(frozen=True)
class Row:
    """How far one stage is from PyTorch eager float32, over ``count`` inputs of one shape."""

    stage: str
    runner: str
    inputs: str
    shape: tuple[int, ...]
    count: int
    max_abs: float
    largest: float
    """largest absolute logit of the judge: what ``max_abs`` is to be seen against"""
    cosine: float
    """smallest cosine of any input"""
    top1: float | None
    """share of inputs (of a map: of places) with the same best class; None where there are no classes"""
    top5: float | None
    """mean share of the five best classes in common; None of a map, too"""
    limit: str
    passed: bool

    def to_json(self) -> dict[str, Any]:
        return {key: value for key, value in {**asdict(self), "shape": list(self.shape)}.items() if value is not None}

    def __str__(self) -> str:
        return f"max abs {self.max_abs:.2e}, cosine {self.cosine:.6f}"


def agreement(
    stage: str, runner: str, inputs: str, shape: tuple[int, ...], judge: np.ndarray, other: np.ndarray, precision: str,
    classes: bool = True,
) -> Row:  # fmt: skip
    """Compare numbers (N, C) or (N, C, ...) with the judge's; NaN or infinity anywhere fails the row.

    ``classes``: they are of classes along the second axis, which are ranked.
    """
    judge, other = judge.astype(np.float64), other.astype(np.float64)
    finite = bool(np.isfinite(other).all()) and judge.shape == other.shape
    if not finite:
        none = 0.0 if classes else None
        return Row(stage, runner, inputs, shape, len(judge), np.inf, 0.0, -1.0, none, none, "finite numbers", False)
    largest = float(np.abs(judge).max())
    max_abs = float(np.abs(judge - other).max())
    cosine = smallest_cosine(judge, other)
    top1, top5 = _ranks(judge, other) if classes else (None, None)
    limit, passed = verdict(precision, max_abs, largest, cosine)
    return Row(stage, runner, inputs, shape, len(judge), max_abs, largest, cosine, top1, top5, limit, passed)


def same_places(judge: np.ndarray, other: np.ndarray) -> float:
    """(N, C, ...) twice -> the share of places with the same best class; one channel is the second of two, by its sign."""
    one, two = ((side > 0) if side.shape[1] == 1 else side.argmax(axis=1) for side in (judge, other))
    return float((one == two).mean())


def _ranks(judge: np.ndarray, other: np.ndarray) -> tuple[float, float | None]:
    """The same best class; of pictures the five best in common, too."""
    if judge[0].size != judge.shape[1]:
        return same_places(judge, other), None
    ranked = [class_logits(answers) for answers in (other, judge)]
    best = min(5, ranked[1].shape[1])
    ours, theirs = (np.argsort(-answers, axis=1, kind="stable")[:, :best] for answers in ranked)
    top1 = float((ours[:, 0] == theirs[:, 0]).mean())
    return top1, float(((ours[:, :, None] == theirs[:, None]).any(axis=2).sum(axis=1) / best).mean())


def within_rounding(row: Row, own_error: float) -> Row:
    """The row held to what float32 itself costs PyTorch on its inputs, where that is more than the usual limit."""
    limit, passed = verdict(FP32, row.max_abs, row.largest, row.cosine, own_error=own_error)
    return replace(row, limit=limit, passed=passed)
