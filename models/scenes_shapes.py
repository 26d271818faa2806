"""The things a synthetic scene shows: their outlines, what they are filled with, and how they look as masks.

    label, place, size, angle -> contours in pixels -> coverage (H, W) uint8, anti-aliased; fill (H, W, 3) uint8

Outlines live in the square -1..1. Points are rounded to a 16th of a pixel before OpenCV draws them, so that the last
bit of a sine decides nothing.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

SHIFT = 4  # fractional bits of a drawn point

Contours = list[np.ndarray]  # each (n, 2): x, y


def _round(count: int, radius: float = 1.0) -> np.ndarray:
    turns = [2 * math.pi * i / count for i in range(count)]
    return np.array([(radius * math.cos(turn), radius * math.sin(turn)) for turn in turns])


def _star() -> np.ndarray:
    turns = [math.pi * i / 5 - math.pi / 2 for i in range(10)]
    return np.array(
        [
            (math.cos(turn) * radius, math.sin(turn) * radius)
            for turn, radius in zip(turns, (1.0, 0.42) * 5, strict=True)
        ]
    )


def _heart() -> np.ndarray:
    turns = [2 * math.pi * i / 48 for i in range(48)]
    points = [
        (math.sin(t) ** 3, -(13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)) / 16)
        for t in turns
    ]
    return np.array(points)


_ARROW = [(-1, -0.3), (0.15, -0.3), (0.15, -0.8), (1, 0), (0.15, 0.8), (0.15, 0.3), (-1, 0.3)]
_CROSS = [(-0.33, -1), (0.33, -1), (0.33, -0.33), (1, -0.33), (1, 0.33), (0.33, 0.33)]

OUTLINES: dict[str, Contours] = {
    "circle": [_round(64)],
    "ring": [_round(64), _round(64, 0.55)],  # the second contour is the hole
    "square": [np.array([(-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)])],
    "triangle": [np.array([(0, -1), (0.92, 0.7), (-0.92, 0.7)])],
    "star": [_star()],
    "cross": [np.array(_CROSS + [(-x, -y) for x, y in _CROSS])],
    "arrow": [np.array(_ARROW, np.float64)],
    "heart": [_heart()],
}


def placed(label: str, centre: tuple[float, float], radius: tuple[float, float], angle: float) -> Contours:
    """The outline with half axes ``radius`` (pixels along its own x and y), turned by ``angle``, around ``centre``."""
    cosine, sine = math.cos(angle), math.sin(angle)
    turn = np.array([[cosine, -sine], [sine, cosine]])
    return [(contour * radius) @ turn.T + centre for contour in OUTLINES[label]]


def fixed_point(contours: Contours) -> list[np.ndarray]:
    """Contours as OpenCV draws them with ``SHIFT``; a pixel's centre is at a whole number there, half a pixel off ours."""
    return [np.rint((contour - 0.5) * (1 << SHIFT)).astype(np.int32) for contour in contours]


def coverage(contours: Contours, size: tuple[int, int]) -> np.ndarray:
    """uint8 (H, W): how much of a pixel lies inside; holes are left out."""
    mask = np.zeros(size, np.uint8)
    cv2.fillPoly(mask, fixed_point(contours), 255, cv2.LINE_AA, SHIFT)
    return mask


def outline(contours: Contours, size: tuple[int, int], width_px: int) -> np.ndarray:
    """uint8 (H, W): a line along the contours."""
    mask = np.zeros(size, np.uint8)
    cv2.polylines(mask, fixed_point(contours), True, 255, width_px, cv2.LINE_AA, SHIFT)
    return mask


def area(contours: Contours) -> float:
    """Pixels inside, those beyond the picture's border too."""
    first, *holes = (abs(float(cv2.contourArea(contour.astype(np.float32)))) for contour in contours)
    return first - sum(holes)


def colour(rng: np.random.Generator) -> np.ndarray:
    """float32 (3,), any RGB."""
    return rng.integers(0, 256, 3).astype(np.float32)


def apart(rng: np.random.Generator, other: np.ndarray, least: float) -> np.ndarray:
    """A colour whose largest channel difference to ``other`` is ``least`` or more, else the farthest of six drawn."""
    drawn = [colour(rng) for _ in range(6)]
    gaps = [float(abs(one - other).max()) for one in drawn]
    return next((one for one, gap in zip(drawn, gaps, strict=True) if gap >= least), drawn[int(np.argmax(gaps))])


def fill(rng: np.random.Generator, base: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """float32 (H, W, 3) around the colour ``base``: plain, a gradient, stripes or speckles."""
    height, width = size
    kind = rng.integers(0, 10)
    if kind < 4:
        return np.broadcast_to(base, (height, width, 3))
    second = np.clip(base + rng.integers(-90, 91, 3), 0, 255).astype(np.float32)
    if kind >= 8:
        coarse = rng.integers(0, 256, (height // 4 + 1, width // 4 + 1)).astype(np.float32) / 255
        weight = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
    else:
        x, y = (int(part) for part in rng.integers(-16, 17, 2))
        ramp = x * np.arange(width, dtype=np.float32)[None] + y * np.arange(height, dtype=np.float32)[:, None]
        if kind < 6:
            weight = (ramp - ramp.min()) / max(float(np.ptp(ramp)), 1.0)
        else:
            weight = (ramp % 128 < 64).astype(np.float32)
    return base + weight[..., None] * (second - base)
