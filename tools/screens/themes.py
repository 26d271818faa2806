"""How a screen looks as a whole: light or dark, the colours of desk, windows and bars, round or square corners, size."""

from __future__ import annotations

import numpy as np
from paint import FONTS, Colour
from widgets import Theme
from words import COLOURS

SCALES = (1.0, 1.0, 1.0, 1.25)


def _grey(rng: np.random.Generator, low: int, high: int, tint: int = 8) -> Colour:
    level = int(rng.integers(low, high + 1))
    r, g, b = (int(np.clip(level + shift, 0, 255)) for shift in rng.integers(-tint, tint + 1, 3))
    return r, g, b


def theme(rng: np.random.Generator, widest: int) -> Theme:
    """One theme; on a screen of less than 300 pixels (``widest``) nothing is enlarged."""
    dark = bool(rng.random() < 0.4)
    low, high = ((24, 60), (200, 250)) if dark else ((226, 255), (0, 50))
    face = _grey(rng, *low)
    away = 14 if dark else -14
    r, g, b = (int(np.clip(part + away, 0, 255)) for part in face)
    ink = _grey(rng, *high, tint=4)
    line = tuple((a + b) // 2 for a, b in zip(face, ink, strict=True))
    return Theme(
        dark=dark,
        desk=_grey(rng, 30, 200, tint=40),
        face=face,
        bar=(r, g, b),
        ink=ink,
        plain=_grey(rng, 70, 100) if dark else _grey(rng, 190, 235),
        line=line,  # type: ignore[arg-type]
        radius=int(rng.choice((0, 3, 6, 10))),
        font=int(FONTS[rng.integers(len(FONTS))]),
        scale=float(SCALES[rng.integers(len(SCALES))]) if widest >= 300 else 1.0,
    )


def shade(rng: np.random.Generator, name: str) -> Colour:
    """A colour that people would call ``name``: its table value, a little lighter, darker and off."""
    base = np.array(COLOURS[name], np.float64) * rng.uniform(0.9, 1.08)
    r, g, b = (int(value) for value in np.clip(base + rng.integers(-12, 13, 3), 0, 255))
    return r, g, b
