"""What benchmarks/grounding.py measured, as a page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

TARGETS = (  # key of a row, what it is, the most that it may be
    ("first_wall_to_official", "first instruction, of the official flow", 0.5),
    ("further_wall_to_official", "further instruction, of the official flow", 0.05),
    ("further_to_first", "further instruction, of our own first", 0.08),
)
MEMORY = 0.4
COLUMNS = (
    *(
        "flow",
        "first, s",
        "CPU s",
        "of official",
        "further, s",
        "of official",
        "of own first",
        "peak, MB",
        "growth, MB",
    ),
    "scores off, of the largest",
)


def written(report: Mapping[str, Any]) -> str:
    """The page in Markdown: a table for each number of threads, then what was aimed at."""
    facts = ", ".join(f"{key} {value}" for key, value in {**report["machine"], **report["versions"]}.items())
    lines = [
        "# GUI-AIMA on the CPU, side by side",
        "",
        "How to read it: the heads of [grounding.py](grounding.py) and [grounding_flows.py](grounding_flows.py).",
        "",
        f"{report['date']}; `{report['command']}`; {report['rounds']} rounds. {facts}.",
        "",
        f"Network: {report['network']}. Screen: {report['screen'][0]}x{report['screen'][1]}.",
    ]
    for threads in sorted({row["threads"] for row in report["rows"]}):
        rows = [row for row in report["rows"] if row["threads"] == threads]
        lines += ["", f"## Threads: {threads}", "", *_table(rows)]
    lines += ["", "## Targets", "", *_targets(report)]
    if report["failed"]:
        lines += ["", "## Not measured", "", *(f"- {name}: {why}" for name, why in report["failed"].items())]
    return "\n".join(lines) + "\n"


def _table(rows: list[Mapping[str, Any]]) -> list[str]:
    lines = [
        f"| {' | '.join(COLUMNS)} |",
        "|---" * len(COLUMNS) + "|",
    ]
    for row in rows:
        off = f"{row['difference_of_max']:.0e}" if "difference_of_max" in row else "finds no point"
        lines.append(
            f"| {row['flow']} | {row['first_wall_s']:.2f} | {row['first_cpu_s']:.2f} | {row['first_wall_to_official']:.3f} | "
            f"{row['further_wall_s']:.3f} | {row['further_wall_to_official']:.4f} | {row['further_to_first']:.4f} | "
            f"{row['peak_bytes'] / 1e6:,.0f} | {row['growth_bytes'] / 1e6:,.0f} | {off} |"
        )
    return lines


def _targets(report: Mapping[str, Any]) -> list[str]:
    lines = ["| what | at most | flow | threads | found | |", "|---" * 6 + "|"]
    official = {row["threads"]: row for row in report["rows"] if row["flow"] == report["official"]}
    for row in (row for row in report["rows"] if row["flow"].startswith("ours")):
        peer = official[row["threads"]]
        found = [(what, most, row[key]) for key, what, most in TARGETS]
        found += [
            (f"memory of the first, {word}", MEMORY, row[f"{key}_bytes"] / peer[f"{key}_bytes"])
            for key, word in (("peak", "peak of the process"), ("growth", "growth over the loaded model"))
        ]
        for what, most, ratio in found:
            told = "met" if ratio <= most else "missed"
            lines.append(f"| {what} | {most} | {row['flow']} | {row['threads']} | {ratio:.4f} | {told} |")
    return lines
