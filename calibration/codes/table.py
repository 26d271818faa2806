"""A float32 weight -> codes and scales, in any codes that there are: one line for each."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ...runtime.errors import EdgesmithError
from ...runtime.ground.limits import FP16, INT8
from ..nouns import WeightScales
from ..precisions import PRECISIONS, Codes, quantised_names
from .blocks import int4_blocks
from .fp8 import fp8_channels
from .nvfp4 import nvfp4_blocks
from .weights import quantise_channels

QUANTISERS: dict[Codes, Callable[..., WeightScales]] = {
    Codes.INT8: quantise_channels,
    Codes.E4M3: fp8_channels,
    Codes.INT4: int4_blocks,
    Codes.E2M1: nvfp4_blocks,
}


def quantise_weight(
    array: np.ndarray, axis: int, *, precision: str = INT8, rule: str = "mse", low: str = FP16, block: int = 0
) -> WeightScales:
    """Codes and scales of a weight, one scale a channel of ``axis`` (and a block of ``block`` values, where one has blocks).

    Raises:
        EdgesmithError: nobody quantises weights to ``precision``, or a weight is not finite.
    """
    row = PRECISIONS.get(precision)
    if row is None or row.codes is None:
        raise EdgesmithError(f"no quantiser of weights for {precision}", expected=", ".join(quantised_names()))
    if not np.isfinite(array).all():
        raise EdgesmithError("a weight is not finite", found=f"shape {array.shape}", attempt="look at the checkpoint")
    return (row.quantise_weight or QUANTISERS[row.codes])(array, axis, rule=rule, low=low, block=block)
