"""The part of the report that looks inside the graph: rewrites and refusals, precision, node types, the engine's kernels."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from ..ground.words import NOT_ON_HARDWARE
from .page import Html, facts, figure, fold, join, signed, size, table, tag

Data = Mapping[str, Any]
ROUTES = {  # of fused ops to the engine
    "function": "The engine runs their bodies, which travel in the graph.",
    "inline": "They are written out in standard operators: this engine takes no plugins.",
    "aot": f"TensorRT takes the plugins of the kernel pack in the bundle, or the bodies in the graph; {NOT_ON_HARDWARE}.",
    "native": f"The C++ plugin computes them from the kernel pack in the bundle; {NOT_ON_HARDWARE}.",
}


def rewrites(rewrite: Data) -> Html:
    """What each pass did, and where it declined, grouped by reason."""
    passes = rewrite.get("passes") or []
    worked = [
        (p.get("name"), p.get("count"), len(p.get("refused") or []) or "")
        for p in passes
        if p.get("count") or p.get("refused")
    ]
    idle = [str(p.get("name")) for p in passes if not p.get("count") and not p.get("refused")]
    reasons: dict[tuple[str, str], list[str]] = defaultdict(list)
    for p in passes:
        for refusal in p.get("refused") or []:
            reasons[str(p.get("name")), str(refusal.get("why"))].append(str(refusal.get("node")))
    refused = [
        (name, why, len(nodes), ", ".join(nodes[:4]) + (" ..." if len(nodes) > 4 else ""))
        for (name, why), nodes in reasons.items()
    ]
    heading = f"{sum(map(len, reasons.values()))} refusals, with reasons"
    listed = table(("pass", "because", "nodes", "such as"), refused, ("", "words", "number", "code"))
    parts = [table(("pass", "applied", "refused"), worked, ("", "number", "number")), fold(heading, listed)]
    if idle:
        parts.append(tag("p", f"Found nothing to do: {', '.join(idle)}.", "soft"))
    if fused := rewrite.get("fused"):
        ops = ", ".join(f"{count} {op}" for op, count in (fused.get("ops") or {}).items())
        parts.append(tag("p", f"Fused ops: {ops}. {ROUTES.get(str(fused.get('route')), '')}"))
    if rewrite.get("skipped"):
        parts.append(tag("p", f"Left out on request: {', '.join(rewrite['skipped'])}."))
    for one in rewrite.get("left_out") or []:
        parts.append(tag("p", f"Left out: {one.get('name')}, {one.get('why')}."))
    return join(parts)


def precision(report: Data) -> Html:
    """The types of the graph, and the nodes that stayed in float32."""
    islands = report.get("islands") or []
    plain = {key.replace("_", " "): value for key, value in report.items() if isinstance(value, (int, float, str))}
    rows = [(island.get("node"), island.get("op"), island.get("why")) for island in islands]
    listed = table(("node", "type", "because"), rows, ("code", "", "words"))
    return join([facts(plain), fold(f"{len(islands)} nodes kept in float32, with reasons", listed)])


def nodes(rewrite: Data) -> Html:
    """Node types as exported and as shipped."""
    before, after = rewrite.get("nodes_before") or {}, rewrite.get("nodes_after") or {}
    if not before and not after:
        return Html("")
    names = sorted({*before, *after}, key=lambda op: (-max(before.get(op, 0), after.get(op, 0)), op))
    rows = [(op, before.get(op, 0), after.get(op, 0), signed(after.get(op, 0) - before.get(op, 0))) for op in names]
    totals = sum(before.values()), sum(after.values())
    rows.append(("all", *totals, signed(totals[1] - totals[0])))
    return table(("node type", "before", "after", "change"), rows, ("", "number", "number", "number"))


def xray(engine: Data) -> Html:
    """What one engine launches and holds, as far as it could be read."""
    ray = engine.get("xray") or {}
    told = {
        "engine": f"{engine.get('file', '')}, {engine.get('builder', '')} {engine.get('version', '')}, {engine.get('arch', '')}",
        "kernels": ray.get("kernels"),
        "fused attention blocks": ray.get("fused_attention"),
        "activations": size(ray.get("device_memory_bytes")),
        "constants": size(ray.get("constant_bytes")),
        "engine file": size(ray.get("engine_bytes")),
        "steps that could be read": figure(ray.get("recognised"), ".1%"),
        "remarks": "; ".join(ray.get("notes") or []),
    }
    attention = [(a.get("kernel"), ", ".join(a.get("layers") or [])) for a in ray.get("attention") or []]
    return join(
        [
            facts(told),
            table(("kernels by kind and operands", "count"), (ray.get("counts") or {}).items(), ("", "number")),
            fold("fused attention, kernel by kernel", table(("kernel", "layers inside"), attention, ("code", "code"))),
        ]
    )
