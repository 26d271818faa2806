"""A float32 weight -> nvfp4: E2M1 codes in blocks of 16 with two levels of scales.

    w (K, N) or (N, K) > codes in {0, .5, 1, 1.5, 2, 3, 4, 6} and negative, block scale E4M3, one outer scale
    w ~ codes * (block scale * outer)

The outer scale is a power of two here.  E4M3 is a floating-point type, so nothing is lost by that, and the products of
both scales are then exact in float16: the file holds the same weights whatever type surrounds them.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..nouns import WeightScales
from .blocks import Grid, choose_scales, from_rows, other_axis, to_rows

BLOCK = 16  # the only size that the hardware has
LARGEST = 6.0  # of E2M1
LARGEST_SCALE, SMALLEST_SCALE = 448.0, 2.0**-6  # of E4M3: the largest, and the smallest with all its digits


def quantise_nvfp4(
    array: np.ndarray, in_axis: int, *, rule: str = "mse", importance: np.ndarray | None = None
) -> WeightScales:
    """Codes float4_e2m1fn and block scales float8_e4m3fn along ``in_axis``, rounded to nearest; ``outer`` is the second level.

    Raises:
        EdgesmithError: 16 does not divide the input channels.
    """
    rows, outer = to_rows(array, in_axis), outer_scale(array)
    scale = choose_scales(rows, BLOCK, fp4_grid(outer), rule, importance)
    codes = nearest_code(rows / np.repeat(scale, BLOCK, axis=1))
    return pack(array, in_axis, codes, scale, outer, rule)


def outer_scale(array: np.ndarray) -> float:
    """A power of two that puts the largest block at half of what E4M3 holds, so that rounding to data has room above."""
    largest = max(float(np.abs(array).max(initial=0)), 1e-30)
    return float(2.0 ** np.clip(np.ceil(np.log2(largest / LARGEST / LARGEST_SCALE)) + 1, -24, 15))  # what float16 holds


def fp4_grid(outer: float) -> Grid:
    """E2M1 codes, and scales that are ``outer`` times an E4M3 number."""

    def scale(limit: np.ndarray) -> np.ndarray:
        import ml_dtypes

        ratio = np.clip(limit / LARGEST / outer, SMALLEST_SCALE, LARGEST_SCALE)
        return ratio.astype(ml_dtypes.float8_e4m3fn).astype(np.float64) * outer

    return Grid(nearest_code, scale, (0.55, 1.5))  # at 1.5 the largest value takes code 4, where codes are closer


def nearest_code(ratio: np.ndarray) -> np.ndarray:
    """The nearest E2M1 number, ties to the even code, as a float; beyond 6 it is 6."""
    import ml_dtypes

    return np.clip(ratio, -LARGEST, LARGEST).astype(ml_dtypes.float4_e2m1fn).astype(np.float64)


def pack(
    array: np.ndarray, in_axis: int, codes: np.ndarray, scale: np.ndarray, outer: float, rule: str
) -> WeightScales:
    """Codes (N, K) and scales (N, K / 16), outer included, as floats -> their types in the layout of ``array``."""
    import ml_dtypes

    doubled = from_rows(array, in_axis, codes * 2, scale / 2, rule)  # twice a code is an integer from 0 to 12
    return replace(
        doubled,
        codes=(doubled.codes.astype(np.float32) / 2).astype(ml_dtypes.float4_e2m1fn),
        scale=(doubled.scale * 2 / np.float32(outer)).astype(ml_dtypes.float8_e4m3fn),
        outer=outer,
    )


def nvfp4_blocks(array: np.ndarray, axis: int, *, rule: str, low: str, block: int) -> WeightScales:
    """The entry in the table of quantisers, which names the axis of the output channels."""
    return quantise_nvfp4(array, other_axis(axis, array.ndim), rule=rule)
