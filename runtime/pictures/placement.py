"""Where a picture lies in the network's input: asked by the transform of the pixels and by the way back of the boxes.

    picture (H, W)  ->  resized (h, w)  ->  a window of it  ->  the network's input (height, width), the window at ``corner``

In pixel edges (0 is the left edge of the first pixel) the whole way is one gain and one offset for each axis.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from .contract import ImageContract


class Placement(NamedTuple):
    """How one picture is fitted; all pairs are (height, width) or (top, left)."""

    resized: tuple[int, int]  # the whole picture after the resize
    window: tuple[int, int, int, int]  # top, left, bottom, right of the part of it that the network sees
    corner: tuple[int, int]  # where the window's top left pixel lies in the network's input

    @property
    def offset(self) -> tuple[int, int]:
        """(y, x) of the resized picture's own corner in the network's input; negative where it is cropped."""
        return self.corner[0] - self.window[0], self.corner[1] - self.window[1]


@lru_cache(maxsize=64)
def placement(image_size: tuple[int, int], contract: ImageContract) -> Placement:
    """The place of a picture of ``image_size`` (height, width)."""
    resized = resized_size(*image_size, contract)
    (top, bottom, y), (left, right, x) = (
        _axis(length, size, contract.anchor) for length, size in zip(resized, contract.size, strict=True)
    )
    return Placement(resized, (top, left, bottom, right), (y, x))


def _axis(length: int, size: int, anchor: str) -> tuple[int, int, int]:
    """(first, last, place): the part of ``length`` pixels that is seen, and where it begins among ``size``."""
    if length > size:
        first = round((length - size) / 2)  # half to even, as torchvision
        return first, first + size, 0
    return 0, length, (size - length) // 2 if anchor == "centre" else 0


def resized_size(height: int, width: int, contract: ImageContract) -> tuple[int, int]:
    """(height, width) after the resize and before the crop, rounded as timm, torchvision and DAMO-YOLO (corner) round."""
    goal = [math.floor(side / contract.crop_fraction) for side in contract.size]
    if contract.fit == "stretch":
        return goal[0], goal[1]
    if contract.fit == "crop" and goal[0] == goal[1]:
        short, long = min(height, width), max(height, width)
        long = int(goal[0] * long / short)
        return (goal[0], long) if height <= width else (long, goal[0])
    if contract.anchor == "corner":
        if goal[0] * width <= goal[1] * height:  # the height is what fills up first
            return goal[0], max(width * goal[0] // height, 1)
        return max(height * goal[1] // width, 1), goal[1]
    ratios = height / goal[0], width / goal[1]
    ratio = max(ratios) if contract.fit == "letterbox" else min(ratios)
    return max(round(height / ratio), 1), max(round(width / ratio), 1)
