"""Second moments of the inputs of linear layers: which directions of a weight matter, for rounding that repairs itself.

    x (..., K) or (B, K, H, W)  ->  E[x x^T] (K, K) float32

float32 products of some K rows, summed in float64. A 1x1 convolution sees its input one position at a time, as a linear
layer does; larger kernels are not served here.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...runtime.errors import EdgesmithError
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
        self._waiting: list[np.ndarray] = []  # (n, K): a product of few rows costs as much as one of K
        if so_far is not None:
            self._rows, self._sum, self._waiting = int(so_far["rows"]), _whole(so_far["half"]), [so_far["waiting"]]

    def add(self, array: np.ndarray, images: int) -> None:
        """Take in a batch; EdgesmithError where a value is not finite."""
        self._waiting.append(np.moveaxis(array, self.axis, -1).reshape(-1, array.shape[self.axis]))
        if sum(map(len, self._waiting)) >= array.shape[self.axis]:
            product = self._product()
            if self._sum is None:
                self._sum = np.zeros(product.shape, np.float64)
            self._sum += product
            self._rows += sum(map(len, self._waiting))
            self._waiting = []

    def mean(self) -> np.ndarray:
        """(K, K) float32."""
        whole, rows = self._sum, self._rows
        if self._waiting:
            product, rows = self._product(), rows + sum(map(len, self._waiting))
            whole = product.astype(np.float64) if whole is None else whole + product
        assert whole is not None, "no batch was added"
        return (whole / max(rows, 1)).astype(np.float32)

    def arrays(self) -> dict[str, np.ndarray]:
        """What a cache file keeps; of the sum the lower half, since it is symmetric."""
        channels = self._waiting[0].shape[1] if self._sum is None else len(self._sum)
        whole = np.zeros((channels, channels)) if self._sum is None else self._sum
        half = np.concatenate([whole[row, : row + 1] for row in range(channels)])
        waiting = np.concatenate([np.zeros((0, channels), np.float32), *self._waiting])
        return {"rows": np.array(self._rows), "half": half, "waiting": waiting}

    def _product(self) -> np.ndarray:
        """(K, K) float32, of the rows that wait."""
        rows = np.concatenate(self._waiting)
        with np.errstate(all="ignore"):  # said below, with the name of the tensor
            product = rows.T @ rows
        if not np.isfinite(product.diagonal()).all():  # no other entry is larger
            raise EdgesmithError(
                f"tensor {self.name!r} cannot be calibrated",
                found="second moments that are not finite",
                attempt="look at the weights and the preprocessing: the float32 graph itself overflows on these images",
            )
        return product


def collect_moments(
    model: ir.Model, tensors: Mapping[str, int], images: Images, *, cache: Path | None = None, batch: int = 8,
    save_every: int = 16, threads: int = 0, progress: Progress | None = None, notes: list[str] | None = None,
) -> dict[str, np.ndarray]:  # fmt: skip
    """E[x x^T] (K, K) float32 of every tensor; arguments, errors and cache as ``collect``, in a file of their own."""
    cached = Cache(fingerprint("moments", model, tensors, images), cache, squeeze=False)

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
    lower = np.zeros((size, size), np.float64)
    for row in range(size):
        start = row * (row + 1) // 2
        lower[row, : row + 1] = half[start : start + row + 1]
    return lower + np.tril(lower, -1).T
