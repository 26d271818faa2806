"""How good are these outputs, and how sure is that: scores, paired differences and their 95 % intervals.

A value is a share of pictures in percent ("points" are percent, too), so that a budget of 0.3 means 0.3 points of the metric's
own scale.  ``hits`` metrics judge every picture by itself (top-1, agreement) and have exact intervals; any other metric
of a set (mAP of a detector) is a ``Metric`` without ``hits`` and gets its intervals from a seeded bootstrap over pictures.
``judge`` looks at the answers once; scores and paired differences come from what it found, as all draw the same pictures.

Intervals: Wilson (1927) for a share; Agresti and Min (2005), "simple improved confidence intervals for comparing matched
proportions", for the difference of two sets of answers to the same pictures: only the pictures that changed sides count.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...runtime.coco.intervals import Z, bootstrap_95, resamples, times_drawn, wilson
from ...runtime.errors import UserMistake
from ...runtime.ground.numbers import class_logits

Outputs = Any  # (n, ...) what the graph gives for n pictures, or what is kept of it: one item a picture


@dataclass(frozen=True)
class Metric:
    """A name and what it measures in percent; ``truth`` is one item a picture: a label, a set of boxes, reference logits.

    ``hits(outputs, truth) -> (n,) bool`` where a picture is right or wrong by itself; else ``value(outputs, truth)`` of a set.
    Where asking 400 times is too slow, ``drawn(outputs, truth, times) -> (R,)`` gives the values of R draws at once, of which
    ``times`` (R, n) says how often each picture is in it; NaN for a draw in which nothing can be measured.
    """

    name: str
    hits: Callable[[Outputs, Any], np.ndarray] | None = None
    value: Callable[[Outputs, Any], float] | None = None
    drawn: Callable[[Outputs, Any, np.ndarray], np.ndarray] | None = None

    def __call__(self, outputs: Outputs, truth: Any) -> float:
        """The metric of the whole set, in percent."""
        if self.hits is not None:
            return 100.0 * float(self.hits(outputs, truth).mean())
        if self.drawn is not None:
            return float(self.drawn(outputs, truth, np.ones((1, len(outputs)), np.int32))[0])
        assert self.value is not None, f"metric {self.name} has neither hits nor value"
        return float(self.value(outputs, truth))


@dataclass(frozen=True, eq=False)
class Judged:
    """What a metric finds in one graph's answers; two of them, on the same pictures, make a paired difference."""

    metric: str
    n: int
    value: float  # in percent
    hits: np.ndarray | None = None  # (n,) bool
    draws: np.ndarray | None = None  # (RESAMPLES,) the metric of each draw of the pictures

    def score(self) -> Score:
        if self.hits is not None:
            low, high = wilson(int(self.hits.sum()), self.n)
        else:
            assert self.draws is not None
            low, high = (min(max(end, 0.0), 100.0) for end in bootstrap_95(self.value, self.draws))
        return Score(self.metric, self.value, self.n, low, high)


@dataclass(frozen=True)
class Score:
    """A metric on n pictures, in percent, with its 95 % interval."""

    metric: str
    value: float
    n: int
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.metric} {self.value:.2f} % of {self.n} ({self.low:.1f} to {self.high:.1f})"


@dataclass(frozen=True)
class Drop:
    """Points lost against the reference on the same n pictures, with the 95 % interval; a gain is negative."""

    points: float
    n: int
    low: float
    high: float
    lost: int | None = None  # pictures that only the reference has right; None where a picture is not right or wrong
    won: int | None = None

    def __str__(self) -> str:
        sides = "" if self.lost is None else f"; {self.lost} lost, {self.won} won"
        return f"{self.points:+.2f} points ({self.low:+.2f} to {self.high:+.2f}{sides})"


def right(outputs: Outputs, labels: Any) -> np.ndarray:
    """(n, C) and n labels -> (n,) bool: the first largest value is the label's; a picture with a NaN is wrong.

    Of one logit the sign decides (``class_logits``).
    """
    flat = class_logits(outputs)
    return (flat.argmax(axis=1) == np.asarray(labels)) & ~np.isnan(flat).any(axis=1)


