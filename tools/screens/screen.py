"""A synthetic screen: a picture, what stands where, and what one can be told to click; all of it from (seed, split, index).

screen(index, split, size) -> Screen: picture uint8 (H, W, 3) RGB, widgets, asks (instruction, index of the widget)
python tools/screens/screen.py FOLDER --count 20 --split held_out  ->  pictures and screens.json, in FOLDER
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from instructions import instructions
from layout import Window, layout
from paint import Box, rounded, write
from themes import theme
from widgets import Theme, Widget, draw

SPLITS = ("train", "held_out")
SIZES = ((252, 336), (336, 252), (280, 392), (336, 448))  # (height, width), pixels


@dataclass(frozen=True, eq=False)
class Screen:
    picture: np.ndarray  # uint8 (H, W, 3) RGB
    widgets: tuple[Widget, ...]
    asks: tuple[tuple[str, int], ...]

    def box(self, ask: int) -> Box:
        return self.widgets[self.asks[ask][1]].box


def _desk(rng: np.random.Generator, size: tuple[int, int], look: Theme) -> np.ndarray:
    """Plain, or a slope between two colours, with blots."""
    height, width = size
    first, second = np.array(look.desk, np.float32), rng.integers(0, 256, 3).astype(np.float32)
    along = np.linspace(0, float(rng.random()), width, dtype=np.float32)[None, :, None]
    desk = np.broadcast_to(first + (second - first) * along, (height, width, 3))
    picture = np.ascontiguousarray(np.rint(desk).astype(np.uint8))
    for _ in range(int(rng.integers(0, 4))):
        centre = (int(rng.integers(width)), int(rng.integers(height)))
        colour = tuple(int(part) for part in rng.integers(0, 256, 3))
        cv2.circle(picture, centre, int(rng.integers(4, 40)), colour, cv2.FILLED, cv2.LINE_AA)
    return picture


def _paint(rng: np.random.Generator, picture: np.ndarray, window: Window, look: Theme) -> None:
    rounded(picture, window.box, 4, look.face, look.line)
    rounded(picture, window.bar, 4, look.bar)
    left, middle = window.bar[0] + look.px(9), (window.bar[1] + window.bar[3]) // 2
    write(picture, window.title, left, middle, 0.5 * look.scale, look.ink, look.font, 2)
    for x1, y1, x2, _ in window.lines:
        for x in range(x1, x2 - 20, 24):  # words too small to read
            cv2.line(picture, (x, y1 + 3), (x + int(rng.integers(8, 20)), y1 + 3), look.line, 2)
    for widget in window.widgets:
        draw(picture, widget, look)


def screen(index: int, split: str = "train", size: tuple[int, int] = SIZES[0], seed: int = 0) -> Screen:
    """``size`` is (height, width) in pixels, at least 240 each way for there to be something to click."""
    rng = np.random.default_rng([seed, SPLITS.index(split), index, *size])
    look = theme(rng, min(size) + 48)
    windows = layout(rng, size, look, split)
    widgets = tuple(widget for window in windows for widget in window.widgets)
    picture = _desk(rng, size, look)
    for window in windows:
        _paint(rng, picture, window, look)
    return Screen(picture, widgets, tuple(instructions(rng, widgets, split)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--split", choices=SPLITS, default="held_out")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    told = []
    for index in range(options.count):
        one = screen(index, options.split, SIZES[index % len(SIZES)], options.seed)
        name = f"{options.split}_{index:05d}.png"
        cv2.imwrite(str(options.folder / name), np.ascontiguousarray(one.picture[..., ::-1]))
        asks = [{"instruction": text, "box": one.widgets[which].box} for text, which in one.asks]
        told.append({"file": name, "asks": asks})
    (options.folder / "screens.json").write_text(json.dumps(told, indent=1))


if __name__ == "__main__":
    main()
