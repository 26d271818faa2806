"""The figures of a run as Markdown: one table a fixture, one of latencies at full size, and who is best at what.

A peer is "best" only among rows that keep the answers: SQNR of at least ``KEEPS_DB``, below which trained models lose
(docs/quantisation.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

KEEPS_DB = 30.0
QUANTISED = 0.05  # share of MACs; ONNX Runtime's dynamic MatMul of a convolutional network quantises its head alone
Row = dict[str, Any]
ACCURACY = (
    "top-1 %",
    "agreement %",
    "SQNR dB",
    "MACs in int8",
    "file / fp32",
    "time ratio to fp32",
    "TensorRT-RTX",
    "kernels",
    "fused",
)
SPEED = ("MACs in int8", "file / fp32", "time ratio to fp32", "TensorRT-RTX")


def written(report: Mapping[str, Any], about: str) -> str:
    """The whole page."""
    facts = ", ".join(f"{key} {value}" for key, value in report["machine"].items())
    clock = f"{report['rounds']} rounds for the fixtures, {report['full_rounds']} at full size"
    lines = [
        "# INT8, side by side", "", about.strip(), "",
        f"{report['date']}; `{report['command']}`; {clock}, CPU time of one thread, time ratio (lower is better) with its quartiles in brackets.",
        f"Machine: {facts}.", *(f"{where}: {_versions(found)}." for where, found in report["versions"].items()),
    ]  # fmt: skip
    lines += ["", "## In short", "", *summary(report["models"])]
    for model in report["models"]:
        lines += ["", f"## {model['name']}", "", *(fixture(model) if model["kind"] == "fixture" else full(model))]
    return "\n".join(lines) + "\n"


def fixture(model: Mapping[str, Any]) -> list[str]:
    """The rows of a trained fixture."""
    return _table(ACCURACY, model["rows"], lambda row: [
        _number(row, "top1", ".1f"), _number(row, "agreement", ".1f"), _number(row, "sqnr_db", ".1f"),
        _number(row, "share", ".1%"), _number(row, "size_ratio", ".2f"), _spread(row), _parses(row),
        _number(row, "kernels", "d"), _number(row, "fused_attention", "d"),
    ]) + _footnotes(model["rows"])  # fmt: skip


def full(model: Mapping[str, Any]) -> list[str]:
    """The rows of a model of full size: no accuracy, since its weights are random."""
    return _table(SPEED, model["rows"], lambda row: [
        _number(row, "share", ".1%"), _number(row, "size_ratio", ".2f"), _spread(row), _parses(row),
    ]) + _footnotes(model["rows"])  # fmt: skip


def summary(models: Sequence[Mapping[str, Any]]) -> list[str]:
    """Ours beside the best peer, one line a model and discipline; computed, so that a lost one is seen too."""
    head = ["| model | on ONNX Runtime: ours, cpu | fastest peer of at least 30 dB | most accurate peer | parses in TensorRT-RTX: ours | most accurate peer |",
            "|---|---|---|---|---|---|"]  # fmt: skip
    lines = []
    for model in (one for one in models if one["kind"] == "fixture"):
        rows = {row["row"]: row for row in model["rows"]}
        peers = [row for row in model["rows"] if is_peer(row) and row.get("sqnr_db") is not None]
        cells = [_brief(rows.get("ours, cpu"), "ratio"), _brief(fastest(peers), "ratio"), _brief(most_accurate(peers), "ratio"),
                 _brief(rows.get("ours, rtx"), "kernels"), _brief(most_accurate([r for r in peers if r.get("parses")]), "kernels")]  # fmt: skip
        lines.append(f"| {model['name']} | " + " | ".join(cells) + " |")
    speeds = [
        "",
        "| model at full size | time ratio to plain fp32: ours, cpu | ours, portable | fastest peer |",
        "|---|---|---|---|",
    ]
    for model in (one for one in models if one["kind"] != "fixture"):
        rows = {row["row"]: row for row in model["rows"]}
        timed = [row for row in model["rows"] if is_peer(row) and "ratio" in row]
        best = min(timed, key=lambda row: float(row["ratio"]), default=None)
        cells = [_time(rows.get("ours, cpu")), _time(rows.get("ours, portable")), _time(best, named=True)]
        speeds.append(f"| {model['name']} | " + " | ".join(cells) + " |")
    return [*head, *lines, *speeds]


def is_peer(row: Row) -> bool:
    """Whether a file of another tool is in the row that is quantised for more than a few MACs."""
    return not row["row"].startswith(("ours", "plain")) and (row.get("share") or 0) >= QUANTISED


def fastest(rows: Sequence[Row]) -> Row | None:
    """The fastest of those that keep the answers."""
    timed = [row for row in rows if "ratio" in row and row["sqnr_db"] >= KEEPS_DB]
    return min(timed, key=lambda row: float(row["ratio"]), default=None)


def most_accurate(rows: Sequence[Row]) -> Row | None:
    """The one with the highest SQNR."""
    return max(rows, key=lambda row: float(row["sqnr_db"]), default=None)


def _brief(row: Row | None, key: str) -> str:
    if row is None or row.get("sqnr_db") is None:
        return "none"
    name = f"{row['row']}: " if is_peer(row) else ""
    last = f"time ratio {row['ratio']:.2f}" if key == "ratio" and "ratio" in row else ""
    last = f"{row[key]} kernels, {row['fused_attention']} fused" if key == "kernels" and key in row else last
    share = f" at {row['share']:.0%} of the MACs" if row.get("share") else ""
    return f"{name}{row['sqnr_db']:.1f} dB{share}, top-1 {row['top1']:.1f} %" + (f", {last}" if last else "")


def _time(row: Row | None, named: bool = False) -> str:
    if row is None or "ratio" not in row:
        return "none"
    if not row.get("share"):
        return "nothing quantised"
    return (f"{row['row']}: " if named else "") + f"{row['ratio']:.2f}"


def _table(columns: Sequence[str], rows: Sequence[Row], cells: Any) -> list[str]:
    lines = ["| file | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    return lines + [f"| {row['row']} | " + " | ".join(_failed(row, columns) or cells(row)) + " |" for row in rows]


def _failed(row: Row, columns: Sequence[str]) -> list[str]:
    """A peer that wrote no file: the row says how it failed."""
    if "size_ratio" in row:
        return []
    return [f"failed: {row['failed']}", *["-"] * (len(columns) - 1)]


def _number(row: Row, key: str, form: str) -> str:
    return format(row[key], form) if row.get(key) is not None else "-"


def _spread(row: Row) -> str:
    return f"{row['ratio']:.2f} ({row['low']:.2f} to {row['high']:.2f})" if "ratio" in row else "-"


def _parses(row: Row) -> str:
    if "parses" not in row:
        return "-"
    return ("yes" if "refusal" not in row else "parses, does not build") if row["parses"] else "no"


def _footnotes(rows: Sequence[Row]) -> list[str]:
    """What does not fit in a cell: refusals, files that do not load, whose fp16 it is."""
    notes = [f"- {row['row']}: TensorRT-RTX says {row['refusal']}" for row in rows if "refusal" in row]
    notes += [f"- {row['row']}: ONNX Runtime does not load it: {row['failed']}" for row in rows if "failed" in row and "size_ratio" in row]  # fmt: skip
    notes += [f"- {row['row']}: judged with {row['runs']}, not timed" for row in rows if row.get("runs", "").startswith("session")]  # fmt: skip
    cast = [row["row"] for row in rows if row.get("rest") == "fp16, cast by us"]
    notes += [f"- Float32 around the codes, cast to fp16 by us for the X-ray: {', '.join(cast)}"] if cast else []
    return ["", *notes] if notes else []


def _versions(found: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in found.items())
