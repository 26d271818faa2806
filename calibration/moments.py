"""Second moments of the inputs of linear layers: which directions of a weight matter, for rounding that repairs itself.

    x (..., K) or (B, K, H, W)  ->  E[x x^T] (K, K) float32

float32 products of one batch, summed in float64. A 1x1 convolution sees its input one position at a time, as a linear
layer does; larger kernels are not served here.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..runtime.errors import EdgesmithError
from .cache import Cache
from .collect import Progress, one_pass
from .fingerprint import Images, fingerprint

if TYPE_CHECKING:
    import onnx_ir as ir


class Moments:
    """Sum of x x^T over all positions of one tensor."""

    def __init__(self, name: str, axis: int, so_far: Mapping[str, np.ndarray] | None = None) -> None:
        self.name, self.axis = name, axis
        self._rows = 0
        self._sum: np.ndarray | None = None  # (K, K) float64
        if so_far is not None:
            self._rows, self._sum = int(so_far["rows"]), _whole(so_far["half"])

    def add(self, array: np.ndarray, images: int) -> None:
        """Take in a batch; EdgesmithError where a value is not finite."""
        rows = np.moveaxis(array, self.axis, -1).reshape(-1, array.shape[self.axis])
        with np.errstate(all="ignore"):  # said below, with the name of the tensor
            product = rows.T @ rows
        if not np.isfinite(product).all():
            raise EdgesmithError(f"tensor {self.name!r} cannot be calibrated", found="second moments that overflow")
        if self._sum is None:
            self._sum = np.zeros(product.shape, np.float64)
        self._sum += product
        self._rows += len(rows)

    def mean(self) -> np.ndarray:
        """(K, K) float32."""
        assert self._sum is not None, "no batch was added"
        return (self._sum / max(self._rows, 1)).astype(np.float32)

    def arrays(self) -> dict[str, np.ndarray]:
        """What a cache file keeps: the lower half, since the matrix is symmetric."""
        assert self._sum is not None, "no batch was added"
        return {"rows": np.array(self._rows), "half": self._sum[np.tril_indices(len(self._sum))]}


def collect_moments(
    model: ir.Model, tensors: Mapping[str, int], images: Images, *, cache: Path | None = None, batch: int = 8,
    save_every: int = 16, threads: int = 0, progress: Progress | None = None, notes: list[str] | None = None,
) -> dict[str, np.ndarray]:  # fmt: skip
    """E[x x^T] (K, K) float32 of every tensor; arguments, errors and cache as ``collect``, in a file of their own."""
    cached = Cache(fingerprint("moments", model, tensors, images), cache)

    def make(name: str, arrays: Mapping[str, np.ndarray] | None) -> Moments:
        return Moments(name, tensors[name], arrays)

    counters, _ = one_pass(
        model, tensors, images, make, cached, batch=batch, save_every=save_every, threads=threads, progress=progress
    )
    if notes is not None:
        notes.extend(cached.notes)
    return {name: counter.mean() for name, counter in counters.items()}


def _whole(half: np.ndarray) -> np.ndarray:
    """(K (K + 1) / 2,) -> (K, K)."""
    size = int((np.sqrt(8 * len(half) + 1) - 1) / 2)
    whole = np.empty((size, size), np.float64)
    lower = np.tril_indices(size)
    whole[lower] = half
    whole.T[lower] = half
    return whole
