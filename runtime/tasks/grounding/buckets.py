"""The sizes that a bundle was exported for, and which of them a picture is looked at in.

A graph of vision is made for one size, so a picture is resized to that of the nearest bucket:

1. the nearest shape. Shapes that differ by less than 2 % count as one (1366 x 768 beside 1920 x 1080);
2. among those the nearest number of pixels.

What that does to the picture is told. A picture that would be stretched more than twice is refused: what is on it could not
be recognised any more.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ...errors import UserMistake
from ...pictures.contract import ImageContract
from .resize import MULTIPLE

SAME_SHAPE = 0.02
TOLD_STRETCH = 1.05  # multiples of 28 alone stretch by up to two per cent
MOST_STRETCH = 2.0
TOLD_SHRINK = 1.5  # each way; letters of 12 pixels are then 8 high


@dataclass(frozen=True)
class Bucket:
    """One size: the screen that it was made for, the pixels that the network takes, and the graphs."""

    screen: tuple[int, int]  # (width, height), as in --screen
    size: tuple[int, int]  # (height, width), multiples of 28
    grid: tuple[int, int]  # visual tokens (rows, columns)
    vision: str  # names of graphs
    prefix: str

    @property
    def tokens(self) -> int:
        """Visual tokens of a picture."""
        return self.grid[0] * self.grid[1]

    def contract(self, base: ImageContract) -> ImageContract:
        """The bundle's input contract, for the size of this bucket."""
        return replace(base, size=self.size)

    @property
    def words(self) -> str:
        return f"{self.screen[0]}x{self.screen[1]}"


def nearest(height: int, width: int, buckets: Sequence[Bucket]) -> Bucket:
    """The bucket in which a picture of ``height`` x ``width`` pixels is looked at.

    Raises:
        UserMistake: the picture is smaller than a visual token, or would be stretched more than twice.
    """
    if min(height, width) < MULTIPLE:
        raise UserMistake(
            "the picture is no screenshot",
            found=f"{width} x {height} pixels",
            expected=f"at least {MULTIPLE} pixels each way, which is what one visual token covers",
            attempt="a picture of the whole screen",
        )
    stretches = [_stretch(height, width, bucket) for bucket in buckets]
    least = min(stretches)
    if least > math.log(MOST_STRETCH):
        raise UserMistake(
            "the picture has the shape of no screen that this bundle is made for",
            found=f"{width} x {height} pixels",
            expected="about the shape of " + ", ".join(bucket.words for bucket in buckets),
            because=f"it would be stretched {math.exp(least):.1f} times, and what is on it could not be recognised",
            attempt=f"edgesmith export ... --screen {width}x{height}, or a picture of the whole screen",
        )
    alike = [bucket for bucket, off in zip(buckets, stretches, strict=True) if off <= least + SAME_SHAPE]
    return min(alike, key=lambda bucket: abs(math.log(height * width / math.prod(bucket.screen))))


def told(height: int, width: int, bucket: Bucket) -> tuple[str, ...]:
    """What the resize to this bucket does to a picture and its owner should know; empty where it does little."""
    rows, columns = bucket.size
    notes = []
    if (stretch := math.exp(_stretch(height, width, bucket))) > TOLD_STRETCH:
        notes.append(f"{width} x {height} pixels are stretched {stretch:.2f} times to the shape of {bucket.words}")
    if (shrink := math.sqrt(height * width / (rows * columns))) > TOLD_SHRINK:
        notes.append(
            f"{width} x {height} pixels are looked at as {columns} x {rows}, {shrink:.1f} times smaller each way: "
            "small things may be lost"
        )
    return tuple(notes)


def _stretch(height: int, width: int, bucket: Bucket) -> float:
    """How far the shape of a picture is from that of a bucket's screen, as a logarithm."""
    return abs(math.log(width / height) - math.log(bucket.screen[0] / bucket.screen[1]))
