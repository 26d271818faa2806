"""``--precision auto --max-drop 0.3``: which precision? The fastest that holds the budget, or the preferred one where no clock can say.

A candidate is asked for its graph only when its turn comes.  Where every candidate can be timed on this machine, all are
tried and the fastest within the budget wins; of those that are as fast within the spread, the one that loses least.  Where one cannot (a Jetson's engine is built on the Jetson), the order of
the candidates decides: the first that holds the budget is taken, and the words say that nothing was timed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

from ...graph.run import Runner
from ...runtime.errors import EdgesmithError
from ...runtime.ground.words import time_ratio
from ..judge.evaluation import Evaluation, Figures
from .search import is_within

G = TypeVar("G")  # whatever a candidate makes: a graph, a bundle in the making


class Latency(NamedTuple):
    """The time of one call, and the quartiles of where it lies beside that of the others."""

    ms: float
    low_ms: float
    high_ms: float


@dataclass(frozen=True)
class Candidate(Generic[G]):
    """A precision and how to get it."""

    precision: str
    make: Callable[[], G]  # may raise EdgesmithError: the reason then stands in the row
    run: Callable[[G], Runner]
    latency: Callable[[G], Latency] | None = None  # None: its engine does not run on this machine


@dataclass(frozen=True)
class Tried:
    """One row of the table: what a candidate brought, or why it has no figures."""

    precision: str
    figures: Figures | None = None
    latency: Latency | None = None
    holds: bool = False
    why_not: str = ""

    def to_json(self) -> dict[str, Any]:
        figures = self.figures.to_json() if self.figures else None
        return {
            "precision": self.precision,
            "holds": self.holds,
            "latency_ms": self.latency.ms if self.latency else None,
            "why_not": self.why_not,
            "figures": figures,
        }


@dataclass(frozen=True)
class Choice(Generic[G]):
    """The precision that was chosen and why; ``graph`` is None when no candidate holds the budget."""

    precision: str
    graph: G | None
    why: str
    rows: tuple[Tried, ...]

    def to_json(self) -> dict[str, Any]:
        return {"precision": self.precision, "why": self.why, "tried": [row.to_json() for row in self.rows]}


def choose(candidates: Sequence[Candidate[G]], evaluation: Evaluation, max_drop: float) -> Choice[G]:
    """The fastest candidate within ``max_drop`` points where all can be timed here, else the first that holds.

    A candidate that cannot be made is a row with its reason.  Without one that holds, ``precision`` is "" and the caller
    exits with 1.
    """
    timed = all(candidate.latency is not None for candidate in candidates)
    rows: list[Tried] = []
    graphs: dict[str, G] = {}
    for candidate in candidates:
        if graphs and not timed:
            rows.append(Tried(candidate.precision, why_not=f"not tried: {next(iter(graphs))} comes first and holds"))
            continue
        try:
            graph = candidate.make()
        except EdgesmithError as error:
            rows.append(Tried(candidate.precision, why_not=str(error).splitlines()[0]))
            continue
        figures = evaluation.evaluate(candidate.run(graph))
        holds = is_within(figures.drop.points, max_drop)
        latency = candidate.latency(graph) if timed and candidate.latency is not None else None
        rows.append(Tried(candidate.precision, figures, latency, holds))
        if holds:
            graphs[candidate.precision] = graph
    if not graphs:
        return Choice("", None, f"no precision holds the budget of {max_drop:g} points", tuple(rows))
    within = [row for row in rows if row.holds]
    best = _fastest(within) if timed else within[0]
    return Choice(best.precision, graphs[best.precision], _why(best, rows, within, max_drop), tuple(rows))


def _fastest(rows: Sequence[Tried]) -> Tried:
    """Of those that the fastest does not beat by more than the spread, the one that loses least; the first of equals."""
    first = min(rows, key=lambda row: row.latency.ms if row.latency else 0.0)
    return min(
        (row for row in rows if _as_fast(row, first)), key=lambda row: row.figures.drop.points if row.figures else 0
    )


def _as_fast(row: Tried, other: Tried) -> bool:
    """Whether neither is faster by more than the spread."""
    if row.latency is None or other.latency is None:
        return False
    return row.latency.low_ms <= other.latency.high_ms and other.latency.low_ms <= row.latency.high_ms


def _why(best: Tried, rows: Sequence[Tried], within: Sequence[Tried], max_drop: float) -> str:
    assert best.figures is not None
    lost = f"{best.figures.drop.points:.2f} of {max_drop:g} points"
    if best.latency is None:
        others = " and ".join(row.precision for row in rows if row is not best) or "nothing else"
        return (
            f"{best.precision} loses {lost} and is the first of the target's order that holds; not timed here: compare "
            f"with {others} on the device"
        )
    rest = [row for row in within if row is not best]
    ratios = ", ".join(
        time_ratio(best.latency.ms / row.latency.ms, None, None, row.precision) for row in rest if row.latency
    )
    equals = " and ".join(row.precision for row in rest if _as_fast(row, best))
    said = f"loses least, {equals} no faster within the spread" if equals else "is the fastest within the budget"
    return f"{best.precision} {said} ({ratios or 'the only one'}), timed here, and loses {lost}"
