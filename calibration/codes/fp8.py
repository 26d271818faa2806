"""A float32 weight -> fp8 E4M3 codes and one scale a channel, or one for all; the range of an activation in E4M3.

    w (..., N, ...) > codes float8_e4m3fn in [-448, 448], scale (N,) along ``axis``        w ~ codes * scale

E4M3 keeps four binary digits whatever the size of a number, so a range need not fit closely: the largest value takes
448, and rule "mse" moves it by less than a factor of two, where that happens to hit the weights better.
"""

from __future__ import annotations

import numpy as np

from ...runtime.ground.limits import FP16
from ..nouns import WeightScales
from .weights import decibels, round_scale

LARGEST = 448.0
FRACTIONS = 2.0 ** np.linspace(0, 1, 9)  # of the scale that covers a channel; at 2 the grid repeats itself


def quantise_fp8(array: np.ndarray, axis: int | None, *, rule: str = "mse", low: str = FP16) -> WeightScales:
    """Codes in the shape of ``array`` and scales (N,) along ``axis``, () where ``axis`` is None: one for all."""
    import ml_dtypes

    array = np.asarray(array, np.float32)
    rows = array.reshape(1, -1) if axis is None else np.moveaxis(array, axis, 0).reshape(array.shape[axis], -1)
    largest = np.abs(rows).max(axis=1)
    best, least = round_scale(largest / LARGEST, low), np.full(len(rows), np.inf)
    for fraction in FRACTIONS if rule == "mse" else FRACTIONS[:1]:
        scale = round_scale(largest / LARGEST * fraction, low)
        error = np.square(to_e4m3(rows / scale[:, None]) * scale[:, None] - rows, dtype=np.float64).sum(axis=1)
        better = error < least
        least, best = np.where(better, error, least), np.where(better, scale, best)
    shape = [1] * array.ndim
    if axis is not None:
        shape[axis] = -1
    codes = to_e4m3(array / best.reshape(shape)).astype(ml_dtypes.float8_e4m3fn)
    scale = best.astype(np.float32).reshape(() if axis is None else -1)
    noise = float(least.sum())
    return WeightScales(
        codes, scale, axis or 0, 0, rule, decibels(float(np.square(rows, dtype=np.float64).sum()), noise)
    )


def to_e4m3(values: np.ndarray) -> np.ndarray:
    """The nearest E4M3 numbers, as float32; larger ones saturate, as QuantizeLinear does."""
    import ml_dtypes

    return np.clip(values, -LARGEST, LARGEST).astype(ml_dtypes.float8_e4m3fn).astype(np.float32)


def fp8_channels(array: np.ndarray, axis: int, *, rule: str, low: str, block: int) -> WeightScales:
    """The entry in the table of quantisers."""
    return quantise_fp8(array, axis % array.ndim, rule=rule, low=low)
