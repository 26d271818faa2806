"""A screenshot -> the pixels that the vision tower sees, as the authors prepare them.

    (h, w) -> resized -> (H, W), multiples of 28
    RGB uint8 (h, w, 3) -> prepared -> float32 (3, H, W) -> patch_rows -> (H/14 W/14, 3*2*14*14)

Qwen2.5-VL, Bai et al., 2025, arXiv:2502.13923; the rule of sizes and the two steps as GUI-AIMA's evaluation applies them:
first the rule of the base model's tools, then that of its processor with a lower upper bound.
"""

from __future__ import annotations

import math

import numpy as np

from ....runtime.errors import UserMistake
from .shape import FRAMES, MEAN, MERGE, MULTIPLE, PATCH, STD

MIN_PIXELS, MAX_PIXELS, SECOND_MAX_PIXELS = 3_136, 12_845_056, 5_760_000
LONGEST = 200  # times as long as wide a picture may be


def resized(
    height: int, width: int, max_pixels: int = SECOND_MAX_PIXELS, min_pixels: int = MIN_PIXELS
) -> tuple[int, int]:
    """(height, width), both multiples of 28, near the picture's own shape, within the bounds of pixels.

    Each side goes to the nearest multiple, an exact half to the even one. Raises UserMistake where the picture is more than
    200 times as long as wide.
    """
    if max(height, width) > LONGEST * min(height, width):
        raise UserMistake(
            "This picture is too long for its width",
            found=f"{width}x{height} pixels",
            expected=f"one side at most {LONGEST} times the other",
            because="the rule of sizes of Qwen2.5-VL is not defined there",
            attempt="a part of it",
        )
    down, across = (max(MULTIPLE, round(side / MULTIPLE) * MULTIPLE) for side in (height, width))
    if down * across > max_pixels:
        shrink = math.sqrt(height * width / max_pixels)
        down, across = (max(MULTIPLE, math.floor(s / shrink / MULTIPLE) * MULTIPLE) for s in (height, width))
    elif down * across < min_pixels:
        grow = math.sqrt(min_pixels / (height * width))
        down, across = (math.ceil(side * grow / MULTIPLE) * MULTIPLE for side in (height, width))
    return down, across


def sizes(height: int, width: int) -> list[tuple[int, int]]:
    """The sizes that a picture is brought to one after the other: one, or two where the second bound is below the first."""
    first = resized(height, width, MAX_PIXELS)
    second = resized(*first, SECOND_MAX_PIXELS)
    return [first] if second == first else [first, second]


def grid_of(size: tuple[int, int]) -> tuple[int, int]:
    """(rows, columns) of visual tokens of a prepared picture."""
    return size[0] // MULTIPLE, size[1] // MULTIPLE


def prepared(picture: np.ndarray) -> np.ndarray:
    """RGB uint8 (h, w, 3) -> float32 (3, H, W): bicubic with Pillow, then CLIP's mean and std."""
    from PIL import Image

    image = Image.fromarray(picture)
    for height, width in sizes(picture.shape[0], picture.shape[1]):
        if image.size != (width, height):
            image = image.resize((width, height), Image.Resampling.BICUBIC)
    return normalised(np.asarray(image))


def normalised(picture: np.ndarray) -> np.ndarray:
    """RGB uint8 (H, W, 3) -> float32 (3, H, W)."""
    scaled = picture.astype(np.float32) * np.float32(1 / 255)
    mean, std = np.array(MEAN, np.float32), np.array(STD, np.float32)
    return ((scaled - mean) / std).transpose(2, 0, 1)


def patch_rows(pixels: np.ndarray) -> np.ndarray:
    """(3, H, W) -> (H/14 W/14, 1176): one row a patch, in the order of 2x2 blocks; a still picture is two equal frames."""
    channels, height, width = pixels.shape
    rows, columns = height // MULTIPLE, width // MULTIPLE
    blocks = pixels.reshape(channels, rows, MERGE, PATCH, columns, MERGE, PATCH)
    blocks = blocks.transpose(1, 4, 2, 5, 0, 3, 6)  # (rows, columns, 2, 2, 3, 14, 14)
    frames = np.repeat(blocks[:, :, :, :, :, None], FRAMES, axis=5)  # (rows, columns, 2, 2, 3, 2, 14, 14)
    return np.ascontiguousarray(frames.reshape(rows * columns * MERGE**2, -1))
