"""Batches of activations -> what is remembered of them: per channel the range and a histogram, counted as they stream by.

A histogram has ``BINS`` equal bins over ``[-radius, radius)`` of its own channel, zero on the edge between the two middle
ones. The radius is the power of two above the largest ``|x|`` seen, so a bin is at most one step (and at least half a
step) of the int8 quantiser that just covers this channel, ``absmax / 127``: an error that is smooth inside a bin (s^2 / 12
of rounding, (x - t)^2 of clipping, x^2 below s / 2) is estimated to a few percent down to a step of an eighth of that.
Exact zeros are counted apart, because rounding costs them nothing. A larger value doubles the radius: bins merge two by
two about zero, which is exact. So the statistics depend on the values and not on their order, nor on how they are cut
into batches.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ...runtime.errors import EdgesmithError

BINS = 512
SMALLEST = 2.0**-60  # radius of a channel that is zero, or as good as zero, everywhere
LARGEST = 2.0**126  # beyond it lies no power of two that float32 holds
COUNTERS = 1 << 16  # counters filled at a time, 512 KiB of int64: they stay in the cache of one core
FIELDS = ("low", "high", "radius", "counts", "zeros")


@dataclass(frozen=True, eq=False)
class TensorStats:
    """What calibration knows of one tensor with C channels."""

    low: np.ndarray  # (C,) float32, smallest value
    high: np.ndarray  # (C,) float32, largest value
    radius: np.ndarray  # (C,) float32, half width of the histogram, above the largest |x|
    counts: np.ndarray  # (C, BINS) uint32 (uint64 past four billion), bins from -radius to radius, zeros included
    zeros: np.ndarray  # (C,) uint64, values that are exactly 0; they are also counted in bin BINS // 2
    images: int  # images seen

    @property
    def channels(self) -> int:
        return len(self.low)

    @property
    def absmax(self) -> np.ndarray:
        """(C,) float32, largest |x| of each channel."""
        return np.maximum(np.abs(self.low), np.abs(self.high))

    @property
    def tensor_low(self) -> float:
        """Smallest value of the whole tensor."""
        return float(self.low.min())

    @property
    def tensor_high(self) -> float:
        """Largest value of the whole tensor."""
        return float(self.high.max())

    @property
    def total(self) -> int:
        """Values counted in each channel."""
        return int(self.counts[0].sum(dtype=np.uint64))

    def edges(self) -> np.ndarray:
        """(C, BINS + 1) float64, the borders of the bins; the middle one is 0."""
        return self.radius.astype(np.float64)[:, None] * np.linspace(-1.0, 1.0, BINS + 1)

    def centres(self) -> np.ndarray:
        """(C, BINS) float64, the middle of every bin."""
        edges = self.edges()
        return (edges[:, 1:] + edges[:, :-1]) / 2

    def widths(self) -> np.ndarray:
        """(C,) float64, the width of a channel's bins."""
        return self.radius.astype(np.float64) * (2 / BINS)

    def scaled(self, factors: np.ndarray) -> TensorStats:
        """The statistics of ``x * factors``, factors (C,) positive: the same counts over other ranges, nothing is lost."""
        factors = np.asarray(factors, dtype=np.float32)
        if factors.shape != self.low.shape or not (np.isfinite(factors).all() and (factors > 0).all()):
            raise ValueError(f"expected {self.channels} positive factors, found shape {factors.shape}")
        low, high, radius = (one * factors for one in (self.low, self.high, self.radius))
        return TensorStats(low, high, radius, self.counts, self.zeros, self.images)

    def merged(self) -> TensorStats:
        """The whole tensor as one channel; exact while radii differ by powers of two, else a bin goes where its middle is."""
        radius = self.radius.max()
        where = np.floor(self.centres() * (BINS / 2 / float(radius))).astype(np.int64) + BINS // 2
        counts = np.zeros(BINS, dtype=np.uint64)
        np.add.at(counts, where.ravel(), self.counts.ravel().astype(np.uint64))
        low, high = self.low.min(keepdims=True), self.high.max(keepdims=True)
        return TensorStats(low, high, np.array([radius]), counts[None], self.zeros.sum(keepdims=True), self.images)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Plain arrays for an npz file."""
        return {name: getattr(self, name) for name in FIELDS} | {"images": np.array(self.images)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> TensorStats:
        """The inverse of ``to_arrays``; ValueError or KeyError where the arrays are not of one tensor."""
        low, high, radius, counts, zeros = (arrays[name] for name in FIELDS)
        kinds = (low.dtype, high.dtype, radius.dtype, zeros.dtype) == (np.float32, np.float32, np.float32, np.uint64)
        shapes = counts.shape == (len(low), BINS) and low.shape == high.shape == radius.shape == zeros.shape
        if not (kinds and shapes and counts.dtype in (np.uint32, np.uint64)):
            raise ValueError("not the statistics of one tensor")
        return cls(low, high, radius, counts, zeros, int(arrays["images"]))


@dataclass(frozen=True, eq=False)
class Statistics:
    """What one pass over the calibration images left (collect.py)."""

    tensors: Mapping[str, TensorStats]
    images: int
    key: str  # hex SHA-256 of all that decides these numbers (cache.py)
    from_cache: bool = False  # True: no image was run
    seconds: float = 0.0
    notes: tuple[str, ...] = ()  # what happened to the cache


class Observer:
    """Streaming statistics of one tensor whose channels lie on ``axis``: 1 of (B, C, H, W), -1 of (..., C)."""

    def __init__(self, name: str, axis: int, so_far: TensorStats | None = None) -> None:
        self.name, self.axis = name, axis
        self._images = so_far.images if so_far else 0
        self._parts = None if so_far is None else [getattr(so_far, field).copy() for field in FIELDS]

    def add(self, array: np.ndarray, images: int) -> None:
        """Count a batch, float32 of rank 2 or more; EdgesmithError where a value is not finite."""
        self._images += images
        if array.size == 0:
            return
        lines = _lines(array, self.axis)  # (L, C, T): T values of a channel lie side by side, L times
        low, high = lines.min(axis=(0, 2)), lines.max(axis=(0, 2))
        absmax = np.maximum(np.abs(low), np.abs(high))
        if not (absmax < LARGEST).all():  # NaN compares as False
            self._refuse(absmax)
        power = np.ldexp(np.float32(1), np.frexp(absmax)[1])
        radius = np.where(absmax < SMALLEST, np.float32(SMALLEST), power)
        values = lines.shape[0] * lines.shape[2]
        if self._parts is None:
            blank = np.zeros((len(low), BINS), np.uint32)
            self._parts = [low, high, radius, blank, np.zeros(len(low), np.uint64)]
        self._widen(radius, values)
        mine = self._parts
        np.minimum(mine[0], low, out=mine[0])
        np.maximum(mine[1], high, out=mine[1])
        _count(lines, mine[2], mine[3], mine[4])

    def stats(self) -> TensorStats:
        """A copy of what was seen so far; EdgesmithError when nothing was."""
        if self._parts is None:
            raise EdgesmithError(f"tensor {self.name!r} had no values in {self._images} images", attempt="other images")
        low, high, radius, counts, zeros = (part.copy() for part in self._parts)
        return TensorStats(low, high, radius, counts, zeros, self._images)

    def arrays(self) -> dict[str, np.ndarray]:
        """What a cache file keeps: ``TensorStats.to_arrays`` so far."""
        return self.stats().to_arrays()

    def _widen(self, radius: np.ndarray, values: int) -> None:
        """Double the radius of the channels that need it, and the counters when 32 bits may not do."""
        assert self._parts is not None
        mine, counts = self._parts[2], self._parts[3]
        while (small := mine < radius).any():
            pairs = counts[small].reshape(-1, BINS // 2, 2).sum(axis=2, dtype=counts.dtype)
            counts[small] = np.pad(pairs, ((0, 0), (BINS // 4, BINS // 4)))
            mine[small] *= 2
        if counts.dtype == np.uint32 and int(counts[0].sum(dtype=np.uint64)) + values > np.iinfo(np.uint32).max:
            self._parts[3] = counts.astype(np.uint64)

    def _refuse(self, absmax: np.ndarray) -> None:
        channel = int(np.argmin(absmax < LARGEST))
        raise EdgesmithError(
            f"tensor {self.name!r} cannot be calibrated",
            found=f"{absmax[channel]} in channel {channel}",
            expected=f"finite values below {LARGEST:.1e}",
            because="a range that is not finite has no quantisation step",
            attempt="look at the weights and the preprocessing: the float32 graph itself overflows on these images",
        )


def _lines(array: np.ndarray, axis: int) -> np.ndarray:
    """The array as (L, C, T) without a copy."""
    axis %= array.ndim
    shape = array.shape
    return array.reshape(int(np.prod(shape[:axis])), shape[axis], int(np.prod(shape[axis + 1 :])))


def _count(lines: np.ndarray, radius: np.ndarray, counts: np.ndarray, zeros: np.ndarray) -> None:
    """Add the values (L, C, T) to ``counts`` (C, BINS) and ``zeros`` (C,), a block of channels at a time.

    x * (BINS / 2 / radius) is exact, a power of two, and so are its floor and the sum with a counter's number below
    2**24: every value lands in the one bin that holds it (below 1e-38 a negative one may count as zero).
    """
    step = COUNTERS // BINS
    number = (np.arange(step, dtype=np.float32) * BINS + BINS // 2)[:, None]
    for first in range(0, len(radius), step):
        block = lines[:, first : first + step]
        size = block.shape[1]
        bins = block * (np.float32(BINS / 2) / radius[first : first + size, None])
        np.floor(bins, out=bins)
        bins += number[:size]
        found = np.bincount(bins.astype(np.intp).ravel(), minlength=size * BINS)
        counts[first : first + size] += found.reshape(size, BINS).astype(counts.dtype)
        zeros[first : first + size] += (block == 0).sum(axis=(0, 2), dtype=np.uint64)
