"""The held-out clicks that everything is judged by, and how one way to compute them did.

held_out(screens, asks) -> Case: picture, instruction, kind, box;   Tally.of(cases, points)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from learn.clicks import inside
from paint import Box
from screen import SIZES, screen

Point = tuple[float, float]  # shares of width and height


@dataclass(frozen=True, eq=False)
class Case:
    picture: np.ndarray  # uint8 (H, W, 3) RGB
    instruction: str
    kind: str
    box: Box


def held_out(screens: int, asks: int) -> list[Case]:
    """The first ``asks`` instructions of each of the first ``screens`` held-out screens; the sizes take turns."""
    found = []
    for index in range(screens):
        one = screen(index, "held_out", SIZES[index % len(SIZES)])
        for text, which in one.asks[:asks]:
            found.append(Case(one.picture, text, one.widgets[which].kind, one.widgets[which].box))
    return found


@dataclass(frozen=True)
class Tally:
    """Right clicks of ``clicks``; ``low`` and ``high`` bound the share with 95 % (Wilson's interval)."""

    right: int
    clicks: int

    @classmethod
    def of(cls, cases: Sequence[Case], points: Sequence[Point]) -> Tally:
        hits = [inside(point, case.box, case.picture.shape[:2]) for case, point in zip(cases, points, strict=True)]
        return cls(sum(hits), len(hits))

    @property
    def share(self) -> float:
        return self.right / self.clicks

    @property
    def bounds(self) -> tuple[float, float]:
        z, n, p = 1.96, self.clicks, self.share
        middle, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        return (middle - half) / (1 + z * z / n), (middle + half) / (1 + z * z / n)


def pixels_apart(cases: Sequence[Case], first: Sequence[Point], second: Sequence[Point]) -> np.ndarray:
    """Distances between two ways' clicks in pixels of each picture."""
    sides = np.array([case.picture.shape[1::-1] for case in cases])
    return np.hypot(*((np.array(first) - np.array(second)) * sides).T)
