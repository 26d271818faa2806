"""A tensor of a file whose values are not read yet: they are only where the network has a place for them.

    file -> Stored(shape, dtype, ...) by name -> comparison with the network -> values of the chosen ones

This file imports no torch until values are asked for: plans are made of names and shapes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

# as torch spells them -> bytes of one value; what is not here has no place in a network of ours and is told by its name
SIZES = {
    "float64": 8,
    "float32": 4,
    "float16": 2,
    "bfloat16": 2,
    "float8_e4m3fn": 1,
    "float8_e5m2": 1,
    "bool": 1,
    "float8_e4m3fnuz": 1,
    "float8_e5m2fnuz": 1,
    "float8_e8m0fnu": 1,
    "complex64": 8,
    "complex128": 16,
    "int64": 8,
    "int32": 4,
    "int16": 2,
    "int8": 1,
    "uint8": 1,
    "uint16": 2,
    "uint32": 4,
    "uint64": 8,
}
MOST_AXES = 64  # of a tensor of PyTorch
MOST_VALUES = 1 << 40


@dataclass(frozen=True)
class Stored:
    """``shape`` and ``dtype`` of one tensor; ``kind`` says why it holds no plain numbers, and is empty where it does."""

    shape: tuple[int, ...]
    dtype: str  # "float32"
    kind: str = ""
    values: Callable[[], Tensor] | None = field(default=None, compare=False, repr=False)
    origin: Any = field(default=None, repr=False)  # equal where two names are the very same tensor

    @property
    def numel(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.numel * SIZES.get(self.dtype, 1)

    def without_values(self) -> Tensor:
        """Shape and dtype on the device meta, for names and shapes to be compared."""
        import torch

        return torch.empty(self.shape, dtype=getattr(torch, self.dtype, torch.float32), device="meta")


def unreadable(kind: str, shape: tuple[int, ...] = ()) -> Stored:
    """A tensor that is told by its ``kind``."""
    return Stored(shape if possible(shape) else (), "float32", kind)


def possible(shape: Any) -> bool:
    """Whether a tensor can have this shape: whole numbers from 0, not absurdly many."""
    return (
        isinstance(shape, tuple)
        and len(shape) <= MOST_AXES
        and all(type(side) is int and 0 <= side <= MOST_VALUES for side in shape)
        and math.prod(shape) <= MOST_VALUES
    )
