"""Statistics of one activation -> the range of its quantiser: every rule tried, the one with the smallest local error kept.

The local error is that of the layer which reads the activation, estimated from the per-channel histograms:

    sum_c E[d_c^2] * |W_c|^2  /  sum_c E[x_c^2] * |W_c|^2

d_c is what quantisation does to channel c, |W_c|^2 the energy of the weights that meet it: an outlier channel whose
weights are small may be clipped, one whose weights are large may not.

- ``minmax``: the largest |x| seen;
- ``percentile``: 99.99 % of the values;
- ``mse``: the range with the smallest local error of a grid (of 48 fractions of the largest |x|);
- ``entropy``: the smallest Kullback-Leibler divergence of the 128-level histogram; only when asked for (docs/quantisation.md);
- ``best``: the best of the first three.

Codes: int8 symmetric [-127, 127]; u8 [0, 255] with a zero point (asymmetric); E4M3, largest value 448.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...runtime.errors import EdgesmithError
from ...runtime.ground.limits import FP16, FP32, INT8
from ..nouns import Range
from ..precisions import PRECISIONS, Codes
from ..statistics.observers import BINS, TensorStats
from .weights import decibels, round_scale

PERCENTILE = 99.99
GRID = 4096  # bins of the whole tensor's histogram, over [-R, R]
FRACTIONS = np.geomspace(0.2, 1.0, 48)  # of the largest |x|: the ranges that "mse" tries
BEST = ("minmax", "mse", "percentile")
E4M3_LARGEST = 448.0
E4M3_SMALLEST = 2.0**-6  # normal; below it the step is 2^-9


@dataclass(frozen=True)
class Histogram:
    """The whole tensor on one signed grid: how many values (``counts``) and how much they weigh at the output (``energy``)."""

    middle: np.ndarray  # (GRID,)
    counts: np.ndarray  # (GRID,), exact zeros left out
    energy: np.ndarray  # (GRID,), counts times |W_c|^2 of their channel
    zeros: float
    low: float
    high: float

    @property
    def total(self) -> float:
        return float(self.counts.sum()) + self.zeros


def choose_range(
    stats: TensorStats,
    weight_energy: np.ndarray,
    *,
    rules: str = "best",
    precision: str = INT8,
    symmetric: bool = True,
    low: str = FP16,
) -> Range:
    """The range of one tensor.

    ``weight_energy`` (C,) is |W_c|^2; ``rules`` is a rule or "best"; ``symmetric=False`` gives u8 codes and a zero point.

    Raises:
        EdgesmithError: the rule is unknown.
    """
    whole = histogram(stats, weight_energy)
    ranges = {rule: _bounds(whole, rule, precision, symmetric) for rule in (BEST if rules == "best" else (rules,))}
    candidates = {rule: _quantiser(*found, precision, symmetric, low) for rule, found in ranges.items()}
    signal = max(float((whole.energy * np.square(whole.middle)).sum()), 1e-300)
    tried = {rule: _cost(whole, whole.energy, one, precision) / signal for rule, one in candidates.items()}
    rule = min(tried, key=lambda name: tried[name])
    chosen = candidates[rule]
    error = _cost(whole, whole.counts, chosen, precision)
    outside = (whole.middle < chosen.low) | (whole.middle > chosen.high)
    return Range(
        low=chosen.low,
        high=chosen.high,
        scale=chosen.scale,
        zero_point=chosen.zero_point,
        rule=rule,
        clipped=float(whole.counts[outside].sum()) / max(whole.total, 1.0),
        sqnr_db=decibels(float((whole.counts * np.square(whole.middle)).sum()), error),
        error=tried[rule],
        tried=tried,
    )


def _e4m3(precision: str) -> bool:
    return PRECISIONS[precision].codes is Codes.E4M3


def histogram(stats: TensorStats, weight_energy: np.ndarray) -> Histogram:
    """All channels on one grid; a bin goes where its middle is."""
    radius = max(float(stats.absmax.max()), 1e-30)
    counts = stats.counts.astype(np.float64)
    counts[:, BINS // 2] -= stats.zeros
    step = 2 * radius / GRID
    where = np.clip(stats.centres() / step + GRID / 2, 0, GRID - 1).astype(np.intp).ravel()
    weighted = counts * np.asarray(weight_energy, np.float64)[:, None]
    middle = (np.arange(GRID) + 0.5) * step - radius
    return Histogram(
        middle,
        np.bincount(where, counts.ravel(), GRID),
        np.bincount(where, weighted.ravel(), GRID),
        float(stats.zeros.sum()),
        stats.tensor_low,
        stats.tensor_high,
    )


def _bounds(whole: Histogram, rule: str, precision: str, symmetric: bool) -> tuple[float, float]:
    """(low, high) that the rule asks for."""
    low, high = min(whole.low, 0.0), max(whole.high, 0.0)
    if rule == "minmax" or high - low <= 0:
        return low, high
    if rule == "percentile":
        return _percentile(whole, symmetric)
    if rule == "entropy":
        return _entropy(whole)
    if rule == "mse":
        fractions = FRACTIONS if not _e4m3(precision) else np.geomspace(0.25, 2.0, 49)
        costs = [
            _cost(whole, whole.energy, _quantiser(low * part, high * part, precision, symmetric, FP32), precision)
            for part in fractions
        ]
        part = float(fractions[int(np.argmin(costs))])
        return low * part, high * part
    raise EdgesmithError(f"no rule for ranges is called {rule!r}", expected=", ".join((*BEST, "entropy", "best")))


def _percentile(whole: Histogram, symmetric: bool) -> tuple[float, float]:
    outside = whole.total * (1 - PERCENTILE / 100)
    if symmetric:
        half = GRID // 2
        size = whole.counts[half:] + whole.counts[:half][::-1]  # |x|, ascending
        beyond = np.cumsum(size[::-1])[::-1]  # values in this bin or above
        limit = float(whole.middle[half:][beyond > outside].max(initial=0.0))
        return max(-limit, min(whole.low, 0.0)), min(limit, max(whole.high, 0.0))
    above, below = np.cumsum(whole.counts[::-1])[::-1], np.cumsum(whole.counts)
    high = float(whole.middle[above > outside / 2].max(initial=0.0))
    low = float(whole.middle[below > outside / 2].min(initial=0.0))
    return max(low, min(whole.low, 0.0)), min(high, max(whole.high, 0.0))


def _entropy(whole: Histogram) -> tuple[float, float]:
    """TensorRT's old calibrator: the limit at which 128 levels lose the least information about |x|."""
    half = GRID // 2
    size = whole.counts[half:] + whole.counts[:half][::-1]
    best, limit = np.inf, half
    for stop in range(128, half + 1, 16):
        head = size[:stop]
        kept = head.copy()
        kept[-1] += size[stop:].sum()
        level = np.arange(stop) * 128 // stop
        filled = np.bincount(level, head > 0, 128)
        mean = np.bincount(level, head, 128) / np.maximum(filled, 1)
        spread = np.where(head > 0, mean[level], 0)
        p, q = kept / max(kept.sum(), 1e-300), spread / max(spread.sum(), 1e-300)
        inside = p > 0
        divergence = float((p[inside] * np.log(p[inside] / np.maximum(q[inside], 1e-9))).sum())
        if divergence < best:
            best, limit = divergence, stop
    edge = float(whole.middle[half + limit - 1])
    return max(-edge, min(whole.low, 0.0)), min(edge, max(whole.high, 0.0))


