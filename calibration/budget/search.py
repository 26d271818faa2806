"""Full int8 first; where it misses the budget, nodes go back to high precision until it holds, and no more than needed.

``make(keep)`` builds the graph with the named nodes high.  Nodes go back in ``sensitivity.order``, 1, 2, 4, ... of them; once
the budget holds, a bisection gives back what was one step too many: the chosen count holds, one less was tried and fails.

The budget holds when the measured drop is at most ``max_drop`` points.  Whether the pictures can tell is said in the notes:
the interval of the drop may reach past the budget.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, Generic, TypeVar

from ...graph.run import Runner
from ..judge.evaluation import Evaluation, Figures
from ..judge.sensitivity import Sensitivity, order

SLACK = 1e-9  # points: 3 of 1000 pictures are 0.3 points whatever the last bit of the division says
DEAR = 0.05  # share of the MACs: what the last pictures cost is worth a note from here on
G = TypeVar("G")  # a QuantisedGraph, or whatever ``make`` makes


def is_within(drop_points: float, max_drop: float) -> bool:
    """Whether what was lost, in points, is within the budget."""
    return bool(drop_points <= max_drop + SLACK)


@dataclass(frozen=True)
class Row:
    """One point of the trade curve."""

    high: int  # nodes given back to high precision
    share: float  # of the MACs that are quantised
    figures: Figures
    holds: bool

    def to_json(self) -> dict[str, Any]:
        return {"high": self.high, "share": self.share, "holds": self.holds, **self.figures.to_json()}


@dataclass(frozen=True)
class Budget(Generic[G]):
    """The graph that was chosen, whether it holds the budget, and everything that was tried, fewest high nodes first."""

    graph: G
    row: Row
    met: bool
    max_drop: float
    keep: Mapping[str, str]  # nodes given back and why
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    sensitivities: tuple[Sensitivity, ...] = ()  # of the scan, in the order of giving back; empty where none was needed
    key: ClassVar[str] = "budget"  # in the report

    def to_json(self) -> dict[str, Any]:
        return {
            "max_drop": self.max_drop,
            "met": self.met,
            "high": self.row.high,
            "keep": dict(self.keep),
            "curve": [row.to_json() for row in self.rows],
            "notes": list(self.notes),
        }


def meet(
    make: Callable[[Mapping[str, str]], G],
    share: Callable[[G], float],
    run: Callable[[G], Runner],
    evaluation: Evaluation,
    max_drop: float,
    sensitivities: Callable[[], Sequence[Sensitivity]],
    *,
    progress: Callable[[Row], None] | None = None,
) -> Budget[G]:
    """The graph with the fewest nodes high, in the order of their worth, that loses at most ``max_drop`` points.

    ``sensitivities`` is asked for only when the fully quantised graph misses the budget.  Where nothing holds, or only the
    graph without a quantised node, ``met`` is False and the graph with the smallest drop is returned: exit code 1 is the
    caller's.
    """
    tried: dict[int, tuple[G, Row]] = {}
    ranked: tuple[Sensitivity, ...] = ()

    def attempt(count: int) -> bool:
        if count not in tried:
            graph = make({found.node: alone_words(found) for found in ranked[:count]})
            figures = evaluation.evaluate(run(graph))
            row = Row(count, share(graph), figures, is_within(figures.drop.points, max_drop))
            tried[count] = graph, row
            if progress is not None:
                progress(row)
        return tried[count][1].holds

    chosen = 0 if attempt(0) else None
    if chosen is None:
        ranked = order(sensitivities())
        chosen = fewest(attempt, len(ranked))
    met = chosen is not None and tried[chosen][1].share > 0
    if chosen is None:
        chosen = min(tried, key=lambda count: (tried[count][1].figures.drop.points, count))
    graph, row = tried[chosen]
    rows = tuple(tried[count][1] for count in sorted(tried))
    notes = (*evaluation.notes(max_drop), *_said(row, rows, met, max_drop))
    return Budget(graph, row, met, max_drop, reasons(ranked[:chosen], rows), rows, notes, ranked)


def fewest(holds: Callable[[int], bool], most: int) -> int | None:
    """The smallest tried count that holds, its predecessor being tried and failing; None when even ``most`` fails."""
    low, count = 0, 1
    while True:
        count = min(count, most)
        if count <= low:
            return None
        if holds(count):
            break
        low, count = count, 2 * count
    while count - low > 1:
        middle = (low + count) // 2
        low, count = (low, middle) if holds(middle) else (middle, count)
    return count


def alone_words(found: Sensitivity) -> str:
    """What a node costs by itself."""
    return f"one-node SQNR {found.sqnr_db:.1f} dB at {100 * found.share:.2f} % of the MACs"


def reasons(ranked: Sequence[Sensitivity], rows: Sequence[Row]) -> dict[str, str]:
    """Why each node is high: its own noise, and what the step that gave it back brought."""
    why = {}
    for before, after in pairwise(rows):
        nodes = ranked[before.high : after.high]
        together = f" together with {len(nodes) - 1} more" if len(nodes) > 1 else ""
        why.update(
            {found.node: f"{alone_words(found)}; int8 here cost {_gain(before, after)}{together}" for found in nodes}
        )
    return why


def _gain(before: Row, after: Row) -> str:
    points = before.figures.drop.points - after.figures.drop.points
    brought = after.figures.sqnr_db - before.figures.sqnr_db
    if points > 0:
        return f"{points:.2f} points"
    if math.isfinite(brought) and brought > 0:
        return f"{brought:.1f} dB of output SQNR"
    return "nothing that these pictures show"


def _said(chosen: Row, rows: Sequence[Row], met: bool, max_drop: float) -> list[str]:
    """What the reader of the curve must know, in words."""
    drop, most = chosen.figures.drop, rows[-1]
    if not met and chosen.holds:
        return [f"only the graph without a quantised node holds the budget of {max_drop:g} points"]
    if not met and most.share == 0:
        itself = f"the graph without a quantised node loses {most.figures.drop.points:.2f} points itself"
        return [f"{itself}: the loss is not that of the rounding"]
    if not met:
        return [f"no choice of nodes holds the budget of {max_drop:g} points; the smallest drop is {drop.points:.2f}"]
    notes = []
    if drop.high > max_drop:
        notes.append(f"drop {drop}: with {drop.n} pictures more than {max_drop:g} points is not excluded")
    if len(rows) > 1:
        notes.append(
            f"chosen among {len(rows)} graphs by the pictures that judge it: other pictures may show more loss"
        )
    # a row that fails by less than the pictures can tell, and quantises far more
    close = next((row for row in rows if row.figures.drop.low <= max_drop and row.share > chosen.share + DEAR), None)
    if close is not None:
        notes.append(
            f"{100 * close.share:.0f} % of the MACs in place of {100 * chosen.share:.0f} % could be quantised at a drop of "
            f"{close.figures.drop.points:.2f}, which {drop.n} pictures cannot tell from {max_drop:g}: more pictures decide it"
        )
    return notes
