"""A weight (N, K), one row an output, -> codes of 4 or 8 bits and their scales, a few rows at a time.

    int4    codes -8 to 7, a scale and a zero for every ``block`` values of a row      int8    codes -127 to 127, a scale a row

The scale of a block is the best of a few: one that covers its largest value, and smaller ones, which clip that value and
round all the others finer. So it is of the zero, where the engine takes one: 0.7 to 0.9 dB for 4 bits a block. Scales are numbers that float16 holds, so that every engine reads the same ones. What is computed
at once stays within the processor's cache: a model of 3 billion weights takes a minute and no memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ....calibration.codes.weights import LEVELS, decibels, round_scale
from ....runtime.ground.limits import FP16

BLOCKS = (64, 32)  # widest first: of 128 the scales are 0.1 GB less of 3 billion weights, and the error 0.5 dB more
FRACTIONS = (1.0, 0.94, 0.88, 0.82, 0.76)  # of the scale that covers a block
SHIFTS = (-0.5, 0.5)  # of the zero, which is a whole number: from the middle to either side
AT_ONCE = 1 << 18  # values; the cache holds a few arrays of them


@dataclass(frozen=True)
class Codes:
    """codes int8 (N, K); scale float32 (N, K / block), or (N, 1) of whole rows; the error as energies.

    zero int8 as scale, or None: the code of 0 where that is another than 0.
    """

    codes: NDArray[np.int8]
    scale: NDArray[np.float32]
    signal: float
    noise: float
    zero: NDArray[np.int8] | None = None

    @property
    def sqnr_db(self) -> float:
        return decibels(self.signal, self.noise)

    def values(self) -> NDArray[np.float32]:
        """(N, K): what the codes stand for."""
        block = self.codes.shape[1] // self.scale.shape[1]
        blocks = self.codes.reshape(*self.scale.shape, block).astype(np.float32)
        if self.zero is not None:
            blocks -= self.zero[..., None]
        return (blocks * self.scale[..., None]).reshape(self.codes.shape)


def int4_codes(weight: NDArray[np.float32], block: int, zeros: bool = False) -> Codes:
    """Blocks along a row; K is a multiple of ``block``. ``zeros``: with a zero for each block."""
    codes = np.empty(weight.shape, np.int8)
    scale = np.empty((len(weight), weight.shape[1] // block), np.float32)
    zero = np.zeros(scale.shape, np.int8)
    signal = noise = 0.0
    for rows in _pieces(weight):
        values = np.asarray(weight[rows], np.float32).reshape(-1, block)
        found, steps, middle, error = _best(values, zeros)
        codes[rows] = found.reshape(-1, weight.shape[1])
        scale[rows] = steps.reshape(-1, scale.shape[1])
        zero[rows] = middle.reshape(-1, scale.shape[1])
        signal, noise = signal + float(np.vdot(values, values)), noise + error
    return Codes(codes, scale, signal, noise, zero if zeros else None)


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


def _best(
    values: NDArray[np.float32], zeros: bool
) -> tuple[NDArray[np.int8], NDArray[np.float32], NDArray[np.int8], float]:
    """(blocks, block) -> codes, scale and zero (blocks, 1), and the squared error of all."""
    if zeros:
        least, most = (
            np.minimum(values.min(axis=1, keepdims=True), 0),
            np.maximum(values.max(axis=1, keepdims=True), 0),
        )
        cover, middle = (most - least) / np.float32(15), (most + least) / 2
    else:
        cover, middle = np.abs(values).max(axis=1, keepdims=True) / np.float32(7), None
    codes = np.empty(values.shape, np.int8)
    scale, least_error = np.empty_like(cover), np.full(cover.shape, np.inf, np.float32)
    zero = np.zeros(cover.shape, np.int8)
    for fraction in FRACTIONS:
        steps = round_scale(cover * np.float32(fraction), FP16)
        for shift in SHIFTS if middle is not None else (0.0,):
            # the middle of the range at the middle of the codes, -1/2
            at = 0 * cover if middle is None else np.clip(np.rint(-0.5 + shift - middle / steps), -8, 7)
            found = np.clip(np.rint(values / steps) + at, -8, 7)
            error = np.square((found - at) * steps - values).sum(axis=1, keepdims=True)
            better = error < least_error
            np.copyto(codes, found, where=better, casting="unsafe")
            np.copyto(scale, steps, where=better)
            np.copyto(zero, at, where=better, casting="unsafe")
            np.copyto(least_error, error, where=better)
    return codes, scale, zero, float(least_error.sum(dtype=np.float64))