def _quantiser(low: float, high: float, precision: str, symmetric: bool, dtype: str) -> Range:
    """The quantiser nearest to [low, high] whose scale ``dtype`` holds; its own low and high are what it really covers."""
    if _e4m3(precision) or symmetric:
        levels = E4M3_LARGEST if _e4m3(precision) else 127.0
        scale = float(round_scale(max(-low, high) / levels, dtype))
        return Range(-levels * scale, levels * scale, scale, 0, "")
    scale = float(round_scale((high - low) / 255, dtype))
    zero_point = int(np.clip(round(-low / scale), 0, 255))
    return Range(-zero_point * scale, (255 - zero_point) * scale, scale, zero_point, "")


def _cost(whole: Histogram, weight: np.ndarray, found: Range, precision: str) -> float:
    """Sum over the histogram of the squared quantisation error; exact zeros cost nothing."""
    size = np.abs(whole.middle)
    if _e4m3(precision):  # the step doubles with every power of two: 3 bits of mantissa
        power = np.floor(np.log2(np.maximum(size / found.scale, E4M3_SMALLEST)))
        step = np.exp2(power - 3) * found.scale
    else:
        step = np.full_like(size, found.scale)
    rounding = np.where(size < step / 2, np.square(size), np.square(step) / 12)
    beyond = np.maximum(np.maximum(whole.middle - found.high, found.low - whole.middle), 0)
    return float((weight * np.where(beyond > 0, np.maximum(np.square(beyond), rounding), rounding)).sum())
