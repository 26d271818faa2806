"""The result of a check as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

CORRECTNESS = """Largest error relative to the largest output, over all cases and kernels, against numpy in float64; codes: the share
that is equal. Every kernel ran twice over different garbage, between guarded borders."""
TIMES = """Microseconds a call, medians of interleaved rounds of replayed CUDA graphs; in brackets the median of the ratios to ours, so
above 1 ours is faster."""


def markdown(found: Mapping[str, Any]) -> str:
    """Head, correctness, sanitizer, times."""
    device, versions, pack = found["device"], found["versions"], found["pack"]
    elsewhere = "" if pack["in_step_with_sources"] else ", made from other sources than these"
    head = (
        f"{device['arch']}, {device['multiprocessors']} multiprocessors, driver {device['driver']}, "
        f"torch {versions['torch']}, triton {versions['triton']}; "
        f"kernel pack {str(pack['sha256'])[:12]}, {pack['kernels']} kernels{elsewhere}."
    )
    lines = [f"# {device['name']}", "", head, "Written by `make gpu-check`.", ""]
    lines += [f"**{'All within limits.' if found['ok'] else 'Not within limits:'}**"]
    lines += [f"- {text}" for text in found["failures"]]
    lines += ["", "## Correctness", CORRECTNESS, "", *correctness_table(found["correctness"])]
    lines += ["", "## compute-sanitizer", *sanitizer_lines(found["sanitizer"])]
    if found["times"]:
        lines += ["", "## Times", *times_tables(found["times"])]
    return "\n".join(lines) + "\n"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]


def correctness_table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """One line an op and type."""
    keys = dict.fromkeys((row["op"], row.get("type", "")) for row in rows)
    shown = []
    for op, t in keys:
        mine = [row for row in rows if (row["op"], row.get("type", "")) == (op, t)]
        outputs = [output for row in mine for output in row.get("outputs", ())]
        errors = [output["error"] for output in outputs if "error" in output]
        shares = [output["equal"] for output in outputs if "equal" in output]
        limit = max((output["limit"] for output in outputs if "error" in output), default=None)
        spills = max((row.get("local_bytes", 0) for row in mine), default=0)
        shown.append([
            op, t, f"{sum(row['ok'] for row in mine)} of {len(mine)}",
            f"{max(errors):.1e}" if errors else "-", f"{limit:.0e}" if limit is not None else "-",
            f"{min(shares):.4%}" if shares else "-", str(spills),
        ])  # fmt: skip
    return table(["op", "type", "runs that hold", "error", "limit", "equal codes", "spilled bytes"], shown)


def sanitizer_lines(found: Mapping[str, Any]) -> list[str]:
    if not found["ran"]:
        return [f"Did not run: {found['why']}."]
    return table(["tool", "launches", "errors"], (
        [name, str(tool["launches"]), "no summary" if tool["errors"] is None else str(tool["errors"])]
        for name, tool in found["tools"].items()
    ))  # fmt: skip


def times_tables(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """One table an op, one column a contestant."""
    lines = [TIMES]
    for op in dict.fromkeys(row["op"] for row in rows):
        mine = [row for row in rows if row["op"] == op and "contestants" in row]
        others = [row for row in rows if row["op"] == op and "contestants" not in row]
        names = list(dict.fromkeys(name for row in mine for name in row["contestants"]))
        lines += ["", f"### {op}", ""]
        if mine:
            lines += table(["case", "type", "ours, GB/s", *names], (
                [row["race"], row["type"], f"{row['ours_gb_s']:.0f}" if "ours_gb_s" in row else "-",
                 *(cell(row["contestants"].get(name)) for name in names)]
                for row in mine
            ))  # fmt: skip
        lines += [f"- {row.get('race', '')} {row.get('type', '')}: {row.get('why', '')}" for row in others]
    return lines


def cell(entry: Mapping[str, Any] | None) -> str:
    if entry is None:
        return "-"
    if "median_us" not in entry:
        return str(entry.get("why", "failed"))[:60].replace("|", "/").replace("\n", " ")
    ratio = f" ({entry['ratio']:.2f})" if "ratio" in entry else ""
    wrong = "" if entry.get("agrees", True) else " differs"
    return f"{entry['median_us']:.1f}{ratio}{wrong}"
