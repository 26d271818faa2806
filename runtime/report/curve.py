"""Two drawings of a quantised model as SVG: the trade curve, and the nodes that lose most. Text keeps its size on any screen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from .page import Html, escaped, tag

HEIGHT = 200  # px of the plot; x is in percent of the width, so that a phone and a desk see the same figures
TOP, BOTTOM, LEFT, RIGHT = 24, 160, 12.0, 96.0
NAME = 30  # letters of a node's name that fit a phone beside the figure
BAR = 64  # px a bar with its two lines of text


def curve(points: Sequence[tuple[float, float]], chosen: int, budget: float | None, axis: str, caption: str) -> Html:
    """Share of MACs (0 to 1) against what it costs, point by point; ``budget`` is a dashed line, ``chosen`` a filled dot."""
    if len(points) < 2:
        return Html("")
    costs = [cost for _, cost in points] + ([budget] if budget is not None else [])
    low, high = min(costs), max(costs)
    pad = (high - low or abs(high) or 1.0) * 0.1
    low, high = low - pad, high + pad
    left, right = min(share for share, _ in points), max(share for share, _ in points)
    wide = right - left or 1.0

    def place(share: float, cost: float) -> tuple[float, float]:
        return LEFT + (RIGHT - LEFT) * (share - left) / wide, BOTTOM - (BOTTOM - TOP) * (cost - low) / (high - low)

    dots = [place(*point) for point in points]
    parts = [_line(LEFT, BOTTOM, RIGHT, BOTTOM, "var(--line)"), _line(LEFT, TOP, LEFT, BOTTOM, "var(--line)")]
    if budget is not None:
        y = place(left, budget)[1]
        parts.append(_line(LEFT, y, RIGHT, y, "var(--bad)", ' stroke-dasharray="5 4"'))
        parts.append(f'<text x="{RIGHT}%" y="{y - 5:.1f}" text-anchor="end" class="soft">budget {budget:g}</text>')
    for (x1, y1), (x2, y2) in pairwise(dots):
        parts.append(_line(x1, y1, x2, y2, "var(--other)"))
    for index, (x, y) in enumerate(dots):
        colour, radius = ("var(--ours)", 6) if index == chosen else ("var(--other)", 4)
        parts.append(f'<circle cx="{x:.2f}%" cy="{y:.1f}" r="{radius}" fill="{colour}"/>')
    for cost in (high - pad, low + pad):
        parts.append(f'<text x="0" y="{place(left, cost)[1] + 5:.1f}" class="soft">{cost:.3g}</text>')
    parts += [
        f'<text x="0" y="14">{escaped(axis)}</text>',
        f'<text x="{LEFT}%" y="{BOTTOM + 20}" class="soft">{left:.1%}</text>',
        f'<text x="{RIGHT}%" y="{BOTTOM + 20}" text-anchor="end" class="soft">{right:.1%} of the MACs</text>',
    ]
    return _figure(HEIGHT, parts, caption)


def losers(rows: Sequence[tuple[str, float, str]], caption: str) -> Html:
    """Bars of SQNR: (node, dB, reason); the shortest bar is the node that loses most."""
    drawn = [(name, db, why) for name, db, why in rows if not math.isnan(db)]
    finite = [db for _, db, _ in drawn if 0 < db < float("inf")]
    longest = max(finite, default=1.0)
    parts = []
    for index, (name, db, why) in enumerate(drawn):
        top, width = index * BAR, 100.0 * min(max(db, 0.0) / longest, 1.0)
        parts.append(
            f"<g><title>{escaped(name)}</title>"
            f'<text x="0" y="{top + 16}">{escaped(shortened(name))}</text>'
            f'<text x="100%" y="{top + 16}" text-anchor="end">{db:.1f} dB</text>'
            f'<rect x="0" y="{top + 22}" width="{width:.2f}%" height="12" rx="3" fill="var(--other)"/>'
            f'<text x="0" y="{top + 50}" class="soft">{escaped(shortened(why, 46, end=False))}</text></g>'
        )
    return _figure(len(drawn) * BAR, parts, caption) if drawn else Html("")


def shortened(words: str, most: int = NAME, end: bool = True) -> str:
    """The end of a name (or with ``end=False`` the start of a sentence), at most ``most`` letters with the dots."""
    if len(words) <= most:
        return words
    return "…" + words[-(most - 1) :] if end else words[: most - 1].rstrip() + "…"


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, more: str = "") -> str:
    return f'<line x1="{x1:.2f}%" y1="{y1:.1f}" x2="{x2:.2f}%" y2="{y2:.1f}" stroke="{colour}" stroke-width="2"{more}/>'


def _figure(height: int, parts: Sequence[str], caption: str) -> Html:
    drawing = f'<svg width="100%" height="{height}" role="img" aria-label="{escaped(caption)}">{"".join(parts)}</svg>'
    return Html(drawing + tag("p", caption, "soft"))
