"""A weight (N, K), one row an output, -> codes of 4 or 8 bits and their scales, a few rows at a time.

    int4    codes -8 to 7, a scale for every ``block`` values of a row      int8    codes -127 to 127, a scale a row

The scale of a block is the best of a few: one that covers its largest value, and smaller ones, which clip that value and
round all the others finer. Scales are numbers that float16 holds, so that every engine reads the same ones. What is computed
at once stays within the processor's cache: a model of 3 billion weights takes a minute and no memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...calibration.codes.weights import LEVELS, decibels, round_scale
from ...runtime.ground.limits import FP16

BLOCKS = (64, 32)  # widest first: of 128 the scales are 0.1 GB less of 3 billion weights, and the error 0.5 dB more
FRACTIONS = (1.0, 0.94, 0.88, 0.82, 0.76)  # of the scale that covers a block
AT_ONCE = 1 << 18  # values; the cache holds a few arrays of them


@dataclass(frozen=True)
class Codes:
    """codes int8 (N, K); scale float32 (N, K / block), or (N, 1) of whole rows; the error as energies."""

    codes: NDArray[np.int8]
    scale: NDArray[np.float32]
    signal: float
    noise: float

    @property
    def sqnr_db(self) -> float:
        return decibels(self.signal, self.noise)


def int4_codes(weight: NDArray[np.float32], block: int) -> Codes:
    """Blocks along a row; K is a multiple of ``block``."""
    codes = np.empty(weight.shape, np.int8)
    scale = np.empty((len(weight), weight.shape[1] // block), np.float32)
    signal = noise = 0.0
    for rows in _pieces(weight):
        values = np.asarray(weight[rows], np.float32).reshape(-1, block)
        found, steps, error = _best(values)
        codes[rows] = found.reshape(-1, weight.shape[1])
        scale[rows] = steps.reshape(-1, scale.shape[1])
        signal, noise = signal + float(np.vdot(values, values)), noise + error
    return Codes(codes, scale, signal, noise)


def int8_codes(weight: NDArray[np.float32]) -> Codes:
    """A scale a row, which covers its largest value: at 8 bits clipping gains nothing."""
    codes = np.empty(weight.shape, np.int8)
    scale = np.empty((len(weight), 1), np.float32)
    signal = noise = 0.0
    for rows in _pieces(weight):
        values = np.asarray(weight[rows], np.float32)
        scale[rows] = round_scale(np.abs(values).max(axis=1, keepdims=True) / LEVELS, FP16)
        found = np.clip(np.rint(values / scale[rows]), -LEVELS, LEVELS)
        codes[rows] = found
        found *= scale[rows]
        found -= values
        signal, noise = signal + float(np.vdot(values, values)), noise + float(np.vdot(found, found))
    return Codes(codes, scale, signal, noise)


def _pieces(weight: NDArray[np.float32]) -> Iterator[slice]:
    step = max(1, AT_ONCE // weight.shape[1])
    return (slice(start, start + step) for start in range(0, len(weight), step))


def _best(values: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32], float]:
    """(blocks, block) -> codes, scale (blocks, 1), and the squared error of all."""
    cover = np.abs(values).max(axis=1, keepdims=True) / np.float32(7)
    codes = np.empty(values.shape, np.int8)
    scale, least = np.empty_like(cover), np.full(cover.shape, np.inf, np.float32)
    for fraction in FRACTIONS:
        steps = round_scale(cover * np.float32(fraction), FP16)
        found = np.clip(np.rint(values / steps), -8, 7)
        error = np.square(found * steps - values).sum(axis=1, keepdims=True)
        better = error < least
        np.copyto(codes, found, where=better, casting="unsafe")
        np.copyto(scale, steps, where=better)
        np.copyto(least, error, where=better)
    return codes, scale, float(least.sum(dtype=np.float64))
