"""Resizing a picture as Pillow does: the kernel widens with the shrink factor, so that nothing aliases.

Which resize a model was evaluated with decides its accuracy more than its precision does, and OpenCV has no antialiased
bicubic. This is the separable form: one small matrix per axis, applied to blocks of output rows, so that a row costs only
the input rows in the support of its kernel. Weights, rounding and the order of the two axes are Pillow's, to the bit.

Pillow multiplies in whole numbers, with weights of 22 bits. Each weight is taken apart into a high and a low part, whose sums
are whole numbers of at most 24 bits and so exact in float32, in whatever order they are added; in a few operations the two
become the rounded pixel. Shrunk so far that they would not fit, the sums are made in float64, which has room for all.

    image (H, W, C) uint8 -> window of the resized picture (h, w, C) uint8

Colours beside an alpha are multiplied by it before and divided by it after, as Pillow does: what is transparent has no colour.

The kernels: Keys, Cubic Convolution Interpolation for Digital Image Processing, 1981 (a = -0.5), and the triangle.
"""

from __future__ import annotations

import math
import threading
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np

WEIGHT_BITS = 22  # Pillow's fixed point for uint8
LOW_BITS = 8  # of a weight in its low part
EXACT = 2**24  # whole numbers up to here are float32
# Multiplications in one product of matrices. OpenBLAS shares out a larger one among threads of its own, which wait for each other:
# with other threads at work, as those of an engine, a picture then costs several times the processor time.
ALONE = 2**18
BAND_BYTES = 2**19  # input that is made floating point at once: it stays in the cache of a processor
KEPT_BYTES = 2**25  # a buffer that is larger is not kept


def _cubic(x: np.ndarray) -> np.ndarray:
    x = np.abs(x)
    near = (1.5 * x - 2.5) * x * x + 1.0
    far = ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


def _triangle(x: np.ndarray) -> np.ndarray:
    return np.maximum(1.0 - np.abs(x), 0.0)


KERNELS = {"bicubic": (_cubic, 2.0), "bilinear": (_triangle, 1.0)}  # name -> (weight, half width at full size)


class _Block(NamedTuple):
    """Neighbouring output positions, and what they read: the positions first..last (not included) of the input."""

    first: int
    last: int
    weights: (
        np.ndarray
    )  # float32 (2 * positions, inputs), the high parts before the low ones; or float64 (positions, inputs)


@lru_cache(maxsize=64)
def _blocks(source: int, target: int, method: str, start: int, stop: int, size: int) -> tuple[_Block, ...]:
    """The output positions start..stop of an axis, ``size`` in each block."""
    kernel, half_width = KERNELS[method]
    scale = source / target
    stretch = max(scale, 1.0)
    centres = (np.arange(start, stop) + 0.5) * scale
    first = np.maximum((centres - half_width * stretch + 0.5).astype(np.int64), 0)
    last = np.minimum((centres + half_width * stretch + 0.5).astype(np.int64), source)
    found = []
    for row in range(0, stop - start, size):
        rows = slice(row, min(row + size, stop - start))
        low, high = int(first[rows].min()), int(last[rows].max())
        inputs = np.arange(low, high)
        weights = kernel((inputs[None] - centres[rows, None] + 0.5) / stretch)
        weights[(inputs[None] < first[rows, None]) | (inputs[None] >= last[rows, None])] = 0.0
        weights /= weights.sum(axis=1, keepdims=True)
        found.append((low, high, np.rint(weights * 2**WEIGHT_BITS)))
    parts = [_parts(weights) for _, _, weights in found]
    apart = all(255 * np.abs(part).sum(axis=1).max() < EXACT for both in parts for part in both)
    return tuple(
        _Block(low, high, _in_float32(*both) if apart else weights / 2**WEIGHT_BITS)
        for (low, high, weights), both in zip(found, parts, strict=True)
    )


