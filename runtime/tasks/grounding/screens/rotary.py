"""Where the tokens of a screen stand, and the rotary tables of these places.

    fixed text   t = h = w = 0 .. T-1
    visual       t = T, h = T + row, w = T + column          in raster order
    text after   t = h = w from T + max(rows, columns) on    ``start``

Qwen2.5-VL (arXiv 2502.13923) rotates with three axes at once: of the d/2 frequencies theta^(-2j/d) the first section turns
with t, the next with h, the last with w; both halves of a head have the same angles. ``start`` belongs to a screen: a
library that keeps it with the model answers for whoever looked last.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def positions(fixed: int, grid: tuple[int, int]) -> np.ndarray:
    """(3, P) int64: t, h, w of the ``fixed`` text's tokens and of the visual tokens (rows, columns) behind it."""
    rows, columns = grid
    text = np.tile(np.arange(fixed), (3, 1))
    row, column = np.divmod(np.arange(rows * columns), columns)
    return np.concatenate([text, fixed + np.stack([np.zeros_like(row), row, column])], axis=1).astype(np.int64)


def start(fixed: int, grid: tuple[int, int]) -> int:
    """The position of the first token after the picture."""
    return fixed + max(grid)


def tables(places: np.ndarray, sections: Sequence[int], theta: float) -> tuple[np.ndarray, np.ndarray]:
    """(3, P) places -> cos and sin, float32 (P, d), d twice the sum of ``sections``.

    In float32 throughout, as the model computes them: the keys that are stored were turned by these very angles.
    """
    half = sum(sections)
    powers = np.arange(0, 2 * half, 2, dtype=np.float32) / np.float32(2 * half)
    frequencies = (np.float32(1) / np.float32(theta) ** powers).astype(np.float32)  # (d/2,)
    axis = np.repeat(np.arange(3), sections)  # which of t, h, w turns each of the frequencies
    angles = places.astype(np.float32)[axis].T * frequencies  # (P, d/2)
    both = np.concatenate([angles, angles], axis=1)
    return np.cos(both), np.sin(both)