def same(outputs: Outputs, reference: Any) -> np.ndarray:
    """(n, C) twice -> (n,) bool: both answer the same class."""
    return right(outputs, class_logits(reference).argmax(axis=1))


TOP1 = Metric("top1", hits=right)
AGREEMENT = Metric("agreement", hits=same)


def score(outputs: Outputs, labels: Sequence[int] | np.ndarray | None, reference: Outputs) -> Score:
    """Top-1 where there are labels, else the share of pictures on which ``outputs`` and ``reference`` agree."""
    return measure(AGREEMENT, outputs, reference) if labels is None else measure(TOP1, outputs, labels)


def judge(metric: Metric, outputs: Outputs, truth: Any) -> Judged:
    """The metric of the set and of its draws. UserMistake when outputs and truth are not one to one or there are none."""
    count = _checked(outputs, truth)
    if metric.hits is not None:
        hits = metric.hits(outputs, truth)
        return Judged(metric.name, count, 100.0 * float(hits.mean()), hits)
    if metric.drawn is not None:
        value, *draws = metric.drawn(outputs, truth, times_drawn(count))
    else:
        value = metric(outputs, truth)
        draws = [metric(outputs[rows], _take(truth, rows)) for rows in resamples(count)]
    return Judged(metric.name, count, float(value), None, np.array(draws))


def measure(metric: Metric, outputs: Outputs, truth: Any) -> Score:
    """The metric and its interval."""
    return judge(metric, outputs, truth).score()


def difference(metric: Metric, reference: Outputs, found: Outputs, truth: Any) -> Drop:
    """What ``found`` loses against ``reference``, paired picture by picture: metric(reference) - metric(found)."""
    return drop_between(judge(metric, reference, truth), judge(metric, found, truth))


def drop_between(reference: Judged, found: Judged) -> Drop:
    """``difference`` of answers that were judged already, on the same pictures."""
    count = found.n
    if reference.hits is not None and found.hits is not None:
        before, after = reference.hits, found.hits
        lost, won = int((before & ~after).sum()), int((after & ~before).sum())
        # a reference that is right everywhere (as in agreement with itself) leaves nothing to win: a plain share
        low, high = wilson(lost, count) if before.all() else _matched(lost, won, count)
        return Drop(100.0 * (lost - won) / count, count, low, high, lost, won)
    assert reference.draws is not None and found.draws is not None
    points = reference.value - found.value
    return Drop(points, count, *bootstrap_95(points, reference.draws - found.draws))


def _matched(lost: int, won: int, count: int) -> tuple[float, float]:
    """Agresti and Min: half a picture is added to each of the four cells, then Wald's interval."""
    more = count + 2
    middle = (lost - won) / more
    half = Z * math.sqrt(max(lost + won + 1 - (lost - won) ** 2 / more, 0.0)) / more
    return 100 * max(middle - half, -1.0), 100 * min(middle + half, 1.0)


def sqnr_db(reference: np.ndarray, found: np.ndarray) -> float:
    """10 log10 of signal energy over error energy; inf when equal, -inf when ``found`` is not finite."""
    expected = np.asarray(reference, dtype=np.float64)
    with np.errstate(invalid="ignore", over="ignore"):  # infinity on either side is its own answer, below
        error = expected - np.asarray(found, dtype=np.float64)
        signal, noise = float((expected**2).sum()), float((error**2).sum())
    if not math.isfinite(noise) or (signal == 0 and noise > 0):
        return -math.inf
    return math.inf if noise == 0 else 10 * (math.log10(signal) - math.log10(noise))


def _take(truth: Any, rows: np.ndarray) -> Any:
    return truth[rows] if isinstance(truth, np.ndarray) else [truth[row] for row in rows]


def _checked(outputs: Outputs, truth: Any) -> int:
    if len(outputs) == 0 or len(outputs) != len(truth):
        raise UserMistake(
            "Outputs and truth do not belong together",
            found=f"{len(outputs)} outputs, {len(truth)} labels",
            expected="one label for each picture, and at least one picture",
            because="accuracy is a share of the pictures",
            attempt="give the labels of exactly these pictures, or none to measure agreement",
        )
    return len(outputs)
