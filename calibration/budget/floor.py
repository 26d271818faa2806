"""Neither labels nor a budget: only the outputs can say what was lost, and they are held at a floor, in dB.

Where the quantised graph is below it on the held-out pictures, nodes go back to floating point as a budget gives them back
(within.py), as few as reach the floor. At least one stays quantised: a graph that cannot reach the floor keeps the nodes of
the best one tried, and the notes say so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ...graph.run import Runner
from ..judge.evaluation import Evaluation, Figures, Pictures
from ..judge.sensitivity import Sensitivity, order
from ..nouns import QuantisedGraph
from .search import Row, alone_words, fewest, reasons
from .within import Progress, scanned, without

if TYPE_CHECKING:
    import onnx_ir as ir


@dataclass(frozen=True)
class Floor:
    """The graph that was chosen, whether it reaches the floor, and everything that was tried, fewest high nodes first."""

    graph: QuantisedGraph
    row: Row
    met: bool
    floor_db: float
    keep: Mapping[str, str]  # nodes given back and why
    rows: tuple[Row, ...]
    notes: tuple[str, ...]
    sensitivities: tuple[Sensitivity, ...]
    key: ClassVar[str] = "floor"  # in the report

    def to_json(self) -> dict[str, Any]:
        return {
            "floor_db": self.floor_db,
            "met": self.met,
            "high": self.row.high,
            "keep": dict(self.keep),
            "curve": [row.to_json() for row in self.rows],
            "notes": list(self.notes),
        }


def reach(
    graph: QuantisedGraph,
    evaluation: Evaluation,
    figures: Figures,
    floor_db: float,
    pictures: Pictures,
    *,
    run: Callable[[ir.Model], Runner],
    progress: Progress | None = None,
) -> Floor:
    """The graph with the fewest nodes high whose outputs reach ``floor_db`` on ``evaluation``; ``figures`` are those of ``graph``.

    The nodes are scanned on ``pictures``, which should not be those of the evaluation.
    """
    ranked = order(scanned(graph, pictures, progress=progress, distance=evaluation.view.sqnr_db))
    tried: dict[int, tuple[QuantisedGraph, Row]] = {
        0: (graph, Row(0, graph.share, figures, figures.sqnr_db >= floor_db))
    }

    def holds(count: int) -> bool:
        if count not in tried:
            made = without(graph, {found.node: alone_words(found) for found in ranked[:count]})
            found = evaluation.evaluate(run(made.model))
            tried[count] = made, Row(count, made.share, found, found.sqnr_db >= floor_db)
        return tried[count][1].holds

    chosen = 0 if holds(0) else fewest(holds, len(ranked) - 1)
    met = chosen is not None
    if chosen is None:
        chosen = max(tried, key=lambda count: (tried[count][1].figures.sqnr_db, -count))
    made, row = tried[chosen]
    rows = tuple(tried[count][1] for count in sorted(tried))
    notes = (*evaluation.notes(), *_said(rows[0], row, len(ranked), floor_db, met))
    return Floor(made, row, met, floor_db, reasons(ranked[:chosen], rows), rows, notes, ranked)


def _said(first: Row, row: Row, nodes: int, floor_db: float, met: bool) -> list[str]:
    """What became of the graph that was asked for, in words; nothing where it reached the floor as it was."""
    if first.holds:
        return []
    back = f"{row.high} of {nodes} nodes are in floating point again: the outputs went from {first.figures.sqnr_db:.1f} to {row.figures.sqnr_db:.1f} dB"
    if not met:
        return [f"THE OUTPUTS STAY BELOW {floor_db:g} dB: {back}. This network does not bear this precision"]
    shares = f"{row.share:.0%} of the MACs quantised in place of {first.share:.0%}"
    held = f"no labels and no budget, so the outputs are held at {floor_db:g} dB"
    return [f"{held}: {back}, {shares}; the report says why each (--max-drop asks for points instead)"]
