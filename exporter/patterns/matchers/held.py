"""Whether folded numbers can be constants in the type of the graph: in float16 a product of two constants soon cannot.

Folds compute in float64 and round once.  A factor that the exported graph applies to activations may still leave the range
when it is multiplied into weights: 1e4 times a weight of 10 is infinite in float16, where 1e4 times an activation of 1 is
not.  Every pass that multiplies or adds constants asks here before it writes, and leaves the graph alone otherwise.
"""

from __future__ import annotations

import numpy as np

FINER = (
    2.0**-8
)  # of the largest number: what has to be left of a type's range below it, or the weights are mostly rounding


def unheld(dtype: np.dtype, weight: np.ndarray, *others: np.ndarray) -> str:
    """Why ``dtype`` does not hold what was computed in float64, in words; empty where it does.

    No number may become infinite, and of ``weight`` the largest may not come so close to the smallest that the type has
    that less than eight bits are left.  ``others``, as biases, may be small: they are added to what is large.
    """
    for array, finer in ((weight, FINER), *((other, 1.0) for other in others)):
        largest = float(np.abs(array).max(initial=0.0))
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            kept = np.array([largest, largest * finer]).astype(dtype).astype(np.float64)
        if not np.isfinite(kept[0]) or (finer < 1 and largest and not kept[1]):
            return f"folded, the largest number would be {largest:.3g}, which {dtype} does not hold"
    return ""
