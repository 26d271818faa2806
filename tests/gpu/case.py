"""One run of a fused op, and how far its kernels may be from the reference."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

Build = Callable[[np.random.Generator], "list[np.ndarray]"]


@dataclass(frozen=True)
class Case:
    """Inputs and attributes of one run."""

    label: str
    build: Build
    attributes: Mapping[str, Any]
    real: bool = False

    def arrays(self) -> list[np.ndarray]:
        """The same arrays every time and everywhere."""
        return self.build(np.random.default_rng(zlib.crc32(self.label.encode())))


# relative to the largest output: float32 sums in another order than the reference's float64; the 16-bit types keep 11 and 8
# bits, and attention rounds its probabilities to them once more before the second product
LIMITS = {"float32": 1e-5, "float16": 1e-3, "bfloat16": 8e-3}
