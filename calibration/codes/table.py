"""A float32 weight -> codes and scales, in any precision that weights are quantised to: one line for each."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ...runtime.errors import EdgesmithError
from ..nouns import WeightScales
from .blocks import int4_blocks
from .fp8 import fp8_channels
from .nvfp4 import nvfp4_blocks
from .weights import quantise_channels

QUANTISERS: dict[str, Callable[..., WeightScales]] = {
    "int8": quantise_channels,
    "fp8": fp8_channels,
    "int4": int4_blocks,
    "nvfp4": nvfp4_blocks,
}


def quantise_weight(
    array: np.ndarray, axis: int, *, precision: str = "int8", rule: str = "mse", low: str = "fp16", block: int = 0
) -> WeightScales:
    """Codes and scales of a weight, one scale a channel of ``axis`` (and a block of ``block`` values, where one has blocks).

    Raises:
        EdgesmithError: nobody quantises weights to ``precision``, or a weight is not finite.
    """
    if precision not in QUANTISERS:
        raise EdgesmithError(f"no quantiser of weights for {precision}", expected=", ".join(QUANTISERS))
    if not np.isfinite(array).all():
        raise EdgesmithError("a weight is not finite", found=f"shape {array.shape}", attempt="look at the checkpoint")
    return QUANTISERS[precision](array, axis, rule=rule, low=low, block=block)
