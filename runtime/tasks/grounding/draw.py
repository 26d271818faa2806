"""Clicks -> a copy of the screenshot with the score map, the elements and the points drawn on it.

    picture uint8 (H, W, 3) RGB + Clicks  ->  uint8 (H, W, 3) RGB

The map shows what the network looked at: patches brighten with their score. Of several instructions each patch shows the one that
wants it most. A click has the colour and the number of its instruction.
"""

from __future__ import annotations

import cv2
import numpy as np

from ..detection.draw import BLACK, WHITE, Colour, Pen, canvas_of, class_colour, label_places, readable
from .answer import Click, Clicks

LARGEST = (
    1080,
    1920,
)  # (height, width): letters and rings grow no further; the things on a larger screen do not either
VEIL = 0.45  # how much of the picture the map hides where the score is largest


def draw(image: np.ndarray, clicks: Clicks) -> np.ndarray:
    """The overlay; UserMistake for another picture."""
    canvas = canvas_of(image, clicks.image_size, "these clicks are")
    height, width = canvas.shape[:2]
    strongest = np.zeros((height, width), np.float32)
    tint = np.zeros((height, width, 3), np.uint8)
    for number, click in enumerate(clicks):
        heat = heat_map(click)
        more = heat > strongest
        strongest[more], tint[more] = heat[more], class_colour(number)
    veil = (VEIL * strongest)[..., None]
    canvas = np.rint(canvas * (1 - veil) + tint * veil).astype(np.uint8)
    pen = Pen.of(min(height, LARGEST[0]), min(width, LARGEST[1]))
    for number, click in enumerate(clicks):
        left, top, right, bottom = click.box
        corner = max(right - 1, left), max(bottom - 1, top)
        cv2.rectangle(canvas, (left, top), corner, class_colour(number), pen.line_px)
    texts = [_text(click, number, pen, width, len(clicks) > 1) for number, click in enumerate(clicks)]
    boxes = np.array([click.box for click in clicks], np.float32).reshape(-1, 4)
    for number, (field, text) in enumerate(
        zip(label_places(boxes, texts, pen, height, width).tolist(), texts, strict=True)
    ):
        if text and pen.field_px <= height:
            pen.write(canvas, text, field[0], field[1], class_colour(number))
    for number, click in enumerate(clicks):  # last: no name lies over a point
        _ring(canvas, click.pixels, class_colour(number), pen)
    return canvas


def heat_map(click: Click) -> np.ndarray:
    """(H, W) float32, 0 to 1: the scores as shares of the largest, over the part of the picture that they cover."""
    left, top, right, bottom = click.seen
    shares = np.asarray(click.scores, np.float32) / click.scores.max()
    heat = np.zeros(click.image_size, np.float32)
    heat[top:bottom, left:right] = cv2.resize(shares, (right - left, bottom - top), interpolation=cv2.INTER_NEAREST)
    return heat


def _text(click: Click, number: int, pen: Pen, width: int, numbered: bool) -> str:
    """The instruction as it stands beside its element, shortened to the picture; several have a number each."""
    name = readable(click.instruction, number)
    return pen.fitting((f"{number + 1} {name}" if numbered else name,), width - 2 * pen.margin_px)


def _ring(canvas: np.ndarray, at: tuple[int, int], colour: Colour, pen: Pen) -> None:
    """A ring with a cross in it around the point."""
    radius = 4 * pen.line_px + 2
    for shade, more in ((BLACK, 2), (WHITE, 1), (colour, 0)):  # seen on any ground
        cv2.circle(canvas, at, radius, shade, pen.line_px + more, cv2.LINE_AA)
    cv2.drawMarker(canvas, at, BLACK, cv2.MARKER_CROSS, radius, pen.line_px + 2)
    cv2.drawMarker(canvas, at, colour, cv2.MARKER_CROSS, radius, pen.line_px)
