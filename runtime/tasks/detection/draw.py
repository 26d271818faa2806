"""Detections, or the best class -> a copy of the picture with them drawn on it.

    picture uint8 (H, W, 3) RGB + Detections     --draw-->        uint8 (H, W, 3) RGB
    picture uint8 (H, W, 3) RGB + a short text   --draw_text-->   the same, with the text in its upper left corner

Lines and letters grow with the picture, down to the smallest that can be read. Text stands on a field of the colour of its
class, black or white, whichever is further from it. Labels move to where they hide no other label, and a label that is
wider than the picture is shortened.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import cv2
import numpy as np

from ...errors import UserMistake
from ...pictures.preprocess import as_rgb

if TYPE_CHECKING:
    from .detection import Detections

Colour = tuple[int, int, int]
FONT = cv2.FONT_HERSHEY_SIMPLEX
FONT_HEIGHT_PX = 22.0  # of its capitals at scale 1
LEAST_LETTER_PX = 8
COLOURS = 128  # then they repeat
BLACK, WHITE = (0, 0, 0), (255, 255, 255)


def canvas_of(image: np.ndarray, image_size: tuple[int, int], what: str) -> np.ndarray:
    """A copy of ``image``, uint8 RGB, to draw on; UserMistake where ``what`` ("these clicks are") is of a picture of another size."""
    canvas = as_rgb(image).copy()
    height, width = canvas.shape[:2]
    if image_size != (height, width):
        raise UserMistake(
            f"{what} not of this picture",
            found=f"a picture of {width} x {height} pixels",
            expected=f"{image_size[1]} x {image_size[0]}",
        )
    return canvas


def draw(image: np.ndarray, detections: Detections, score: float | None = None) -> np.ndarray:
    """Boxes and labels on a copy of ``image``; with ``score`` only those above it. Raises UserMistake for another picture."""
    canvas = canvas_of(image, detections.image_size, "these detections are")
    height, width = canvas.shape[:2]
    chosen = detections if score is None else detections.above(score)
    usable = np.isfinite(chosen.boxes).all(axis=1)
    corners, classes, scores = chosen.boxes[usable], chosen.classes[usable].tolist(), chosen.scores[usable].tolist()
    pen = Pen.of(height, width)
    for box, index in zip(corners[::-1], reversed(classes), strict=True):  # the best last, on top
        _rectangle(canvas, box, class_colour(index), pen.line_px)
    names = [readable(chosen.labels[index], index) for index in classes]
    texts = [
        pen.fitting((f"{name} {value:.2f}", name), width - 2 * pen.margin_px)
        for name, value in zip(names, scores, strict=True)
    ]
    fields = label_places(corners, texts, pen, height, width)
    for field, text, index in reversed(list(zip(fields.tolist(), texts, classes, strict=True))):
        if text and pen.field_px <= height:
            pen.write(canvas, text, field[0], field[1], class_colour(index))
    return canvas


def draw_text(image: np.ndarray, text: str, colour: Colour = BLACK) -> np.ndarray:
    """``text`` on a field of ``colour`` in the upper left corner of a copy of ``image``."""
    canvas = as_rgb(image).copy()
    height, width = canvas.shape[:2]
    pen = Pen.of(height, width)
    if (fitted := pen.fitting((text,), width - 2 * pen.margin_px)) and pen.field_px <= height:
        pen.write(canvas, fitted, 0, 0, colour)
    return canvas


@dataclass(frozen=True)
class Pen:
    """Sizes for one picture."""

    line_px: int
    scale: float  # of the font
    stroke_px: int
    margin_px: int
    rise_px: int  # what letters need above their line, and below it
    drop_px: int

    @classmethod
    def of(cls, height: int, width: int) -> Pen:
        side = (height * width) ** 0.5
        scale = max(LEAST_LETTER_PX, 0.016 * side) / FONT_HEIGHT_PX
        stroke = max(1, round(1.7 * scale))
        (_, rise), drop = cv2.getTextSize("Ag", FONT, scale, stroke)
        return cls(max(1, round(side / 260)), scale, stroke, max(1, round(4 * scale)), rise, drop)

    @property
    def field_px(self) -> int:
        """Height of a label."""
        return self.rise_px + self.drop_px + self.margin_px

    def width_px(self, text: str) -> int:
        return int(cv2.getTextSize(text, FONT, self.scale, self.stroke_px)[0][0])

    def fitting(self, texts: tuple[str, ...], room_px: int) -> str:
        """The first of ``texts`` that fits, else the beginning of the last, else nothing."""
        for text in texts:
            if self.width_px(text) <= room_px:
                return text
        for length in range(len(texts[-1]) - 1, 1, -1):
            if self.width_px(texts[-1][:length] + ".") <= room_px:
                return texts[-1][:length] + "."
        return ""

    def write(self, canvas: np.ndarray, text: str, left: int, top: int, colour: Colour) -> None:
        right, bottom = left + self.width_px(text) + 2 * self.margin_px, top + self.field_px
        canvas[top:bottom, left:right] = colour
        at = (left + self.margin_px, top + self.rise_px + (self.margin_px + 1) // 2)
        cv2.putText(canvas, text, at, FONT, self.scale, text_colour(colour), self.stroke_px, cv2.LINE_AA)


def _rectangle(canvas: np.ndarray, box: np.ndarray, colour: Colour, line_px: int) -> None:
    """The outline of ``box``, whole even where the box ends at the border; a box without area is a dot."""
    height, width = canvas.shape[:2]
    room = line_px // 2
    last = np.array([width - 1, height - 1])
    near = np.clip(np.round(np.clip(box[:2], 0, last)).astype(int), np.minimum(room, last), np.maximum(last - room, 0))
    far = np.clip(np.round(np.clip(box[2:], 0, last + 1)).astype(int) - 1, near, np.maximum(last - room, near))
    ends = (int(near[0]), int(near[1])), (int(far[0]), int(far[1]))
    if line_px > 1:  # a dark seam, for boxes of the colour of what is behind them
        cv2.rectangle(canvas, *ends, BLACK, line_px + 2)
    cv2.rectangle(canvas, *ends, colour, line_px)


def label_places(boxes: np.ndarray, texts: list[str], pen: Pen, height: int, width: int) -> np.ndarray:
    """(n, 4) xyxy of the labels, inside the picture: over the box, else in it, else under it, where nothing is hidden."""
    placed = np.zeros((len(texts), 4), int)
    for row, (box, text) in enumerate(zip(boxes, texts, strict=True)):
        wide, high = pen.width_px(text) + 2 * pen.margin_px, pen.field_px
        x1, y1, x2, y2 = np.clip(box, 0, [width, height, width, height]).astype(int).tolist()
        corners = [
            (min(max(x, 0), max(width - wide, 0)), y)
            for x in (x1, x2 - wide)
            for y in (y1 - high, y1, y2, y2 - high)
            if 0 <= y <= height - high
        ] or [(min(x1, max(width - wide, 0)), min(max(y1, 0), max(height - high, 0)))]
        spots = np.array([(x, y, x + wide, y + high) for x, y in corners])  # (s, 4)
        shared = np.minimum(spots[:, None, 2:], placed[:row, 2:]) - np.maximum(spots[:, None, :2], placed[:row, :2])
        hidden = np.clip(shared, 0, None).prod(axis=2).sum(axis=1)  # (s,)
        placed[row] = spots[hidden.argmin()]
    return placed


@cache
def _palette() -> tuple[Colour, ...]:
    """Each next colour is the one furthest from all before it, as the eye sees it; greys, very dark and very light are left out."""
    levels = np.linspace(0, 1, 10)
    rgb = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1).reshape(-1, 3)
    seen = oklab(rgb)
    useful = (seen[:, 0] > 0.4) & (seen[:, 0] < 0.95) & (np.hypot(seen[:, 1], seen[:, 2]) > 0.07)
    rgb, seen = rgb[useful], seen[useful]
    chosen = [int(np.abs(rgb - (1.0, 0.2, 0.2)).sum(axis=1).argmin())]
    nearest = np.full(len(seen), np.inf)
    for _ in range(COLOURS - 1):
        nearest = np.minimum(nearest, ((seen - seen[chosen[-1]]) ** 2).sum(axis=1))
        chosen.append(int(nearest.argmax()))
    return tuple((r, g, b) for r, g, b in np.round(rgb[chosen] * 255).astype(int).tolist())


def oklab(rgb: np.ndarray) -> np.ndarray:
    """(n, 3) sRGB in 0..1 -> (n, 3) lightness, green-red, blue-yellow, where distance is what the eye sees (Ottosson 2020)."""
    cones = _linear(rgb) @ np.array(
        [[0.4122214708, 0.2119034982, 0.0883024619], [0.5363325363, 0.6806995451, 0.2817188376],
         [0.0514459929, 0.1073969566, 0.6299787005]]
    )  # fmt: skip
    return np.cbrt(cones) @ np.array(
        [[0.2104542553, 1.9779984951, 0.0259040371], [0.7936177850, -2.4285922050, 0.7827717662],
         [-0.0040720468, 0.4505937099, -0.8086757660]]
    )  # fmt: skip


def _linear(share: np.ndarray) -> np.ndarray:
    """sRGB in 0..1 -> light in 0..1."""
    return np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)


def class_colour(index: int) -> Colour:
    """The RGB colour of a class, the same in every picture and every run."""
    return _palette()[index % COLOURS]


def luminance(colour: Colour) -> float:
    """Relative luminance of WCAG 2, 0 black .. 1 white."""
    return float(_linear(np.array(colour) / 255) @ (0.2126, 0.7152, 0.0722))


def contrast(one: Colour, other: Colour) -> float:
    """Contrast ratio of WCAG 2: 1 for the same, 21 for black on white; text should have 4.5."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def text_colour(field: Colour) -> Colour:
    """Black or white; the better of the two has a contrast of at least 4.58 with any colour."""
    return BLACK if contrast(BLACK, field) >= contrast(WHITE, field) else WHITE


@cache
def _writes_unicode() -> bool:
    """OpenCV 5 brings a font with Latin, Cyrillic, Greek, Chinese, Japanese and Korean; OpenCV 4 has ASCII only."""
    return any("Built-in Unicode font" in line and "YES" in line for line in cv2.getBuildInformation().splitlines())


@cache
def readable(label: str, index: int) -> str:
    """``label`` in letters that this OpenCV can draw: without accents where need be, else ``class 7``; never ``???``."""
    shown = "".join(letter if letter.isprintable() else " " for letter in label)
    if not shown.isascii():
        drawable = _writes_unicode() and all(
            ord(c) < 0x10000 and unicodedata.bidirectional(c) not in ("R", "AL") for c in shown
        )
        if not drawable:
            plain = unicodedata.normalize("NFKD", shown.replace("ß", "ss"))
            kept = plain.encode("ascii", "ignore").decode()
            letters = sum(c.isalnum() for c in shown)
            shown = kept if letters and sum(c.isalnum() for c in kept) >= letters else ""
    return " ".join(shown.split()) or f"class {index}"
