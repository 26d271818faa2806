"""The result of an evaluation -> one HTML page: its rows as ``--json`` has them, notes, and what the task draws of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...ground.version import __version__
from ..page import Html, figure, join, page, section, table, tag

Data = Mapping[str, Any]


def write_page(result: Data, drawn: Html) -> str:
    """The page as text; ``drawn``: the sections of the task."""
    rows = result["rows"]
    return page(
        "Evaluation - Edgesmith",
        tag("h1", "Evaluation"),
        tag("p", f"{result.get('task', '')} · {result['data']} · edgesmith {__version__}", "soft"),
        section("Results", overview(rows)),
        section("Notes", join(tag("p", note) for note in result["notes"])),
        drawn,
    )


def overview(rows: list[Data]) -> Html:
    """Every figure that is one number, a column each."""
    names = [name for row in rows for name, value in row.items() if _single(value)]
    columns = [name for name in dict.fromkeys(names) if name not in ("name", "precision")]
    lines = [(row["name"], row["precision"], *(_shown(row.get(name)) for name in columns)) for row in rows]
    css = ("", "", *("number" if any(_number(row.get(name)) for row in rows) else "words" for name in columns))
    return table(("", "precision", *(name.replace("_", " ") for name in columns)), lines, css)


def measured(result: Data, key: str) -> list[Data]:
    """The rows that have this figure: not those whose engine is missing."""
    return [row for row in result["rows"] if row.get(key)]


def by_class(result: Data, columns: Mapping[str, str], counted: str) -> Html:
    """Row by row a table of all classes that occur: ``columns`` key -> heading, ``counted`` the key that says how often."""
    parts = []
    for row in measured(result, "per_class"):
        lines = [
            (label, f"{told[counted]:,}", *(figure(told.get(key), ".1f") for key in columns))
            for label, told in row["per_class"].items()
            if told[counted] or any(told.get(key) is not None for key in columns)
        ]
        css = ("words", "number", *["number"] * len(columns))
        parts += [tag("h3", row["name"]), table(("class", counted, *columns.values()), lines, css)]
    return join(parts)


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _single(value: Any) -> bool:
    return _number(value) or isinstance(value, str)


def _shown(value: Any) -> str:
    return f"{value:.2f}" if isinstance(value, float) else f"{value:,}" if _number(value) else str(value or "")
