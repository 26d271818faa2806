"""Numbers for inputs of any type and shape: what a file is tried and judged on where nobody gives any."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from ...runtime.bundle.manifest import TensorSpec

SMALLEST_TABLE = 2  # whole numbers are 0 and 1: places in a table, classes and masks all have these

Bound = tuple[str, str, Sequence[int]]  # name, type as numpy calls it, sizes


def seeded_feeds(inputs: Sequence[Bound], seed: int = 0) -> dict[str, np.ndarray]:
    """Standard normal floats, bytes of 0..255, other whole numbers 0 or 1; the same for the same seed."""
    rng = np.random.default_rng(seed)
    return {name: _array(rng, dtype, tuple(shape)) for name, dtype, shape in inputs}


def _array(rng: np.random.Generator, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    if dtype == "bool":
        return np.ones(shape, bool)  # a mask that hides nothing; hiding all leaves nothing to compare
    if dtype == "uint8":
        return rng.integers(0, 256, shape).astype(np.uint8)
    if "int" in dtype:
        return rng.integers(0, SMALLEST_TABLE, shape).astype(dtype)
    if dtype == "bfloat16":
        import ml_dtypes

        return rng.standard_normal(shape).astype(ml_dtypes.bfloat16)
    return rng.standard_normal(shape).astype(dtype)


def apart(expected: Mapping[str, Any], found: Mapping[str, Any]) -> float:
    """The largest relative error over all outputs by name; infinite where shapes, NaN or an output differ."""
    from ...runtime.ground.numbers import relative_error

    worst = 0.0
    for name, array in expected.items():
        other = found.get(name)
        if other is None or other.shape != array.shape:
            return float("inf")
        if array.dtype.kind in "biu":
            worst = max(worst, 0.0 if np.array_equal(array, other) else float("inf"))
        elif not np.array_equal(np.isfinite(array), np.isfinite(other)):
            return float("inf")
        else:
            keep = np.isfinite(array)
            worst = max(worst, relative_error(array[keep], other[keep]) if keep.any() else 0.0)
    return worst


def usual_sizes(spec: TensorSpec, batch: int | None = None) -> tuple[int, ...]:
    """The usual sizes of an input of a bundle; an open first axis is the batch where one is told."""
    sizes = spec.opt or tuple(size if isinstance(size, int) else 1 for size in spec.shape)
    opened = bool(spec.shape) and isinstance(spec.shape[0], str) and batch is not None
    return (batch or 1, *sizes[1:]) if opened else tuple(sizes)
