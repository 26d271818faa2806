"""Memory over the work that was done, as a small SVG: no library, the same bytes for the same figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT = 800, 260
LEFT, RIGHT, TOP, BOTTOM = 70, 640, 40, 210
COLOURS = ("#1b6ca8", "#c1440e")


def plot(title: str, across: str, series: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """MB upwards, from 0."""
    wide = max(x for line in series.values() for x, _ in line) or 1.0
    high = 1.1 * max(y for line in series.values() for _, y in line)

    def place(x: float, y: float) -> tuple[float, float]:
        return LEFT + (RIGHT - LEFT) * x / wide, BOTTOM - (BOTTOM - TOP) * y / high

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="13">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        _text(LEFT, 22, title),
        _text((LEFT + RIGHT) / 2, HEIGHT - 12, across, "middle"),
    ]
    for part in range(5):
        x, y = place(wide * part / 4, high * part / 4)
        parts += [
            f'<line x1="{LEFT}" y1="{y:.1f}" x2="{RIGHT}" y2="{y:.1f}" stroke="#ddd"/>',
            _text(LEFT - 6, y + 4, f"{high * part / 4:.0f} MB", "end"),
            _text(x, BOTTOM + 18, f"{wide * part / 4:,.0f}", "middle"),
        ]
    for number, (name, line) in enumerate(series.items()):
        joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in line))
        parts.append(f'<polyline points="{joined}" fill="none" stroke="{COLOURS[number]}" stroke-width="2"/>')
        parts.append(_text(RIGHT + 10, place(*line[-1])[1] + 4, name, colour=COLOURS[number]))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _text(x: float, y: float, words: str, anchor: str = "start", colour: str = "#111") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{escape(words)}</text>'
