"""What the authors do to a picture before DAMO-YOLO sees it, and what happens to the boxes afterwards.

    uint8 (H, W, 3) RGB  ->  float32 (3, h, w), 0..255: resized bilinearly to uint8, no mean, no std
    boxes (N, 4) in pixels of the network's input  ->  boxes (N, 4) in pixels of the picture

All released models stretch. ``keep_ratio`` fits the picture into the top-left corner and fills with zeros; the authors'
way back divides by the padded size even then, which is wrong; ours divides by the part that the picture covers.
"""

from __future__ import annotations

import numpy as np

from ..runtime.preprocess import ImageContract, fit_image


def contract(size: tuple[int, int]) -> ImageContract:
    """What a released model does to its pictures, as a bundle's input contract says it: stretched, 0..255."""
    return ImageContract(
        size=size,
        resize="bilinear",
        antialias=False,
        crop_fraction=1.0,
        fit="stretch",
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        colour="RGB",
        scale=1.0,
    )


def covered(image_size: tuple[int, int], size: tuple[int, int], keep_ratio: bool) -> tuple[int, int]:
    """(height, width) that a picture of ``image_size`` takes of the network's input, rounded down as the authors do."""
    if not keep_ratio:
        return size
    height, width = image_size
    if size[0] * width <= size[1] * height:  # the height is what fills up first
        return size[0], max(width * size[0] // height, 1)
    return max(height * size[1] // width, 1), size[1]


def to_network(image: np.ndarray, size: tuple[int, int], keep_ratio: bool = False) -> np.ndarray:
    """uint8 (H, W, 3) RGB -> float32 (3, height, width), integers 0..255."""
    height, width = covered(image.shape[:2], size, keep_ratio)
    canvas = np.zeros((*size, 3), np.uint8)
    canvas[:height, :width] = fit_image(image, contract((height, width)))
    return canvas.transpose(2, 0, 1).astype(np.float32)


def to_image(
    boxes: np.ndarray, image_size: tuple[int, int], size: tuple[int, int], keep_ratio: bool = False
) -> np.ndarray:
    """Boxes (..., 4) x1 y1 x2 y2 of the network's input -> of the picture, in the same type, not clipped."""
    height, width = covered(image_size, size, keep_ratio)
    gain = np.array([image_size[1] / width, image_size[0] / height] * 2)  # x, y, x, y
    return (boxes * gain).astype(boxes.dtype)