def _parts(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Whole numbers -> (high, low), where high * 2**LOW_BITS + low is what they were."""
    high = np.rint(weights / 2**LOW_BITS)
    return high, weights - high * 2**LOW_BITS


def _in_float32(high: np.ndarray, low: np.ndarray) -> np.ndarray:
    """One below the other: sums of the high ones are in levels, of the low ones in the smallest step of the high ones."""
    return np.concatenate([high / 2 ** (WEIGHT_BITS - LOW_BITS), low / 2**LOW_BITS]).astype(np.float32)


class _Kept(threading.local):
    """Memory that a thread uses again for its next picture, by what it is for."""

    def __init__(self) -> None:
        self.held: dict[tuple[str, type[np.generic]], np.ndarray] = {}
        self.last: list[np.ndarray] = []

    def array(self, use: str, shape: tuple[int, ...], dtype: type[np.generic] = np.uint8) -> np.ndarray:
        """Not initialised, and only until the same is asked for again."""
        size, flat = math.prod(shape), self.held.get((use, dtype))
        if flat is None or flat.size < size:
            flat = np.empty(size, dtype)
            if flat.nbytes <= KEPT_BYTES:
                self.held[use, dtype] = flat
        return flat[:size].reshape(shape)

    def planes(self, count: int, size: tuple[int, int]) -> list[np.ndarray]:
        """So many arrays uint8 (height, width), as ``array`` gives one."""
        if len(self.last) != count or self.last[0].shape != size:
            self.last = [np.empty(size, np.uint8) for _ in range(count)]
        return self.last


KEPT = _Kept()


class _Axis:
    """One axis on its way from ``source`` to ``target`` positions, of which only start..stop are wanted."""

    def __init__(self, source: int, target: int, method: str, start: int, stop: int) -> None:
        self.way, self.wanted = (source, target, method, start, stop), stop - start
        self.shrink = source - target
        self.support = (start, stop)  # the input positions that the wanted ones read
        if self.shrink:
            blocks = _blocks(*self.way, 4)
            self.support = (min(block.first for block in blocks), max(block.last for block in blocks))

    def resize(self, part: np.ndarray, use: str | None = None) -> np.ndarray:
        """(positions in the support, W, C) uint8, contiguous -> (wanted positions, W, C) uint8, in memory kept for ``use``."""
        if not self.shrink:
            return part
        shape = (self.wanted, *part.shape[1:])
        out = np.empty(shape, np.uint8) if use is None else KEPT.array(use, shape)
        row_size = part.shape[1] * part.shape[2]
        source, target = part.reshape(len(part), row_size), out.reshape(self.wanted, row_size)
        step, bands = _bands(*self.way, row_size)
        for left in range(0, row_size, step):
            columns = slice(left, min(left + step, row_size))
            _resize_rows(source[:, columns], target[:, columns], bands, self.support[0])
        return out


@lru_cache(maxsize=64)
def _bands(
    source: int, target: int, method: str, start: int, stop: int, row_size: int
) -> tuple[int, tuple[tuple[_Block, ...], ...]]:
    """How many numbers of a row of the input are worked on at once, and the blocks whose inputs are made floating point at once."""
    blocks = _blocks(source, target, method, start, stop, 4)
    if _work(blocks) * row_size > ALONE:  # smaller blocks multiply fewer zeros, and their products are wider
        blocks = _blocks(source, target, method, start, stop, 2)
    step = min(max(ALONE // _work(blocks), 1), row_size)
    most = BAND_BYTES // (step * blocks[0].weights.itemsize)
    bands: list[list[_Block]] = []
    for block in blocks:
        if bands and block.last - bands[-1][0].first <= most:
            bands[-1].append(block)
        else:
            bands.append([block])
    return step, tuple(map(tuple, bands))


def _work(blocks: tuple[_Block, ...]) -> int:
    """Multiplications for one column in the largest of the products."""
    return max(block.weights.size for block in blocks)


def _resize_rows(source: np.ndarray, out: np.ndarray, bands: tuple[tuple[_Block, ...], ...], offset: int) -> None:
    """(inputs, n) -> (outputs, n), both uint8; ``offset``: of which position the first input is."""
    width, dtype = source.shape[1], bands[0][0].weights.dtype.type
    inputs = max(band[-1].last - band[0].first for band in bands)
    values = KEPT.array("values", (inputs, width), dtype)
    sums = KEPT.array("sums", (len(bands[0][0].weights), width), dtype)  # the first block has as many outputs as any
    row = 0
    for band in bands:
        first, last = band[0].first, band[-1].last
        values[: last - first] = source[first - offset : last - offset]
        for block in band:
            count = len(block.weights)
            np.matmul(block.weights, values[block.first - first : block.last - first], out=sums[:count])
            row += _round(sums[:count], out[row:])


def _round(sums: np.ndarray, out: np.ndarray) -> int:
    """Sums -> levels from 0 to 255, halves up; how many rows of ``out`` were written."""
    if sums.dtype == np.float64:
        sums += 0.5  # the cast below truncates
        np.clip(sums, 0.0, 255.0, out=sums)
        out[: len(sums)] = sums
        return len(sums)
    rows, bits = len(sums) // 2, WEIGHT_BITS - LOW_BITS
    high, low = sums[:rows], sums[rows:]
    np.floor(low, out=low)  # what is below the smallest step of the high ones decides nothing any more
    # half a step more and no sum lies between two levels: however halves are rounded, they go up. All of it is exact
    cv2.addWeighted(high, 1.0, low, 2.0**-bits, 2.0 ** (-bits - 1), dst=out[:rows], dtype=cv2.CV_8U)
    return rows


def resize_window(
    image: np.ndarray, size: tuple[int, int], method: str, antialias: bool, window: tuple[int, int, int, int]
) -> np.ndarray:
    """Resize to ``size`` (height, width) and return the part ``window`` (top, left, bottom, right) of the result.

    Only the pixels that the window needs are computed. Without ``antialias`` this is OpenCV's plain resize: that of torch
    with ``antialias=False`` on floating-point pictures, within a level; torch's own kernel for bytes is another. Every
    channel is then resized for itself, alpha too.
    """
    top, left, bottom, right = window
    height, width, channels = image.shape
    if not antialias:
        if (height, width) != size:
            flag = cv2.INTER_CUBIC if method == "bicubic" else cv2.INTER_LINEAR
            image = cv2.resize(image, (size[1], size[0]), interpolation=flag).reshape(*size, channels)
        return image[top:bottom, left:right]
    if channels == 4 and (height, width) != size and image[:, :, 3].min() < 255:
        return _without_alpha(_resized(_with_alpha(image), size, method, window))
    return _resized(image, size, method, window)


def _resized(image: np.ndarray, size: tuple[int, int], method: str, window: tuple[int, int, int, int]) -> np.ndarray:
    top, left, bottom, right = window
    height, width = image.shape[:2]
    rows = _Axis(height, size[0], method, top, bottom)
    columns = _Axis(width, size[1], method, left, right)
    part = image[slice(*rows.support), slice(*columns.support)]
    if not (rows.shrink or columns.shrink):
        return part
    if rows.shrink > max(2 * columns.shrink, 0):  # the order of Pillow 13, found by trial; older ones: columns first
        part = rows.resize(np.ascontiguousarray(part), "rows")
        return _turned(columns.resize(_turned(part, "turned"), "columns"))
    part = _turned(columns.resize(_turned(part, "turned"), "columns"), "back" if rows.shrink else None)
    return rows.resize(part)


def _turned(part: np.ndarray, use: str | None = None) -> np.ndarray:
    """(H, W, C) -> (W, H, C), contiguous, in memory that is kept for ``use``; OpenCV drops the axis of a single channel."""
    shape = (part.shape[1], part.shape[0], part.shape[2])
    return cv2.transpose(part, dst=None if use is None else KEPT.array(use, shape)).reshape(shape)


def _with_alpha(image: np.ndarray) -> np.ndarray:
    """(H, W, 4) -> the colours times alpha / 255, rounded in whole numbers as Pillow's RGBa."""
    products = image[:, :, :3].astype(np.uint32) * image[:, :, 3:] + 128
    return np.dstack([(((products >> 8) + products) >> 8).astype(np.uint8), image[:, :, 3]])


def _without_alpha(image: np.ndarray) -> np.ndarray:
    """The way back: 255 / alpha times, rounded down; where alpha is 0 or 255 the colours are left as they are."""
    alpha = image[:, :, 3:].astype(np.uint32)
    back = np.minimum(255 * image[:, :, :3].astype(np.uint32) // np.maximum(alpha, 1), 255).astype(np.uint8)
    return np.dstack([np.where((alpha == 0) | (alpha == 255), image[:, :, :3], back), image[:, :, 3]])
