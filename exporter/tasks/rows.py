"""Two computations of the same outputs -> one row of agreement; PyTorch eager in float32 is the judge.

A row stands for some inputs of one shape, run through one stage: the rewritten graph, the typed graph, the bundle. This one
is of networks with a number for each class, of a picture or of each place of a map; a task may have another (task.py).
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
    top1: float
    """share of inputs (of a map: of places) with the same best class"""
    top5: float
    """mean share of the five best classes in common"""
    limit: str
    passed: bool

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "shape": list(self.shape)}

    def __str__(self) -> str:
        return f"max abs {self.max_abs:.2e}, cosine {self.cosine:.6f}"


def agreement(
    stage: str, runner: str, inputs: str, shape: tuple[int, ...], judge: np.ndarray, other: np.ndarray, precision: str
) -> Row:
    """Compare numbers of classes (N, C) or (N, C, ...) with the judge's; NaN or infinity anywhere fails the row."""
    judge, other = judge.astype(np.float64), other.astype(np.float64)
    finite = bool(np.isfinite(other).all()) and judge.shape == other.shape
    if not finite:
        return Row(stage, runner, inputs, shape, len(judge), np.inf, 0.0, -1.0, 0.0, 0.0, "finite numbers", False)
    largest = float(np.abs(judge).max())
    max_abs = float(np.abs(judge - other).max())
    cosine = smallest_cosine(judge, other)
    ranked = [class_logits(_by_place(answers)) for answers in (other, judge)]
    best = min(5, ranked[1].shape[1])
    ours, theirs = (np.argsort(-answers, axis=1, kind="stable")[:, :best] for answers in ranked)
    top1 = float((ours[:, 0] == theirs[:, 0]).mean())
    top5 = float(((ours[:, :, None] == theirs[:, None]).any(axis=2).sum(axis=1) / best).mean())
    limit, passed = verdict(precision, max_abs, largest, cosine)
    return Row(stage, runner, inputs, shape, len(judge), max_abs, largest, cosine, top1, top5, limit, passed)


def within_rounding(row: Row, own_error: float) -> Row:
    """The row held to what float32 itself costs PyTorch on its inputs, where that is more than the usual limit."""
    limit, passed = verdict(FP32, row.max_abs, row.largest, row.cosine, own_error=own_error)
    return replace(row, limit=limit, passed=passed)


def _by_place(answers: np.ndarray) -> np.ndarray:
    """(N, C, ...) -> (places, C): every place of a map is judged like a picture of its own."""
    return np.moveaxis(answers, 1, -1).reshape(-1, answers.shape[1])
