"""manifest -> report.html: what was made, whether it holds, how fast it is, what was refused, what to do next.

    write_report(manifest, extras) -> one HTML page as text

Everything comes from the manifest; a part that a bundle does not have is left out. ``extras`` may add ``stages`` and
``notes``, and replace the commands of ``next``. Values are shown as they are: nothing is computed here but sums.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..ground.limits import INT8
from ..report.devices import devices
from ..report.graph import nodes, precision, rewrites, xray
from ..report.origin import contract, files, origin
from ..report.page import Html, bars, figure, join, mark, page, section, size, table, tag, text, tiles
from ..report.parts import Parts
from ..report.quantised import quantised
from ..report.words import number, percent, time_ratio_of
from ..tasks.known import task_of

Data = Mapping[str, Any]


def write_report(manifest: Data, extras: Data | None = None) -> str:
    """The report of a bundle; extras: ``stages``, ``notes`` (added) and ``next`` (commands, one a line)."""
    more = extras or {}
    stages = more.get("stages") or manifest.get("stages") or []
    notes = [*(manifest.get("notes") or []), *(more.get("notes") or [])]
    name, parts = str(manifest.get("name", "bundle")), task_of(str(manifest.get("task"))).report(manifest)
    return page(
        f"{name} - Edgesmith",
        tag("h1", name),
        tag("p", _subtitle(manifest), "soft"),
        tiles(_headline(manifest, parts)),
        section("Notes and limits", join(tag("p", note) for note in notes)),
        quantised(manifest.get("quantisation")),
        section("PyTorch and this bundle, side by side", parts.pictures),
        section("Accuracy", parts.accuracy),
        section("Stages", _stages(stages)),
        section("Parity" if manifest.get("judge") else "Parity with PyTorch", parts.parity),
        section("Speed", _speed(manifest.get("benchmark"), name, parts)),
        section("On devices", devices(manifest.get("device_benchmarks") or [])),
        section("Rewrites", rewrites(manifest.get("rewrite") or {})),
        section("Precision", precision(manifest.get("precision_report") or {})),
        section("Nodes before and after", nodes(manifest.get("rewrite") or {})),
        section("Engine X-ray", *(xray(engine) for engine in manifest.get("engines") or [])),
        section("Input and output", contract(manifest), parts.thresholds),
        section("Where it comes from", origin(manifest)),
        section("Files", files(manifest.get("files") or {})),
        section("Next", Html(tag("pre", "\n".join(more.get("next") or _next(name, parts))))),
    )


def _subtitle(manifest: Data) -> str:
    parts = (
        manifest.get("model"),
        f"target {manifest.get('target')}",
        manifest.get("gpu_arch"),
        manifest.get("precision"),
    )
    return " · ".join(str(part) for part in parts if part) + f" · edgesmith {manifest.get('edgesmith', '')}"


def _headline(manifest: Data, parts: Parts) -> list[tuple[Any, str]]:
    """The figures to see first, at most eight."""
    found: list[tuple[Any, str]] = []
    if rows := manifest.get("parity"):
        held = sum(bool(row.get("passed")) for row in rows)
        found.append((mark(held == len(rows), f"{held} of {len(rows)}"), "parity checks hold"))
        worst = max(
            (
                float(row["max_abs"])
                for row in rows
                if row.get("max_abs") == "inf" or isinstance(row.get("max_abs"), float)
            ),
            default=None,
        )
        found += [(f"{worst:.1e}", "largest difference")] if worst is not None else []
    found += parts.headline
    if told := manifest.get("quantisation"):
        found.append((percent(told.get("share")), f"of the MACs in {told.get('precision', INT8)}"))
        drop = (told.get("accuracy") or {}).get("drop") or {}
        if (points := number(drop.get("points"))) is not None:
            found.append((f"{points:+.2f}", f"points lost, {drop.get('n')} pictures"))
    rewrite = manifest.get("rewrite") or {}
    if rewrite.get("nodes_after"):
        counts = (sum((rewrite.get(key) or {}).values()) for key in ("nodes_before", "nodes_after"))
        found.append(("\u202f→\u202f".join(f"{count:,}" for count in counts), "nodes in the graph"))
    if (speed := manifest.get("benchmark")) and (row := _ours(speed.get("rows") or [])):
        found.append((f"{row['median_ms']:.4g} ms", f"median {CLOCKS.get(speed.get('clock'), '')}"))
        if (taken := time_ratio_of(row)) is not None:
            found.append((f"{taken[0]:.2f}", f"time ratio to {speed.get('baseline')}, lower is better"))
    for engine in (manifest.get("engines") or [])[:1]:
        ray = engine.get("xray") or {}
        if ray.get("kernels"):
            found.append((ray["kernels"], f"kernels, {ray.get('fused_attention', 0)} fused attention"))
    if "model.onnx" in (manifest.get("files") or {}):
        found.append((size(manifest["files"]["model.onnx"].get("bytes")), "model.onnx"))
    return found[:8]


def _stages(stages: Sequence[Data]) -> Html:
    rows = [
        (
            s.get("name"),
            f"{number(s.get('seconds')) or 0:.1f} s",
            size(s.get("size_bytes", s.get("bytes"))),
            s.get("detail", s.get("file")),
        )
        for s in stages
    ]
    if rows:
        rows.append(("all", f"{sum(number(s.get('seconds')) or 0 for s in stages):.1f} s", "", ""))
    return table(("stage", "time", "size", ""), rows, ("", "number", "number", "words"))


CLOCKS = {"wall": "wall time", "cpu": "CPU time"}


def _speed(benchmark: Data | None, name: str, told: Parts) -> Html:
    if not benchmark or not benchmark.get("rows"):
        return tag("p", f"Not measured yet: edgesmith bench {name}.edge", "soft")
    rows, clock = benchmark["rows"], CLOCKS.get(benchmark.get("clock", ""), str(benchmark.get("clock")))
    ours, matched = _ours(rows), any("matched" in row for row in rows)
    drawn = [(str(r["name"]), r["median_ms"], r["p90_ms"], f"{r['median_ms']:.4g} ms", r is ours) for r in rows]
    caption = f"Median {clock} in ms, the thin line ends at p90; shorter is better. {benchmark.get('rounds')} rounds in turns."
    lines = [
        (
            r["name"],
            *(figure(r.get(key), ".4g") for key in ("median_ms", "p90_ms", "p99_ms", "min_ms", "throughput_per_s")),
            "{:.2f} ({:.2f} to {:.2f})".format(*taken) if (taken := time_ratio_of(r)) is not None else "",
            size(r.get("peak_rss_bytes")),
            figure(r.get("max_abs"), ".1e"),
            *([figure(r.get("matched"), ".1%")] if matched else []),
        )
        for r in rows
    ]
    columns = (
        "",
        "median ms",
        "p90 ms",
        "p99 ms",
        "min ms",
        "per second",
        "time ratio (quartiles)",
        "peak memory",
        *(("max abs of scores", "boxes matched") if matched else ("max abs",)),
    )
    settings = {key: benchmark.get(key) for key in ("threads", "shape") if benchmark.get(key)}
    machine = ", ".join(
        f"{key} {text(value)}" for key, value in {**settings, **(benchmark.get("machine") or {})}.items()
    )
    base = f"Time ratio to {benchmark.get('baseline')}, within each round, lower is better. Peak memory is that of the process."
    parts = [
        bars(drawn, caption),
        table(columns, lines, ("", *["number"] * (len(columns) - 1))),
        tag("p", f"{base} {machine}", "soft"),
    ]
    parts += told.end_to_end
    parts += [tag("p", f"Not measured: {peer}, {why}") for peer, why in (benchmark.get("skipped") or {}).items()]
    return join(parts)


def _ours(rows: Sequence[Data]) -> Data | None:
    return next((row for row in rows if str(row.get("name", "")).lower().startswith("edgesmith")), None)


def _next(name: str, parts: Parts) -> list[str]:
    run = f"edgesmith run {name}.edge {parts.run_on}" + parts.run_options
    return [run, f"edgesmith bench {name}.edge", f"edgesmith inspect {name}.edge"]
