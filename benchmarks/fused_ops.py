"""What fused ops change that can be seen without a GPU: nodes, size of the fp16 file, and the price of their bodies.

    python benchmarks/fused_ops.py      writes benchmarks/fused_ops.{json,md}; about five minutes

"plain" is the default export for TensorRT, "fused" the one of ``--plugins all``. A fused node is one launch (one plugin, one
kernel). Kernels are read from engines that TensorRT-RTX builds for sm89. It takes no plugins, so the fused graph is built
twice: with the bodies in place of the plugins, and cut at every fused node (its inputs leave the graph, its output comes
in), which is what stays around the plugins; a plugin cuts fusions in the same places. Nothing was run on a GPU.
"""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import onnx_ir as ir

from edgesmith.exporter.engine.fused_ops import fused_ops, lower
from edgesmith.exporter.engine.rtx import build_rtx
from edgesmith.exporter.engine.xray import read_engine
from edgesmith.exporter.patterns.rewrite import rewrite
from edgesmith.exporter.precision.casts import to_precision
from edgesmith.exporter.run.nouns import Shapes
from edgesmith.exporter.trace.trace import trace
from edgesmith.graph.edit import clone
from edgesmith.models import create, find
from edgesmith.runtime.plugins.schema import DOMAIN

HERE = Path(__file__).parent
ARCH = "sm89"
MODELS = {
    "convit_tiny": ("GatedPositionalAttention",),
    "davit_tiny": ("WindowAttention", "ChannelGram", "ChannelApply"),
    "vit_ggem_tiny_patch16": ("GGeMPool",),
}


def measure(name: str, ops: tuple[str, ...]) -> dict[str, Any]:
    """One family: the graph without and with its fused ops."""
    sides = (1, 3, *find(name).contract.size)
    shapes = Shapes(sides, sides, sides)
    exported = trace(create(name), shapes, name=name)
    found: dict[str, Any] = {"model": name}
    for form, plugins in (("plain", ()), ("fused", ops)):
        model = rewrite(exported, "tensorrt", plugins=plugins).model
        typed = to_precision(model, "fp16", engine="tensorrt").model
        engine = read_engine(build_rtx(lower(typed, "inline").model, ARCH, shapes).data)
        found[form] = {
            "nodes": len(typed.graph),
            "fused": fused_ops(typed),
            "file_mb": len(ir.to_proto(typed).SerializeToString()) / 1e6,
            "kernels": engine.kernels,
            "fused_attention": engine.fused_attention,
        }
    cut = read_engine(build_rtx(around_plugins(typed), ARCH, shapes).data)
    plugins_launched = sum(found["fused"]["fused"].values())
    found["plugins"] = {"kernels": cut.kernels, "launches": cut.kernels + plugins_launched}
    return found


def around_plugins(model: ir.Model) -> ir.Model:
    """The graph without its fused nodes: what they read leaves it, what they write comes in."""
    model = clone(model)
    graph = model.graph
    for node in [node for node in graph if node.domain == DOMAIN]:
        for value in node.inputs:
            known = value is None or value.is_initializer() or value in graph.outputs or value in graph.inputs
            if not known and value.producer().domain != DOMAIN:
                graph.outputs.append(value)
        for index, value in enumerate(node.outputs):
            outside = ir.val(f"{node.name}_{index}", shape=value.shape, type=value.type)
            ir.convenience.replace_all_uses_with(value, outside)
            graph.inputs.append(outside)
        graph.remove(node, safe=True)
    unread = [value for value in graph.inputs if not value.uses() and value.name != "images"]
    for value in unread:  # from one fused node to the next
        graph.inputs.remove(value)
    return model


def table(rows: list[dict[str, Any]]) -> str:
    """The figures as Markdown."""
    lines = [
        "# Fused ops, without a GPU",
        "",
        f"`python benchmarks/fused_ops.py`, {date.today()}: batch 1, 224 x 224, fp16, random weights; engines of TensorRT-RTX for",
        f"{ARCH}. With plugins: what stays when the graph is cut at the fused nodes, plus one launch a node. With bodies: what a",
        "graph with fused ops costs where no plugin takes them. Launches are no latency: **no plugin has been run on hardware yet.**",
        "",
        "| model | fused nodes | nodes, plain -> fused | file, MB | launches: plain | with plugins | with bodies |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        plain, fused = row["plain"], row["fused"]
        ops = ", ".join(f"{count} {op}" for op, count in fused["fused"].items())
        lines.append(
            f"| {row['model']} | {ops} | {plain['nodes']} -> {fused['nodes']} | {plain['file_mb']:.1f} -> {fused['file_mb']:.1f} "
            f"| {plain['kernels']}, {plain['fused_attention']} fused attention | {row['plugins']['launches']} "
            f"| {fused['kernels']}, {fused['fused_attention']} fused attention |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure every family and write both files."""
    rows = []
    for name, ops in MODELS.items():
        rows.append(measure(name, ops))
        print(json.dumps(rows[-1]), flush=True)
    (HERE / "fused_ops.json").write_text(json.dumps({"date": str(date.today()), "rows": rows}, indent=1) + "\n")
    (HERE / "fused_ops.md").write_text(table(rows))


if __name__ == "__main__":
    main()
