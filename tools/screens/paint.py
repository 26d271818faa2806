"""The strokes of a synthetic screen: rounded boxes, words in OpenCV's fonts, shapes, the cross that closes a window.

picture uint8 (H, W, 3) RGB, changed in place; places in whole pixels, colours as (r, g, b)
"""

from __future__ import annotations

import cv2
import numpy as np

from edgesmith.models.fixtures.shapes import SHIFT, fixed_point, placed

Colour = tuple[int, int, int]
Box = tuple[int, int, int, int]  # x1, y1, x2, y2; the last column and row are x2 - 1, y2 - 1
FONTS = (cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX)


def rounded(picture: np.ndarray, box: Box, radius: int, fill: Colour, border: Colour | None = None) -> None:
    """A filled box with round corners, and a line of one pixel around it where ``border`` is given."""
    x1, y1, x2, y2 = box[0], box[1], box[2] - 1, box[3] - 1
    for inset, colour in ((0, border), (1, fill)) if border else ((0, fill),):
        a, b, c, d, r = x1 + inset, y1 + inset, x2 - inset, y2 - inset, max(radius - inset, 0)
        cv2.rectangle(picture, (a + r, b), (c - r, d), colour, cv2.FILLED)
        cv2.rectangle(picture, (a, b + r), (c, d - r), colour, cv2.FILLED)
        for x in (a + r, c - r):
            for y in (b + r, d - r):
                cv2.circle(picture, (x, y), r, colour, cv2.FILLED, cv2.LINE_AA)


def word_size(word: str, scale: float, font: int = FONTS[0], thick: int = 1) -> tuple[int, int]:
    """Width and height in pixels of ``word`` without what hangs below the line."""
    (width, height), _ = cv2.getTextSize(word, font, scale, thick)
    return width, height


def write(
    picture: np.ndarray,
    word: str,
    left: int,
    middle: int,
    scale: float,
    colour: Colour,
    font: int = FONTS[0],
    thick: int = 1,
) -> None:
    """``word`` from ``left`` on, half of its capitals above ``middle``."""
    _, height = word_size(word, scale, font, thick)
    cv2.putText(picture, word, (left, middle + height // 2), font, scale, colour, thick, cv2.LINE_AA)


def shape(picture: np.ndarray, outline: str, centre: tuple[int, int], radius: float, colour: Colour) -> None:
    """One of the outlines of models/fixtures/shapes.py, filled."""
    contours = placed(outline, (float(centre[0]), float(centre[1])), (radius, radius), 0.0)
    cv2.fillPoly(picture, fixed_point(contours), colour, cv2.LINE_AA, SHIFT)


def cross(picture: np.ndarray, centre: tuple[int, int], radius: int, colour: Colour) -> None:
    """The two strokes that close a window."""
    x, y = centre
    cv2.line(picture, (x - radius, y - radius), (x + radius, y + radius), colour, 2, cv2.LINE_AA)
    cv2.line(picture, (x - radius, y + radius), (x + radius, y - radius), colour, 2, cv2.LINE_AA)


def light(colour: Colour) -> bool:
    """Whether dark writing is read better on it (luminance of BT.601)."""
    return 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2] > 150
