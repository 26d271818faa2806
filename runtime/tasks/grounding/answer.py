"""What a click is: the answer to one instruction on one screen, in shares, in pixels, and in the words of agents.

click.point     x, y, 0 to 1                   click.pixels   x, y, whole pixels of the picture
click.box       the element in pixels          click.regions  all regions, the best first
click.scores    (rows, columns), sum 1         click.code     pyautogui.click(x, y)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, overload

import numpy as np

from ...errors import one_line
from .regions import Region, regions
from .zoom import Crop

TOP = 3  # regions that are told


@dataclass(frozen=True, eq=False)
class Click:
    """Where to click, and why there. ``score`` is the largest of the patches' scores, which sum to 1."""

    instruction: str
    regions: tuple[Region, ...]  # of the whole picture, the best first; never empty
    scores: np.ndarray  # (rows, columns) float32, of ``seen``
    image_size: tuple[int, int]  # (height, width)
    seen: tuple[int, int, int, int]  # what the scores cover: left, top, right, bottom in pixels of the picture
    infer_ms: float = 0.0  # its share of the batch that it was part of; of a zoom both looks
    postprocess_ms: float = 0.0

    @property
    def region(self) -> Region:
        return self.regions[0]

    @property
    def point(self) -> tuple[float, float]:
        """x, y as shares of the width and the height."""
        return self.region.point

    @property
    def score(self) -> float:
        return self.region.score

    @property
    def pixels(self) -> tuple[int, int]:
        """x, y of a pixel of the picture."""
        return self.pixels_of(self.point)

    @property
    def box(self) -> tuple[int, int, int, int]:
        """The element: left, top, right, bottom in pixels, as far as patches tell it."""
        return self.box_of(self.region)

    @property
    def code(self) -> str:
        """What an agent runs."""
        return "pyautogui.click({}, {})".format(*self.pixels)

    def pixels_of(self, point: tuple[float, float]) -> tuple[int, int]:
        height, width = self.image_size
        return min(int(point[0] * width), width - 1), min(int(point[1] * height), height - 1)

    def box_of(self, region: Region) -> tuple[int, int, int, int]:
        height, width = self.image_size
        left, top, right, bottom = region.box
        return round(left * width), round(top * height), round(right * width), round(bottom * height)

    def to_json(self, top: int | None = None) -> dict[str, Any]:
        """Plain values; ``top``: how many regions."""
        return {
            "instruction": self.instruction,
            "point": list(self.point),
            "pixels": list(self.pixels),
            "code": self.code,
            "score": self.score,
            "box": list(self.box),
            "regions": [
                {"point": list(one.point), "pixels": list(self.pixels_of(one.point)), "score": one.score,
                 "box": list(self.box_of(one)), "patches": one.patches}
                for one in self.regions[: top or TOP]
            ],
            "zoomed": list(self.seen) if self.seen != whole(self.image_size) else None,
        }  # fmt: skip

    def __str__(self) -> str:
        x, y = self.point
        left, top, right, bottom = self.box
        return (
            f"{one_line(self.instruction)}\n  {self.code}   {x:.4f}, {y:.4f}   score {self.score:.4f}   "
            f"element {left},{top} to {right},{bottom}"
        )


def whole(size: tuple[int, int]) -> tuple[int, int, int, int]:
    """A (height, width) as left, top, right, bottom."""
    return 0, 0, size[1], size[0]


def click_of(
    instruction: str, scores: np.ndarray, threshold: float, image_size: tuple[int, int], part: Crop | None = None
) -> Click:
    """Scores (rows, columns) of a picture, or of a part of it, as a click in the picture."""
    found = regions(scores, threshold)
    if part is not None:
        found = tuple(replace(one, point=part.point_back(*one.point), box=part.box_back(one.box)) for one in found)
    return Click(instruction, found, scores, image_size, part.box if part is not None else whole(image_size))


@dataclass(frozen=True, eq=False)
class Clicks(Sequence[Click]):
    """The clicks of one picture, one an instruction, in their order."""

    clicks: tuple[Click, ...]
    image_size: tuple[int, int]
    looked_at: tuple[int, int]  # (height, width) after the resize
    notes: tuple[str, ...]  # what the resize does to this picture
    preprocess_ms: float
    infer_ms: float  # the picture and all instructions
    postprocess_ms: float

    @overload
    def __getitem__(self, at: int) -> Click: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Click]: ...
    def __getitem__(self, at: int | slice) -> Click | Sequence[Click]:
        return self.clicks[at]

    def __len__(self) -> int:
        return len(self.clicks)

    def __iter__(self) -> Iterator[Click]:
        return iter(self.clicks)

    def __str__(self) -> str:
        return "\n".join([*map(str, self.clicks), *(f"note: {note}" for note in self.notes)])
