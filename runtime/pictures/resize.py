"""Resizing a picture as Pillow does: the kernel widens with the shrink factor, so that nothing aliases.

Which resize a model was evaluated with decides its accuracy more than its precision does, and OpenCV has no antialiased
bicubic. This is the separable form: one small matrix per axis, applied to blocks of output rows, so that a row costs only
the input rows in the support of its kernel. Weights, rounding and the order of the two axes are Pillow's, to the bit.

    image (H, W, C) uint8 -> window of the resized picture (h, w, C) uint8

Colours beside an alpha are multiplied by it before and divided by it after, as Pillow does: what is transparent has no colour.

The kernels: Keys, Cubic Convolution Interpolation for Digital Image Processing, 1981 (a = -0.5), and the triangle.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

BLOCK_ROWS = 8  # output rows a matrix product: wide enough for BLAS, narrow enough not to multiply many zeros
WEIGHT_BITS = 22  # Pillow's fixed point for uint8; in float64 the sums are exact, so ties round the same way


def _cubic(x: np.ndarray) -> np.ndarray:
    x = np.abs(x)
    near = (1.5 * x - 2.5) * x * x + 1.0
    far = ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


def _triangle(x: np.ndarray) -> np.ndarray:
    return np.maximum(1.0 - np.abs(x), 0.0)


KERNELS = {"bicubic": (_cubic, 2.0), "bilinear": (_triangle, 1.0)}  # name -> (weight, half width at full size)


@lru_cache(maxsize=64)
def _blocks(source: int, target: int, method: str, start: int, stop: int) -> tuple[tuple[int, int, np.ndarray], ...]:
    """Weights for the output positions start..stop of an axis: (first input, last input, (rows, inputs) float64)."""
    kernel, half_width = KERNELS[method]
    scale = source / target
    stretch = max(scale, 1.0)
    centres = (np.arange(start, stop) + 0.5) * scale
    first = np.maximum((centres - half_width * stretch + 0.5).astype(np.int64), 0)
    last = np.minimum((centres + half_width * stretch + 0.5).astype(np.int64), source)
    blocks = []
    for row in range(0, stop - start, BLOCK_ROWS):
        rows = slice(row, min(row + BLOCK_ROWS, stop - start))
        low, high = int(first[rows].min()), int(last[rows].max())
        inputs = np.arange(low, high)
        weights = kernel((inputs[None] - centres[rows, None] + 0.5) / stretch)
        weights[(inputs[None] < first[rows, None]) | (inputs[None] >= last[rows, None])] = 0.0
        weights /= weights.sum(axis=1, keepdims=True)
        blocks.append((low, high, np.rint(weights * 2**WEIGHT_BITS) / 2**WEIGHT_BITS))
    return tuple(blocks)


class _Axis:
    """One axis on its way from ``source`` to ``target`` positions, of which only start..stop are wanted."""

    def __init__(self, source: int, target: int, method: str, start: int, stop: int) -> None:
        self.shrink = source - target
        self.wanted = stop - start
        self.support = (start, stop)  # the input positions that the wanted ones read
        self.blocks: tuple[tuple[int, int, np.ndarray], ...] = ()
        if self.shrink:
            self.blocks = _blocks(source, target, method, start, stop)
            self.support = (min(low for low, _, _ in self.blocks), max(high for _, high, _ in self.blocks))

    def resize(self, part: np.ndarray) -> np.ndarray:
        """(positions in the support, W, C) uint8 -> (wanted positions, W, C) uint8."""
        part = np.ascontiguousarray(part)
        if not self.shrink:
            return part
        positions, width, channels = part.shape
        flat = part.reshape(positions, width * channels)
        out = np.empty((self.wanted, width * channels), np.uint8)
        row, offset = 0, self.support[0]
        for low, high, weights in self.blocks:
            values = weights @ flat[low - offset : high - offset].astype(np.float64)
            values += 0.5  # the cast below truncates, so this rounds half up
            np.clip(values, 0.0, 255.0, out=values)
            out[row : row + len(weights)] = values
            row += len(weights)
        return out.reshape(self.wanted, width, channels)


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
    if rows.shrink > max(2 * columns.shrink, 0):  # the order of Pillow 13, found by trial; older ones: columns first
        return _turned(columns.resize(_turned(rows.resize(part))))
    return rows.resize(_turned(columns.resize(_turned(np.ascontiguousarray(part)))))


def _turned(part: np.ndarray) -> np.ndarray:
    """(H, W, C) -> (W, H, C); OpenCV drops the axis of a single channel."""
    return cv2.transpose(part).reshape(part.shape[1], part.shape[0], part.shape[2])


def _with_alpha(image: np.ndarray) -> np.ndarray:
    """(H, W, 4) -> the colours times alpha / 255, rounded in whole numbers as Pillow's RGBa."""
    products = image[:, :, :3].astype(np.uint32) * image[:, :, 3:] + 128
    return np.dstack([(((products >> 8) + products) >> 8).astype(np.uint8), image[:, :, 3]])


def _without_alpha(image: np.ndarray) -> np.ndarray:
    """The way back: 255 / alpha times, rounded down; where alpha is 0 or 255 the colours are left as they are."""
    alpha = image[:, :, 3:].astype(np.uint32)
    back = np.minimum(255 * image[:, :, :3].astype(np.uint32) // np.maximum(alpha, 1), 255).astype(np.uint8)
    return np.dstack([np.where((alpha == 0) | (alpha == 255), image[:, :, :3], back), image[:, :, 3]])
