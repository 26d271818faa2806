"""Boxes of a picture as the network sees them: what a perfect detector would answer."""

from __future__ import annotations

import numpy as np

from edgesmith.runtime.pictures.placement import placement
from edgesmith.runtime.pictures.preprocess import ImageContract


def to_network(boxes: np.ndarray, image_size: tuple[int, int], contract: ImageContract) -> np.ndarray:
    """Boxes of a picture of ``image_size`` (height, width) -> of the network's input; same type, not clipped."""
    place = placement(image_size, contract)
    gain = np.array([place.resized[1] / image_size[1], place.resized[0] / image_size[0]] * 2)
    return (boxes * gain + np.array([place.offset[1], place.offset[0]] * 2, np.float64)).astype(boxes.dtype)
