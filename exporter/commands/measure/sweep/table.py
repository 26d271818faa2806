"""Rows of a sweep -> cells of a table, the same words on the screen and on the page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .....runtime.report.page import figure, size

Row = Mapping[str, Any]
COLUMNS = (
    "model",
    "target",
    "precision",
    "parity",
    "nodes",
    "passes",
    "size",
    "CPU ratio",
    "kernels",
    "attention",
    "s",
    "why not",
)
NUMBERS = ("nodes", "passes", "size", "CPU ratio", "kernels", "attention", "s")


def cells_of(row: Row) -> tuple[str, ...]:
    """One row; what is not known is empty. CPU ratio: time beside the plain export on the same engine, less is better."""
    timing = row["timing"]
    seconds = f"{timing['seconds']:.0f}" if "seconds" in timing else ""
    first = (f"{row['model']} {row['settings']}".strip(), row["target"], row["precision"])
    if row["exit_code"]:
        return (*first, *[""] * 7, seconds, f"{row['why']} (exit code {row['exit_code']})")
    notes = [f"left out: {', '.join(row['left_out'])}"] if row["left_out"] else []
    notes += [f"not timed: {row['not_timed']}"] if "not_timed" in row else []
    return (
        *first,
        parity(row),
        f"{row['nodes_before']} > {row['nodes_after']}",
        str(len(row["passes"])),
        size(row["size_bytes"]),
        f"{timing['cpu_ratio']:.2f}" if "cpu_ratio" in timing else "",
        *("" if row[key] is None else str(row[key]) for key in ("kernels", "fused_attention")),
        seconds,
        "; ".join(notes),
    )


def parity(row: Row) -> str:
    """``holds, 1.2e-06``: the largest difference from the judge; or how many of the checks hold."""
    if row["held"] < row["checks"]:
        return f"{row['held']} of {row['checks']} hold"
    return "holds" + (f", {figure(row['max_abs'], '.1e')}" if row["max_abs"] is not None else "")


def line(row: Row) -> str:
    """One line while the sweep goes on."""
    words = [" ".join((row["model"], row["settings"])).strip(), row["target"], row["precision"]]
    if row["exit_code"]:
        return f"{'  '.join(words)}  {row['why']}"
    ratio = row["timing"].get("cpu_ratio")
    told = [f"parity {parity(row)}", f"{row['nodes_before']} > {row['nodes_after']} nodes", size(row["size_bytes"])]
    told += [f"CPU ratio {ratio:.2f}"] if ratio is not None else []
    return f"{'  '.join(words)}  {', '.join(told)}"
