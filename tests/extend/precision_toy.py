"""A precision in one file of one's own: weights of six bits, which engines take for int8 and whose codes are our own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgesmith import register_precision
from edgesmith.calibration.codes.weights import decibels, round_scale
from edgesmith.calibration.nouns import WeightScales
from edgesmith.calibration.precisions import PRECISIONS

LEVELS = 31


def six_bits(array: np.ndarray, axis: int, *, rule: str, low: str, block: int) -> WeightScales:
    """Codes in [-31, 31] and one scale a channel that covers its largest weight; ``rule`` and ``block`` have no meaning here."""
    others = tuple(each for each in range(array.ndim) if each != axis % array.ndim)
    spread = round_scale(np.abs(array).max(axis=others, keepdims=True) / LEVELS, low)
    codes = np.clip(np.rint(array / spread), -LEVELS, LEVELS).astype(np.int8)
    noise = float(np.square(array - codes * spread, dtype=np.float64).sum())
    signal = float(np.square(array, dtype=np.float64).sum())
    return WeightScales(codes, spread.reshape(-1), axis % array.ndim, 0, "max", decibels(signal, noise))


INT6 = replace(
    PRECISIONS["int8"],
    name="int6",
    spellings=("int6", "6"),
    bits=6,
    like="int8",
    form="dynamic",
    quantise_weight=six_bits,
)


def add() -> None:
    """What ``[project.entry-points."edgesmith"] six = "precision_toy:add"`` would name in a package that is installed."""
    register_precision(INT6)
