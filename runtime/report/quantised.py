"""The part of the report on quantisation: what was gained, what it cost, and why each node is as it is.

    quantised(manifest["quantisation"]) -> one section; nothing for a bundle that is not quantised

Every part may be missing: a bundle without pictures has no accuracy, one that was not timed no ratio.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..ground.limits import FP16
from .curve import curve, losers
from .page import Html, facts, figure, fold, join, mark, section, size, table, tag
from .words import budget_words, interval, loss_db, number, percent, rule_words, summary, verdict, warnings, worst

Data = Mapping[str, Any]


def quantised(told: Data | None) -> Html:
    """The section, or nothing."""
    if not told:
        return Html("")
    nodes = told.get("nodes") or []
    return section(
        "Quantisation",
        _verdict(told),
        join(tag("p", mark(False, words)) for words in warnings(told)),
        facts(summary(told)),
        trade(told),
        _worst(nodes),
        fold(f"{len(nodes)} places, node by node", _nodes(nodes)),
        _groups(told.get("smoothed") or []),
        _xray(told.get("xray") or {}),
        join(tag("p", note, "soft") for note in told.get("notes") or []),
    )


def _verdict(told: Data) -> Html:
    said, budget = tag("span", verdict(told)), budget_words(told)
    return tag("p", said if budget is None else join([said, tag("span", "; "), mark(*budget)]))


def trade(told: Data) -> Html:
    """What each step back to floating point bought, drawn and as a table."""
    budget = told.get("budget") or told.get("floor") or {}
    steps = [one for one in budget.get("curve") or [] if number(one.get("share")) is not None and one.get("drop")]
    points = [(number(one["share"]) or 0.0, number(one["drop"].get("points")) or 0.0) for one in steps]
    chosen = next((at for at, one in enumerate(steps) if one.get("high") == budget.get("high")), 0)
    caption = (
        "Each dot has more nodes in floating point than the one before, from right to left; the large one was chosen."
    )
    drawn = curve(points, chosen, number(budget.get("max_drop")), "drop in points", caption)
    lines = [
        (one.get("high"), percent(one["share"]), figure(one["drop"].get("points"), "+.2f"), interval(one["drop"]),
         figure(one.get("sqnr_db"), ".1f"), figure(one.get("agreement"), ".2f"), bool(one.get("holds")))
        for one in steps
    ]  # fmt: skip
    columns = ("nodes in float", "share", "drop", "", "dB", "agreement %", "holds")
    listed = table(columns, lines, ("number", "number", "number", "", "number", "number"))
    tried = f"{len(steps)} {'step' if len(steps) == 1 else 'steps'} of the search for the budget"
    return join([drawn, fold(tried, listed)])  # its notes stand among those of the bundle


def _worst(nodes: Sequence[Data]) -> Html:
    chosen = worst(nodes)
    scanned = any(one.get("output_sqnr_db") is not None for one in chosen)
    what = (
        "SQNR of the model's output with this node alone quantised"
        if scanned
        else "SQNR of the node's product, from its two factors"
    )
    rows = [
        (str(one.get("node")), loss_db(one) or 0.0, "; ".join(one.get("reasons") or []) or "nothing stands out")
        for one in chosen
    ]
    return losers(rows, f"The nodes that lose most. {what}; a longer bar is better.")


def _nodes(nodes: Sequence[Data]) -> Html:
    columns = (
        "node",
        "op",
        "MACs",
        "types",
        "scale",
        "zero",
        "rule",
        "clipped",
        "act. dB",
        "weight dB",
        "output dB",
        "why it is hard",
        "decision",
    )
    css = ("code", "", "number", "", "number", "number", "", "number", "number", "number", "number", "words", "words")
    return table(columns, [_row(one) for one in nodes], css)


def _row(one: Data) -> tuple[Any, ...]:
    return (
        one.get("node"),
        f"{one.get('op')}, {one.get('kind')}",
        percent(one.get("share")),
        one.get("types"),
        figure(one.get("scale"), ".4g"),
        figure(one.get("zero_point"), "d") if isinstance(one.get("zero_point"), int) else "",
        rule_words(one),
        figure(one.get("clipped"), ".3%"),
        *(figure(one.get(f"{kind}_sqnr_db"), ".1f") for kind in ("activation", "weight", "output")),
        "; ".join(one.get("reasons") or []),
        ("quantised: " if one.get("quantised") else "float: ") + str(one.get("why", "")),
    )


def _groups(groups: Sequence[Data]) -> Html:
    lines = [
        (one.get("kind"), ", ".join(map(str, one.get("nodes") or [])), figure(one.get("strength"), ".2g"),
         figure(one.get("largest_factor", one.get("largest")), ".3g"))
        for one in groups
    ]  # fmt: skip
    listed = table(("kind", "nodes", "strength", "largest factor"), lines, ("", "code", "number", "number"))
    return fold(
        f"{len(groups)} groups smoothed: scale moved from activations into weights, exact in real numbers", listed
    )


def _xray(told: Data) -> Html:
    """The engine beside that of the same model in 16 bit (exporter/engine/audit.py)."""
    sides = {name: told[name] for name in (FP16, "quantised") if isinstance(told.get(name), Mapping)}
    if not sides:
        return Html("")
    counts = {name: side.get("counts") or {} for name, side in sides.items()}
    kinds = dict.fromkeys(kind for one in counts.values() for kind in one)
    lines: list[tuple[Any, ...]] = [
        (words, *(side.get(key) for side in sides.values()))
        for words, key in (("kernels", "kernels"), ("fused attention", "fused_attention"))
    ]
    lines += [
        (words, *(size(side.get(f"{key}_bytes")) for side in sides.values()))
        for words, key in (("moved by them", "moved"), ("activations", "device_memory"), ("engine", "engine"))
    ]
    lines += [(kind, *(one.get(kind, 0) for one in counts.values())) for kind in kinds]
    said = f"{told.get('sites_on_integer_kernels', '?')} of {told.get('sites', '?')} places run on integer kernels. "
    listed = table(("X-ray of the engine", *sides), lines, ("", *["number"] * len(sides)))
    return join([listed, tag("p", said + str(told.get("verdict", "")), "soft")])
