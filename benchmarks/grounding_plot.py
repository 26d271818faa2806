"""Lines as an SVG file that any browser and any page of Markdown shows: no library, the same bytes for the same figures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

Series = Mapping[str, Sequence[tuple[float, float]]]
WIDTH, HEIGHT = 800, 420
LEFT, RIGHT, TOP, BOTTOM = 70, 470, 50, 360  # of the field; the names of the lines stand right of it
COLOURS = ("#1b6ca8", "#c1440e", "#2e7d32", "#7b3fa0", "#8a6d00", "#444444")  # told apart in grey too, by their marks
LINE_PX = 20  # between two names


def lines(title: str, across: str, up: str, series: Series, names: Mapping[float, str] | None = None) -> str:
    """A logarithmic scale upwards, as costs of flows are told in times of each other; ``names`` of places across."""
    points = [point for line in series.values() for point in line]
    xs = sorted({x for x, _ in points})
    low, high = _decades([y for _, y in points])

    def place(x: float, y: float) -> tuple[float, float]:
        wide = (xs[-1] - xs[0]) or 1.0
        return (
            LEFT + (RIGHT - LEFT) * (x - xs[0]) / wide,
            BOTTOM - (BOTTOM - TOP) * (math.log10(y) - low) / (high - low),
        )

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="13">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        _text(LEFT, 22, title, size=15),
        _text(LEFT, TOP - 8, up, colour="#555"),
        _text((LEFT + RIGHT) / 2, HEIGHT - 14, across, anchor="middle", colour="#555"),
    ]
    for tick in _ticks(low, high):
        y = place(xs[0], tick)[1]
        parts += [_line(LEFT, y, RIGHT, y, "#ddd"), _text(LEFT - 6, y + 4, f"{tick:g}", anchor="end")]
    for x in xs:
        at = place(x, 10**low)[0]
        parts += [_line(at, BOTTOM, at, BOTTOM + 5, "#555")]
        parts += [_text(at, BOTTOM + 20, (names or {}).get(x, f"{x:g}"), anchor="middle")]
    for number, (name, line) in enumerate(series.items()):
        colour, mark = COLOURS[number % len(COLOURS)], number % 3
        places = [place(*point) for point in line]
        joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline points="{joined}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [_mark(x, y, colour, mark) for x, y in places]
        y = TOP + 10 + LINE_PX * number
        parts += [_mark(RIGHT + 22, y - 4, colour, mark), _text(RIGHT + 34, y, name)]
    return "\n".join([*parts, "</svg>"]) + "\n"


def _decades(values: Sequence[float]) -> tuple[float, float]:
    """log10 of the least and the largest, with some air."""
    low, high = math.log10(min(values)), math.log10(max(values))
    return low - 0.1, max(high, low + 0.2) + 0.1


def _ticks(low: float, high: float) -> list[float]:
    found = [
        digit * 10.0**power
        for power in range(math.floor(low), math.ceil(high) + 1)
        for digit in (1, 2, 5)
        if low <= math.log10(digit * 10.0**power) <= high
    ]
    return found if len(found) < 12 else [tick for tick in found if math.isclose(math.log10(tick) % 1, 0, abs_tol=1e-9)]


def _line(x1: float, y1: float, x2: float, y2: float, colour: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"/>'


def _text(x: float, y: float, words: str, anchor: str = "start", colour: str = "#111", size: int = 13) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}" font-size="{size}">{escape(words)}</text>'


def _mark(x: float, y: float, colour: str, kind: int) -> str:
    if kind == 0:
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>'
    if kind == 1:
        return f'<rect x="{x - 4:.1f}" y="{y - 4:.1f}" width="8" height="8" fill="{colour}"/>'
    return f'<path d="M {x:.1f} {y - 5:.1f} l 5 9 h -10 z" fill="{colour}"/>'
