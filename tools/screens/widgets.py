"""The things on a screen that can be clicked, how large each is, and how it is drawn.

    Widget: kind, word, colour, icon, box;   size_of(widget) -> width, height;   draw(picture, widget, theme)

A box holds all that belongs to a thing, an option's word too. What is said of a widget (``facts``) is what shows of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from paint import Box, Colour, cross, light, rounded, shape, word_size, write
from words import ICONS


@dataclass(frozen=True)
class Theme:
    """What a screen's windows have in common; lengths in pixels at scale 1."""

    dark: bool
    desk: Colour
    face: Colour
    bar: Colour
    ink: Colour
    plain: Colour  # of a button without a colour
    line: Colour
    radius: int
    font: int
    scale: float

    def px(self, length: float) -> int:
        return round(length * self.scale)


@dataclass(frozen=True)
class Widget:
    """``colour`` is a name of words.COLOURS or empty, ``paint`` its RGB; a window's cross has the window's title as word."""

    kind: str
    box: Box
    word: str = ""
    colour: str = ""
    icon: str = ""
    paint: Colour | None = None
    on: bool = False

    @property
    def facts(self) -> frozenset[str]:
        return frozenset(fact for fact in (self.kind, self.word, self.colour, self.icon) if fact)

    def at(self, x: int, y: int) -> Widget:
        width, height = self.box[2] - self.box[0], self.box[3] - self.box[1]
        return Widget(self.kind, (x, y, x + width, y + height), self.word, self.colour, self.icon, self.paint, self.on)


@cache
def letters(word: str, scale: float, font: int) -> tuple[int, int]:
    return word_size(word, 0.5 * scale, font)


def size_of(widget: Widget, theme: Theme) -> tuple[int, int]:
    """Width and height in pixels that ``widget`` needs."""
    width, _ = letters(widget.word, theme.scale, theme.font) if widget.word else (0, 0)
    if widget.kind == "button":
        return width + theme.px(22) + (theme.px(22) if widget.icon else 0), theme.px(30)
    if widget.kind == "menu":
        return width + theme.px(16), theme.px(28)
    if widget.kind == "option":
        return width + theme.px(34), theme.px(28)
    if widget.kind == "field":
        return max(width + theme.px(30), theme.px(96)), theme.px(30)
    return theme.px(32), theme.px(30)  # icon, close


def draw(picture: np.ndarray, widget: Widget, theme: Theme) -> None:
    """Draws ``widget`` in its box."""
    _DRAW[widget.kind](picture, widget, theme)


def _word(picture: np.ndarray, widget: Widget, theme: Theme, left: int, ink: Colour) -> None:
    middle = (widget.box[1] + widget.box[3]) // 2
    write(picture, widget.word, left, middle, 0.5 * theme.scale, ink, theme.font)


def _button(picture: np.ndarray, widget: Widget, theme: Theme) -> None:
    fill = widget.paint or theme.plain
    ink = (16, 16, 20) if light(fill) else (255, 255, 255)
    rounded(picture, widget.box, theme.radius, fill, theme.line if widget.paint is None else None)
    left = widget.box[0] + theme.px(11)
    if widget.icon:
        middle = (widget.box[1] + widget.box[3]) // 2
        shape(picture, ICONS[widget.icon], (left + theme.px(7), middle), theme.px(8), ink)
        left += theme.px(22)
    _word(picture, widget, theme, left, ink)


def _icon(picture: np.ndarray, widget: Widget, theme: Theme) -> None:
    x1, y1, x2, y2 = widget.box
    if widget.on:  # an icon on a key
        rounded(picture, widget.box, theme.radius, theme.plain, theme.line)
    shape(picture, ICONS[widget.icon], ((x1 + x2) // 2, (y1 + y2) // 2), theme.px(11), widget.paint or theme.ink)


def _menu(picture: np.ndarray, widget: Widget, theme: Theme) -> None:
    _word(picture, widget, theme, widget.box[0] + theme.px(8), theme.ink)


def _option(picture: np.ndarray, widget: Widget, theme: Theme) -> None:
    x1, y1, _, y2 = widget.box
    side, middle = theme.px(16), (y1 + y2) // 2
    square = (x1 + theme.px(5), middle - side // 2, x1 + theme.px(5) + side, middle - side // 2 + side)
    rounded(picture, square, 3, widget.paint if widget.on and widget.paint else theme.face, theme.ink)
    if widget.on:
        inner = tuple(edge + inset for edge, inset in zip(square, (4, 4, -4, -4), strict=True))
        rounded(picture, inner, 1, theme.ink)  # type: ignore[arg-type]
    _word(picture, widget, theme, x1 + theme.px(28), theme.ink)


def _field(picture: np.ndarray, widget: Widget, theme: Theme) -> None:
    paper = (34, 34, 38) if theme.dark else (255, 255, 255)
    rounded(picture, widget.box, 2, paper, theme.ink)
    faint = (150, 150, 156) if theme.dark else (110, 110, 118)
    _word(picture, widget, theme, widget.box[0] + theme.px(8), faint)


def _close(picture: np.ndarray, widget: Widget, theme: Theme) -> None:
    x1, y1, x2, y2 = widget.box
    centre = ((x1 + x2) // 2, (y1 + y2) // 2)
    if widget.on:
        rounded(picture, widget.box, 4, (212, 44, 48))
    cross(picture, centre, theme.px(6), (255, 255, 255) if widget.on else theme.ink)


_DRAW = {"button": _button, "icon": _icon, "menu": _menu, "option": _option, "field": _field, "close": _close}
