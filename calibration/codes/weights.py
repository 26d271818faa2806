"""A float32 weight -> int8 codes and one scale a channel.

    w (..., N, ...) > codes int8 in [-127, 127], scale (N,) along ``axis``        w ~ codes * scale

The scale is rounded to the type that the graph stores it in *before* the codes are computed, so the codes are the best
for the scale that an engine reads.  -128 is left out: TensorRT's weights are symmetric.

Rule "max" covers the largest value of a channel; "mse" looks for a smaller range where a few values stand far out:
rounding costs scale^2 / 12 a value, a clipped value (|w| - limit)^2, which only the largest values of a channel decide.
"""

from __future__ import annotations

import numpy as np

from ...runtime.ground.limits import BF16, FP16
from ..nouns import WeightScales
from ..precisions import PRECISIONS

LEVELS = 127
FRACTIONS = np.linspace(0.5, 1.0, 26)  # of the largest value: the ranges that "mse" tries
TAIL = 64  # largest values of a channel that "mse" looks at; a range that clips more is never the best at 8 bits


def round_scale(scale: np.ndarray | float, low: str) -> np.ndarray:
    """float32 scales that ``low`` (fp16, bf16 or fp32) holds exactly; never zero, never subnormal, never infinite."""
    scale = np.maximum(np.asarray(scale, np.float32), np.float32(PRECISIONS[low].smallest))
    if low == FP16:
        return np.minimum(scale, np.float32(PRECISIONS[low].largest)).astype(np.float16).astype(np.float32)
    if low == BF16:  # to nearest, ties to even: the upper half of a float32
        bits = scale.view(np.uint32)
        return ((bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)).view(np.float32)
    return scale


def quantise_channels(array: np.ndarray, axis: int, *, rule: str, low: str, block: int = 0) -> WeightScales:
    """int8, symmetric, one scale a channel; ``block`` has no meaning here."""
    axis %= array.ndim
    rows = np.moveaxis(np.asarray(array, np.float32), axis, 0).reshape(array.shape[axis], -1)  # (N, K)
    limits = _limits(np.abs(rows), rule)
    scale = round_scale(limits / LEVELS, low)  # (N,)
    shape = [1] * array.ndim
    shape[axis] = -1
    spread = scale.reshape(shape)
    codes = np.clip(np.rint(array / spread), -LEVELS, LEVELS)
    error = np.square(array - codes * spread, dtype=np.float64).sum()
    return WeightScales(
        codes.astype(np.int8), scale, axis, 0, rule, decibels(np.square(rows, dtype=np.float64).sum(), error)
    )


def decibels(signal: float, noise: float) -> float:
    """10 log10 of signal over noise, both energies; infinite without noise."""
    if noise <= 0:
        return float("inf")
    return float(10 * np.log10(max(signal, 1e-300) / noise))


def _limits(rows: np.ndarray, rule: str) -> np.ndarray:
    """The largest |w| (N,) that each channel of |w| (N, K) should still hold."""
    largest = rows.max(axis=1).astype(np.float64)
    size = rows.shape[1]
    if rule == "max" or size < 2:
        return largest
    count = min(TAIL, size - 1)
    tail = np.partition(rows, size - count, axis=1)[:, size - count :].astype(np.float64)  # (N, count)
    limits = FRACTIONS[:, None] * largest  # (F, N)
    cost = np.empty_like(limits)
    for index, limit in enumerate(limits):
        clipped = np.square(np.maximum(tail - limit[:, None], 0)).sum(axis=1)
        cost[index] = size * np.square(limit / LEVELS) / 12 + clipped
        if count < size - 1:  # where the whole tail is clipped, so is more that was not counted
            cost[index][tail.min(axis=1) > limit] = np.inf
    return np.take_along_axis(limits, cost.argmin(axis=0)[None], axis=0)[0]
