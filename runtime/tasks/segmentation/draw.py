"""Segments -> a copy of the picture with the colour of its class over each pixel, and the largest classes in a corner.

Colours and letters are those of the boxes of detectors, so a class looks the same in both.
"""

from __future__ import annotations

import numpy as np

from ..detection.draw import Pen, canvas_of, class_colour, readable
from .places import unseen
from .segments import Segments

OPACITY = 0.55  # of the colours; the picture stays to be seen
NAMED, LEAST_SHARE = 8, 0.005  # classes in the corner: so many at most, of so much of the picture at least


def draw(image: np.ndarray, segments: Segments) -> np.ndarray:
    """(H, W, 3) uint8 RGB; where the network saw nothing, the picture as it is. UserMistake for another picture."""
    canvas = canvas_of(image, segments.image_size, "this mask is")
    height, width = canvas.shape[:2]
    paint(canvas, segments)
    pen, top = Pen.of(height, width), 0
    for one in segments.shares[:NAMED]:
        text = pen.fitting((f"{readable(one.label, one.index)} {one.share:.0%}",), width - 2 * pen.margin_px)
        if one.share < LEAST_SHARE or not text or top + pen.field_px > height:
            break
        pen.write(canvas, text, 0, top, class_colour(one.index))
        top += pen.field_px
    return canvas


def paint(canvas: np.ndarray, segments: Segments) -> None:
    """The colours over ``canvas`` (H, W, 3) uint8 RGB, in place."""
    found = np.unique(segments.classes)
    mixed = np.zeros((int(found.max()) + 1, 3), np.float32)  # what a class adds to a pixel
    for index in found.tolist():
        mixed[index] = np.array(class_colour(index), np.float32) * OPACITY
    for start in range(0, len(canvas), 256):  # in strips: no copy of the picture in floats
        strip, marks = canvas[start : start + 256], segments.classes[start : start + 256]
        over = strip * np.float32(1 - OPACITY) + mixed[marks]
        over += 0.5
        np.copyto(strip, over.astype(np.uint8), where=(marks != unseen(marks))[..., None])
