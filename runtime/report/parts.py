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


def parity(rows: Sequence[Data], judge: Any = None) -> Html:
    """The rows of outputs that are compared as they are; ``judge`` is who they are compared with, by default PyTorch."""
    if not rows:
        return tag("p", "Not checked.", "soft")
    lines = [
        (
            r.get("stage"),
            f"{r.get('count', '')} {r.get('inputs', '')}".strip(),
            mark(bool(r.get("passed")), "holds" if r.get("passed") else "FAILS"),
            figure(r.get("max_abs"), ".2e"),
            figure(r.get("cosine"), ".7f"),
            figure(r.get("top1"), ".0%"),
            figure(r.get("top5"), ".0%"),
            r.get("limit"),
            r.get("shape"),
            r.get("runner"),
        )
        for r in rows
    ]
    columns = ("stage", "inputs", "", "max abs", "cosine", "top-1", "top-5", "limit", "shape", "run by")
    css = ("", "", "", "number", "number", "number", "number", "number", "number")
    told = f"{judge or 'PyTorch eager in float32'} is the judge. Top-1 and top-5: share of pictures with the same best classes."
    return join([table(columns, lines, css), tag("p", told[:1].upper() + told[1:], "soft")])
