"""Where things stand: one or two windows on a desk, in each a title bar, perhaps a menu and a toolbar, then rows.

    layout(rng, size, theme, split) -> Windows from the back to the front, each with its widgets and its plain lines

Everything stands on a raster of 14 pixels, a patch of the network: reading is hard enough for a small one. Two windows never overlap: half of the screen is for each. A thing that does not fit is not drawn.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from paint import Box
from themes import shade
from widgets import Theme, Widget, size_of
from words import ACTIONS, COLOURS, FIELDS, ICONS, OPTIONS, TITLES

RASTER = 14  # pixels
ROWS = ("button", "button", "option", "field", "icon", "lines")


@dataclass(frozen=True)
class Window:
    """``lines`` are places of writing that nobody can click: what to tell from what can be."""

    box: Box
    bar: Box
    title: str
    widgets: tuple[Widget, ...]
    lines: tuple[Box, ...]


def snap(place: int) -> int:
    """The next line of the raster."""
    return -(-place // RASTER) * RASTER


def kept(colour: str, word: str, split: str) -> bool:
    """One pair of colour and word in six is never drawn for training, so that held-out screens have new pairs."""
    return split != "train" or (tuple(COLOURS).index(colour) + ACTIONS.index(word)) % 6 != 0


def layout(rng: np.random.Generator, size: tuple[int, int], theme: Theme, split: str) -> list[Window]:
    """``size`` is (height, width)."""
    height, width = size
    titles = rng.permutation(TITLES)
    if max(height, width) < 390 or rng.random() < 0.5:
        parts = [(0, 0, width, height)]
    elif width > height:
        middle = snap(int(rng.integers(width * 45 // 100, width * 55 // 100)))
        parts = [(0, 0, middle, height), (middle, 0, width, height)]
    else:
        middle = snap(int(rng.integers(height * 45 // 100, height * 55 // 100)))
        parts = [(0, 0, width, middle), (0, middle, width, height)]
    return [_window(rng, part, str(title), theme, split) for part, title in zip(parts, titles, strict=False)]


def _window(rng: np.random.Generator, room: Box, title: str, theme: Theme, split: str) -> Window:
    left, top, right, bottom = (RASTER * int(steps) for steps in rng.integers(0, 3, 4))
    box = (room[0] + left, room[1] + top, room[2] - right, room[3] - bottom)
    bar = (box[0], box[1], box[2], box[1] + theme.px(32))
    close = Widget("close", (0, 0, theme.px(32), theme.px(30)), title, on=bool(rng.random() < 0.3))
    things = [close.at((box[2] - theme.px(33)) // RASTER * RASTER, box[1] + 1)]
    lines: list[Box] = []
    y = snap(bar[3] + 2)
    used: set[frozenset[str]] = set()
    plan = ["menu"] if rng.random() < 0.5 else []
    plan += ["icon"] if rng.random() < 0.4 else []
    while y + theme.px(30) < box[3] - 2:
        kind = plan.pop(0) if plan else str(rng.choice(ROWS))
        if kind == "lines":
            end = int(rng.integers(box[0] + 40, box[2] - 8))
            lines.append((box[0] + 10, y + 6, end, y + 12))
            y = snap(y + theme.px(18))
            continue
        things += _row(rng, kind, y, box, theme, split, used)
        y = snap(y + theme.px(34) + int(rng.integers(0, 10)))
    return Window(box, bar, title, tuple(things), tuple(lines))


def _row(
    rng: np.random.Generator, kind: str, y: int, box: Box, theme: Theme, split: str, used: set[frozenset[str]]
) -> Iterator[Widget]:
    """Things of one kind from left to right; none has all the facts of another of the window."""
    x = snap(box[0] + 8) + RASTER * int(rng.integers(0, 3 if kind != "menu" else 1))
    for _ in range(int(rng.integers(2, 7))):
        thing = _thing(rng, kind, split)
        width, height = size_of(thing, theme)
        if thing.facts in used or x + width > box[2] - 6 or y + height > box[3] - 2:
            continue
        used.add(thing.facts)
        yield Widget(kind, (0, 0, width, height), thing.word, thing.colour, thing.icon, thing.paint, thing.on).at(x, y)
        x = snap(x + width + (int(rng.integers(6, 26)) if kind != "menu" else 2))


def _one(rng: np.random.Generator, names: Sequence[str]) -> str:
    return names[int(rng.integers(len(names)))]


def _thing(rng: np.random.Generator, kind: str, split: str) -> Widget:
    """One of ``kind`` without a place."""
    nowhere = (0, 0, 0, 0)
    if kind == "menu":
        return Widget(kind, nowhere, _one(rng, ACTIONS))
    if kind == "option":
        return Widget(kind, nowhere, _one(rng, OPTIONS), on=bool(rng.random() < 0.5))
    if kind == "field":
        return Widget(kind, nowhere, _one(rng, FIELDS))
    colour = _one(rng, tuple(COLOURS)) if rng.random() < 0.75 else ""
    if kind == "icon":
        key = not colour or rng.random() < 0.3
        return Widget(kind, nowhere, "", colour, _one(rng, tuple(ICONS)), shade(rng, colour) if colour else None, key)
    word = _one(rng, ACTIONS)
    if colour and not kept(colour, word, split):
        colour = ""
    icon = _one(rng, tuple(ICONS)) if rng.random() < 0.2 else ""
    return Widget(kind, nowhere, word, colour, icon, shade(rng, colour) if colour else None)
