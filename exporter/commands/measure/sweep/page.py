"""The page of a sweep: figures to see first, small plots of time and size, the table, and why some cells are none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any

from .....runtime.errors import UserMistake
from .....runtime.report.page import Html, bars, join, section, size, table, tag, tiles
from .....runtime.report.page import page as whole
from .table import COLUMNS, NUMBERS, cells_of

Row = Mapping[str, Any]


def page(told: Mapping[str, Any]) -> str:
    """``sweep.json`` as one HTML file."""
    rows: Sequence[Row] = told["rows"]
    css = ["number" if name in NUMBERS else "words" if name in ("model", "why not") else "" for name in COLUMNS]
    return whole(
        "Edgesmith sweep",
        tag("h1", "Sweep"),
        tag("p", f"edgesmith {told['edgesmith']}, {len(rows)} of {told['cells']} cells", "soft"),
        tiles(_headline(rows)),
        section("All cells", table(COLUMNS, [cells_of(row) for row in rows], css)),
        section("CPU time beside the plain export", *_plots(rows, _ratio, "less is better; 1 is the plain export")),
        section("Size of graph or engine", *_plots(rows, _size, "graph or engine, weights included")),
        section("Why cells are none", _reasons(rows)),
    )


def _headline(rows: Sequence[Row]) -> list[tuple[Any, str]]:
    good = [row for row in rows if not row["exit_code"]]
    cannot = sum(row["exit_code"] == UserMistake.exit_code for row in rows)
    ratios = [row["timing"]["cpu_ratio"] for row in good if "cpu_ratio" in row["timing"]]
    found: list[tuple[Any, str]] = [
        (f"{sum(row['held'] == row['checks'] for row in good)} of {len(rows)}", "cells with parity"),
        (str(cannot), "that cannot be"),
        (str(len(rows) - len(good) - cannot), "that failed"),
    ]
    return found + ([(f"{median(ratios):.2f}", "median CPU ratio")] if ratios else [])


def _plots(rows: Iterable[Row], bar: Any, caption: str) -> list[Html]:
    """One small plot a target and precision, a bar a model."""
    groups: dict[str, list[Any]] = {}
    for row in rows:
        if not row["exit_code"] and (drawn := bar(row)):
            groups.setdefault(f"{row['target']}, {row['precision']}", []).append(drawn)
    return [join([tag("h3", name), bars(drawn, caption)]) for name, drawn in groups.items()]


def _ratio(row: Row) -> tuple[str, float, float, str, bool] | None:
    timing = row["timing"]
    if "cpu_ratio" not in timing:
        return None
    label = f"{timing['cpu_ratio']:.2f} ({timing['cpu_ratio_low']:.2f} to {timing['cpu_ratio_high']:.2f})"
    return _model(row), timing["cpu_ratio"], timing["cpu_ratio_high"], label, timing["cpu_ratio"] < 1


def _size(row: Row) -> tuple[str, float, float, str, bool]:
    return _model(row), row["size_bytes"], row["size_bytes"], size(row["size_bytes"]), True


def _model(row: Row) -> str:
    return f"{row['model']} {row['settings']}".strip()


def _reasons(rows: Iterable[Row]) -> Html:
    counts = Counter((row["why"], row["exit_code"]) for row in rows if row["exit_code"])
    lines = [(why, str(code), str(count)) for (why, code), count in counts.most_common()]
    return table(("why", "exit code", "cells"), lines, ("words", "number", "number"))
