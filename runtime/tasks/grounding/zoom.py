"""The second look: a square of the screen around the first point, enlarged, is a screen of its own.

    side   floor(sqrt(W H 560^2 / 5.76e6) / 28) x 28, so that at 2 x it is about a fifth of what the first look had
    place  around int(point x size), moved inside the picture
    then   resized 2 x (ScreenSpot-Pro) or 4 x (OSWorld-G) with the bicubic kernel, looked at, and the point mapped back

GUI-AIMA's rule. A picture smaller than the square is looked at whole.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...errors import UserMistake
from .buckets import TOLD_STRETCH, Bucket
from .resize import MULTIPLE, SCREEN_PIXELS

FACTORS = (2, 4)
SIDE = 560  # of the square in a screen of 5.76 million pixels


@dataclass(frozen=True)
class Crop:
    """A part of a picture of (height, width) ``size``; ``box`` is left, top, right, bottom in its pixels."""

    box: tuple[int, int, int, int]
    size: tuple[int, int]

    def cut(self, picture: np.ndarray) -> np.ndarray:
        left, top, right, bottom = self.box
        return picture[top:bottom, left:right]

    def point_back(self, x: float, y: float) -> tuple[float, float]:
        """A place in the part, 0 to 1, as the same place in the whole picture."""
        left, top, right, bottom = self.box
        height, width = self.size
        return (left + x * (right - left)) / width, (top + y * (bottom - top)) / height

    def box_back(self, box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
        return (*self.point_back(box[0], box[1]), *self.point_back(box[2], box[3]))


def crop(size: tuple[int, int], point: tuple[float, float]) -> Crop:
    """The square around ``point`` (x, y in 0 to 1) in a picture of (height, width) ``size``."""
    height, width = size
    side = max(int(math.sqrt(width * height * SIDE**2 / SCREEN_PIXELS) / MULTIPLE), 1) * MULTIPLE
    (left, right), (top, bottom) = (
        _interval(int(share * length), side, length) for share, length in zip(point, (width, height), strict=True)
    )
    return Crop((left, top, right, bottom), size)


def _interval(middle: int, side: int, length: int) -> tuple[int, int]:
    if side >= length:
        return 0, length
    first = min(max(middle - side // 2, 0), length - side)
    return first, first + side


def check_factor(zoom: object) -> int:
    """UserMistake for a zoom that there is not."""
    if type(zoom) is not int or zoom not in FACTORS:
        raise UserMistake(
            "there is no such zoom", found=repr(zoom)[:40], expected=" or ".join(map(str, FACTORS)), attempt="zoom=2"
        )
    return zoom


def bucket_for(part: Crop, factor: int, buckets: Sequence[Bucket]) -> Bucket:
    """The size in which an enlarged part is looked at: one of its shape, the nearest to ``factor`` times its pixels.

    Raises:
        UserMistake: the bundle has no size of this shape.
    """
    left, top, right, bottom = part.box
    width, height = (right - left) * factor, (bottom - top) * factor
    shape = math.log(width / height)
    fitting = [one for one in buckets if abs(math.log(one.size[1] / one.size[0]) - shape) <= math.log(TOLD_STRETCH)]
    if not fitting:
        raise UserMistake(
            "this bundle cannot zoom",
            found="sizes " + ", ".join(bucket.words for bucket in buckets),
            expected=f"one of the shape of the part that is enlarged, {width}x{height}",
            attempt=f"edgesmith export ... --screen {buckets[0].words},{width}x{height}",
        )
    return min(fitting, key=lambda one: abs(math.log(math.prod(one.size) / (width * height))))
