"""The input shapes at which two are compared: the usual one, and where both leave sizes open, others within their bounds.

An export can be right at one size and wrong at every other, and a graph that mixes the pictures of a batch is right for one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ....runtime.errors import UserMistake
from ...run import arguments

if TYPE_CHECKING:
    from .compare_sides import Side

MORE = 2  # pictures in the other batch, beside the first
STEP = 32  # pixels: what most networks divide their sides by

Shape = tuple[int, int, int, int]  # batch, channels, height, width, whatever the layout


def common_shapes(judge: Side, other: Side, size: tuple[int, int]) -> list[Shape]:
    """The usual shape first; ``size`` is that of the pictures where both sides are open. UserMistake where none fits both."""
    bounds = [_bounds(judge, other, axis) for axis in range(4)]
    if any(high is not None and low > high for low, high in bounds):
        raise UserMistake(
            "The two do not take the same input",
            found=f"{judge.name}: {arguments.spell(judge.shape)}, {other.name}: {arguments.spell(other.shape)}",
            expected="the same sizes, or open ones",
            attempt="export both with the same --image-size and --batch",
        )
    batch, channels, height, width = (
        _within(usual, *bound) for usual, bound in zip((1, 3, *size), bounds, strict=True)
    )
    more = _within(batch + MORE, *bounds[0])
    sides = [
        (low if high is not None else usual, high if high is not None else usual + STEP)
        for usual, (low, high) in zip((height, width), bounds[2:], strict=True)
    ]
    (low, high), (left, right) = sides
    found = [(batch, channels, height, width), (more, channels, height, width)]
    found += [(more, channels, low, left), (batch, channels, high, right)]
    if not any(side.shape[2] == side.shape[3] and isinstance(side.shape[2], str) for side in (judge, other)):
        found.append((batch, channels, low, right))
    return list(dict.fromkeys(found))


def runs(judge: Side, other: Side, images: np.ndarray) -> tuple[bool, bool]:
    """Whether each of the two computes this size at all: an open axis may be open in name only."""
    able = []
    for side in (judge, other):
        try:
            side.run(images)
        except Exception:  # noqa: BLE001 engines raise a dozen types for a shape that they cannot compute
            able.append(False)
        else:
            able.append(True)
    return able[0], able[1]


def _bounds(judge: Side, other: Side, axis: int) -> tuple[int, int | None]:
    """Smallest and largest size that both take."""
    (low, high), (least, most) = judge.limits[axis], other.limits[axis]
    ends = [end for end in (high, most) if end is not None]
    return max(low, least), min(ends) if ends else None


def _within(size: int, low: int, high: int | None) -> int:
    return max(low, size if high is None else min(size, high))
