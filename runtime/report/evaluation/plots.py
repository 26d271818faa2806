"""Two drawings of an evaluation as SVG: curves in the unit square, and a matrix of counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..curve import shortened
from ..page import Html, escaped, join, tag

Points = Sequence[tuple[float, float]]  # x and y, 0 to 1
SIDE, LEFT, TOP = 260, 40, 10  # px of the square and where it begins
COLOURS = ("var(--ours)", "var(--other)", "var(--bad)", "var(--good)", "var(--ink)")
CELL, ROOM = 34, 170  # px of a cell of a matrix; of the names beside it


def curves(lines: Mapping[str, Points], across: str, up: str, caption: str, diagonal: bool = False) -> Html:
    """Lines by name, each with a colour that a row below names; ``diagonal``: what would be perfect, dashed."""
    parts = [f'<rect x="{LEFT}" y="{TOP}" width="{SIDE}" height="{SIDE}" fill="none" stroke="var(--line)"/>']
    if diagonal:
        (x1, y1), (x2, y2) = _place(0, 0), _place(1, 1)
        parts.append(f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="var(--other)" stroke-dasharray="5 4"/>')
    for at, points in enumerate(lines.values()):
        colour, places = COLOURS[at % len(COLOURS)], [_place(*point) for point in points]
        drawn = " ".join(f"{x},{y}" for x, y in places)
        parts.append(f'<polyline points="{drawn}" fill="none" stroke="{colour}" stroke-width="2"/>')
        if len(places) <= 20:
            parts += [f'<circle cx="{x}" cy="{y}" r="3" fill="{colour}"/>' for x, y in places]
    for value in (0, 1):
        x, y = _place(value, value)
        parts.append(f'<text x="{LEFT - 6}" y="{y + 5}" text-anchor="end" class="soft">{value}</text>')
        parts.append(f'<text x="{x}" y="{TOP + SIDE + 18}" text-anchor="middle" class="soft">{value}</text>')
    middle = LEFT + SIDE / 2
    parts.append(f'<text x="{middle}" y="{TOP + SIDE + 34}" text-anchor="middle" class="soft">{escaped(across)}</text>')
    parts.append(
        f'<text transform="translate(14 {TOP + SIDE / 2}) rotate(-90)" text-anchor="middle" class="soft">{escaped(up)}</text>'
    )
    width, height = LEFT + SIDE + 20, TOP + SIDE + 42
    named = join(
        Html(f'<span style="color:{COLOURS[at % len(COLOURS)]}">\u25cf</span> {escaped(name)}&ensp;')
        for at, name in enumerate(lines)
    )
    return Html(_scrolled(width, height, parts, caption) + tag("p", named) + tag("p", caption, "soft"))


def _place(x: float, y: float) -> tuple[float, float]:
    return round(LEFT + SIDE * x, 1), round(TOP + SIDE * (1 - y), 1)


def matrix(rows: Sequence[str], columns: Sequence[str], counts: Sequence[Sequence[int]], caption: str) -> Html:
    """Counts as shades, each row by its own sum; a number where it fits, and always under the pointer."""
    parts = []
    for down, (row, line) in enumerate(zip(rows, counts, strict=True)):
        y, whole = ROOM + down * CELL, sum(line) or 1
        parts.append(f'<text x="{ROOM - 6}" y="{y + 22}" text-anchor="end">{escaped(shortened(row, 20))}</text>')
        for across, count in enumerate(line):
            x, colour = ROOM + across * CELL, "var(--ours)" if columns[across] == row else "var(--bad)"
            told = f"{row} \u2192 {columns[across]}: {count:,} of {sum(line):,}"
            parts.append(
                f'<g><title>{escaped(told)}</title><rect x="{x}" y="{y}" width="{CELL - 1}" height="{CELL - 1}" '
                f'fill="{colour if count else "var(--panel)"}" fill-opacity="{0.15 + 0.7 * count / whole if count else 1:.2f}"/>'
            )
            if 0 < count < 1000:
                parts.append(f'<text x="{x + CELL / 2}" y="{y + 22}" text-anchor="middle">{count}</text>')
            parts.append("</g>")
    for across, name in enumerate(columns):
        x = ROOM + across * CELL + 22
        words = escaped(shortened(name, 20))
        parts.append(f'<text transform="translate({x} {ROOM - 8}) rotate(-90)">{words}</text>')
    width, height = ROOM + len(columns) * CELL, ROOM + len(rows) * CELL
    return Html(_scrolled(width, height, parts, caption) + tag("p", caption, "soft"))


def _scrolled(width: int, height: int, parts: Sequence[str], caption: str) -> str:
    return (
        f'<div class="scroll"><svg width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{escaped(caption)}">{"".join(parts)}</svg></div>'
    )
