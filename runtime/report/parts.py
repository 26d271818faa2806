"""What a task adds to the report: its own figures and sections; a part that is empty is left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .page import Html, figure, join, mark, table, tag

Data = Mapping[str, Any]
NOTHING = Html("")


@dataclass(frozen=True)
class Parts:
    """Markup for the places of the page that differ by task (runtime/bundle/report.py)."""

    parity: Html
    headline: Sequence[tuple[Any, str]] = ()  # (figure, what it is), to see first
    pictures: Html = NOTHING
    accuracy: Html = NOTHING
    thresholds: Html = NOTHING
    end_to_end: Sequence[Html] = ()  # lines below the speed of the graph
    run_on: str = "photo.jpg"  # what ``edgesmith run`` is shown with
    run_options: str = ""  # what is worth showing of ``edgesmith run``


RANKS = {"top1": "top-1", "top5": "top-5"}  # of a row, where its answers are numbers of classes


def parity(rows: Sequence[Data], judge: Any = None, of: str = "pictures") -> Html:
    """The rows of outputs that are compared as they are; ``judge`` is who they are compared with, by default PyTorch.

    ``of``: what has a best class.
    """
    if not rows:
        return tag("p", "Not checked.", "soft")
    ranks = [key for key in RANKS if any(r.get(key) is not None for r in rows)]
    lines = [
        (
            r.get("stage"),
            f"{r.get('count', '')} {r.get('inputs', '')}".strip(),
            mark(bool(r.get("passed")), "holds" if r.get("passed") else "FAILS"),
            figure(r.get("max_abs"), ".2e"),
            figure(r.get("cosine"), ".7f"),
            *(figure(r.get(key), ".0%") for key in ranks),
            r.get("limit"),
            r.get("shape"),
            r.get("runner"),
        )
        for r in rows
    ]
    columns = ("stage", "inputs", "", "max abs", "cosine", *(RANKS[key] for key in ranks), "limit", "shape", "run by")
    css = ("", "", "", *["number"] * (len(ranks) + 4))
    told = f"{judge or 'PyTorch eager in float32'} is the judge."
    if ranks:
        several = " and ".join(RANKS[key] for key in ranks)
        told += (
            f" {several[:1].upper()}{several[1:]}: share of {of} with the same best class{'es' if ranks[1:] else ''}."
        )
    return join([table(columns, lines, css), tag("p", told[:1].upper() + told[1:], "soft")])
