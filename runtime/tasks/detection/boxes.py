"""Boxes: their type, the way from the network's input to the picture, and how much two of them overlap.

    boxes (..., 4) x1 y1 x2 y2 in pixels of the network's input  ->  of the picture

A coordinate is an edge between pixels, not the middle of one: a box over the whole picture is (0, 0, width, height), and
an area is (x2 - x1) (y2 - y1) without adding 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ...pictures.placement import placement

if TYPE_CHECKING:
    from ...pictures.preprocess import ImageContract


class Kept(NamedTuple):
    """The detections of one picture, best first."""

    boxes: np.ndarray  # (n, 4) float32 x1 y1 x2 y2
    scores: np.ndarray  # (n,) float32
    classes: np.ndarray  # (n,) int64, from 0


def to_image(boxes: np.ndarray, image_size: tuple[int, int], contract: ImageContract) -> np.ndarray:
    """Boxes of the network's input -> of a picture of ``image_size`` (height, width); same type, not clipped."""
    place = placement(image_size, contract)
    gain = [
        place.resized[1] / image_size[1],
        place.resized[0] / image_size[0],
    ]  # of x, y: network = picture * gain + offset
    offset = np.array([place.offset[1], place.offset[0]] * 2, np.float64)
    placed = (boxes - offset) / np.array(gain * 2)
    with np.errstate(over="ignore"):  # beyond every picture is infinity as well
        return placed.astype(boxes.dtype)


def clip(boxes: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
    """The part of each box inside a picture of ``image_size`` (height, width)."""
    height, width = image_size
    return np.clip(boxes, 0, np.array([width, height, width, height], boxes.dtype))


def overlaps(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(n, 4), (m, 4) -> (n, m) intersection over union; 1 for equal boxes, also where they have no area."""
    a, b = boxes[:, None].astype(np.float64), others[None].astype(np.float64)
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    common = np.maximum(sides, 0).prod(axis=-1)
    union = (a[..., 2:] - a[..., :2]).prod(axis=-1) + (b[..., 2:] - b[..., :2]).prod(axis=-1) - common
    return np.where(union > 0, common / np.where(union > 0, union, 1), (a == b).all(axis=-1))
