"""The findings of ``quant-report`` as lines of text: the verdict, what is wrong, the whole model, the ten worst nodes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from ....runtime.report.page import figure
from ....runtime.report.words import budget_words, percent, summary, verdict, warnings, worst
from ..screen import StageScreen, table

COLUMNS = ("node", "op", "types", "MACs", "scale", "clipped", "act. dB", "weight dB", "output dB", "why it is hard")
NUMBERS = ("MACs", "scale", "clipped", "act. dB", "weight dB", "output dB")


def lines(result: Mapping[str, Any]) -> Iterator[str]:
    """Text for a terminal."""
    told = result["quantisation"]
    nodes = told.get("nodes") or []
    said = verdict(told) if told.get("share") else f"{len(nodes)} operators read {told.get('precision')} values"
    yield f"{result['path']}: {said}"
    if budget := budget_words(told):
        yield "  " + budget[1]
    for warning in warnings(told):
        yield f"  {warning}"
    facts = [(name, value) for name, value in summary(told).items() if value not in (None, "", [])]
    yield table(("", ""), [(f"  {name}", value) for name, value in facts])
    for note in told.get("notes") or []:
        yield f"  note: {note}"
    ranked = worst(nodes)
    shown = ranked or [one for one in nodes if one.get("quantised")][:10]
    yield ""
    yield table(COLUMNS, [_row(one) for one in shown], right=NUMBERS)
    quantised = sum(bool(one.get("quantised")) for one in nodes)
    if quantised > len(shown):
        yield f"and {quantised - len(shown)} more{', each better than these' if ranked else ''}; --json lists all"


def _row(one: Mapping[str, Any]) -> Sequence[str]:
    return (
        str(one.get("node")),
        str(one.get("op")),
        str(one.get("types")),
        percent(one.get("share")),
        figure(one.get("scale"), ".4g"),
        figure(one.get("clipped"), ".3%"),
        *(figure(one.get(f"{kind}_sqnr_db"), ".1f") for kind in ("activation", "weight", "output")),
        "; ".join(one.get("reasons") or []),
    )


@contextmanager
def watched(
    screen: StageScreen, name: str = "measure", doing: str = "pictures through both models"
) -> Iterator[Callable[[str, int, int], None]]:
    """A bar while it runs, gone when it ends; a step tells the words, what is done and of how many."""
    screen.start(name, doing)
    try:
        yield screen.step
    finally:
        screen.abandon()
