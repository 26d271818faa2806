"""A float32 weight -> 4-bit codes in blocks: every ``block`` values along the input channels share a scale.

    w (K, N) or (N, K) or (N, K, 1, 1) > codes, scale with K / block in place of K      w ~ codes * scale

Blocks lie along the input channels, the axis that a product sums over: that is what MatMulNBits of ONNX Runtime and the
blocked DequantizeLinear of TensorRT take.  A ``Grid`` is the set of codes and of scales: int4 here, nvfp4 beside.

Rule "max" covers the largest value of a block with the largest code; "mse" tries smaller scales too (for int4 at 7/8 of
it the largest negative value takes code -8).  ``importance`` (K,) weighs the error of an input channel: E[x^2] where
data is known.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ...runtime.errors import EdgesmithError
from ...runtime.ground.limits import FP16
from ..nouns import WeightScales
from .weights import decibels, round_scale

BLOCKS = (32, 64, 128)
TRIALS = 37  # scales that "mse" tries a block


@dataclass(frozen=True)
class Grid:
    """The codes that a type has, and the scales that can be stored beside them."""

    nearest: Callable[[np.ndarray], np.ndarray]  # value / scale -> code, as a float
    scale: Callable[[np.ndarray], np.ndarray]  # largest value of a block -> scale > 0
    trials: tuple[float, float] = (0.55, 1.0)  # of the scale that covers a block: smallest and largest worth a try


def int4_grid(low: str) -> Grid:
    """Integers from -8 to 7; scales are positive numbers of the type ``low``."""
    return Grid(lambda ratio: np.clip(np.rint(ratio), -8, 7), lambda limit: round_scale(limit / 7, low))


def quantise_blocks(
    array: np.ndarray,
    in_axis: int,
    *,
    block: int,
    grid: Grid | None = None,
    rule: str = "mse",
    low: str = FP16,
    importance: np.ndarray | None = None,
) -> WeightScales:
    """Codes (in the shape of ``array``) and scales, rounded to nearest; blocks along ``in_axis``, int4 if no grid is given.

    Raises:
        EdgesmithError: the blocks do not divide the input channels.
    """
    grid = grid or int4_grid(low)
    rows = to_rows(array, in_axis)  # (N, K)
    scale = choose_scales(rows, block, grid, rule, importance)  # (N, K / block)
    codes = grid.nearest(rows / np.repeat(scale, block, axis=1))
    return from_rows(array, in_axis, codes, scale, rule)


def choose_scales(
    rows: np.ndarray, block: int, grid: Grid, rule: str, importance: np.ndarray | None = None
) -> np.ndarray:
    """Scales (N, K / block) of rows (N, K) with the least error, weighed by ``importance`` (K,)."""
    blocks = split(rows, block)  # (N, K / block, block)
    largest = np.abs(blocks).max(axis=2)
    best = grid.scale(largest)
    if rule == "max":
        return best
    weight = np.ones(rows.shape[1]) if importance is None else importance + 1e-6 * importance.mean()
    weight = weight.reshape(-1, block)
    least = np.full(largest.shape, np.inf)
    for fraction in np.linspace(*grid.trials, TRIALS)[::-1]:
        scale = grid.scale(largest * fraction)
        found = grid.nearest(blocks / scale[..., None]) * scale[..., None]
        error = (np.square(found - blocks) * weight).sum(axis=2)
        better = error < least
        least, best = np.where(better, error, least), np.where(better, scale, best)
    return best


def split(rows: np.ndarray, block: int) -> np.ndarray:
    """(N, K) -> (N, K / block, block)."""
    if rows.shape[1] % block:
        raise EdgesmithError(
            f"{rows.shape[1]} input channels do not split into blocks of {block}",
            because="the last block would be short, which no engine reads",
            attempt="choose the nodes with place_blocks, which leaves such a node as it is",
        )
    return rows.reshape(len(rows), -1, block)


def to_rows(array: np.ndarray, in_axis: int) -> np.ndarray:
    """A weight as (N, K) float64, one row an output channel; kernels of 1x1 only."""
    if array.ndim > 2 and max(array.shape[2:]) > 1:
        raise EdgesmithError(f"a kernel of {'x'.join(map(str, array.shape[2:]))} has no blocks of input channels")
    flat = np.asarray(array, np.float64).reshape(array.shape[:2])
    return np.ascontiguousarray(flat if in_axis % array.ndim == 1 else flat.T)


def from_rows(array: np.ndarray, in_axis: int, codes: np.ndarray, scale: np.ndarray, rule: str) -> WeightScales:
    """Codes (N, K), as floats, and scales (N, K / block) in the layout of ``array``; integers are int8 then."""
    rows = to_rows(array, in_axis)
    block = rows.shape[1] // scale.shape[1]
    error = np.square(codes * np.repeat(scale, block, axis=1) - rows).sum()
    second = in_axis % array.ndim == 1
    codes, scale = (np.ascontiguousarray(part if second else part.T).astype(np.float32) for part in (codes, scale))
    return WeightScales(
        codes=codes.reshape(array.shape).astype(np.int8),
        scale=scale.reshape(*scale.shape, *array.shape[2:]),
        axis=in_axis % array.ndim,
        block=block,
        rule=rule,
        sqnr_db=decibels(float(np.square(rows).sum()), float(error)),
    )


def dequantise(found: WeightScales) -> np.ndarray:
    """The weight that an engine computes with, float32: codes of any type times their scales."""
    codes, scale = found.codes.astype(np.float32), found.scale.astype(np.float32) * np.float32(found.outer)
    if found.block:
        return codes * np.repeat(scale, found.block, axis=found.axis)
    shape = [1] * codes.ndim
    if scale.size > 1:
        shape[found.axis] = -1
    return codes * scale.reshape(shape)


def other_axis(axis: int, rank: int) -> int:
    """The axis of the input channels of a weight whose output channels lie along ``axis``."""
    return 0 if axis % rank == 1 else 1


def int4_blocks(array: np.ndarray, axis: int, *, rule: str, low: str, block: int) -> WeightScales:
    """The entry in the table of quantisers, which names the axis of the output channels."""
    return quantise_blocks(array, other_axis(axis, array.ndim), block=block or BLOCKS[-1], rule=rule, low=low)
