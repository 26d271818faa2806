"""What TensorRT-RTX makes of int8: kernels, fused attention and bytes moved of each family, beside fp16, by the X-ray.

    python benchmarks/int8_kernels.py [--model smt_tiny ...] [--arch sm89]

    fp16                 the order of passes of fp16, typed
    int8, usual form     the same order, one scale a channel inside the product: what most tools write
    int8, scales behind  the same order, scales behind the product (exporter/precision/scales_behind.py)
    int8                 what an export writes: the order for quantised graphs, scales behind
    int8, linears only   as before, convolutions left in fp16

Full size, 224 x 224, batch 1, built without a GPU: launches and bytes, not latency ([hardware](../docs/hardware.md)). Weights and the
four calibration inputs are random: no figure here says anything about accuracy, and none depends on the weights but
``overflow``: the sites that store more than 65504 in fp16 on such an input (a sum of codes, in the usual form).
Writes int8_kernels.json and int8_kernels.md beside this file.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import onnx_ir as ir

from edgesmith.calibration.nouns import QuantisedGraph, Recipe
from edgesmith.calibration.pictures.images import open_data
from edgesmith.calibration.quantise import quantise
from edgesmith.calibration.sites.observed import tensors_for
from edgesmith.calibration.sites.placement import float_convolutions
from edgesmith.calibration.sites.sites import find_sites
from edgesmith.calibration.statistics.collect import collect
from edgesmith.exporter.engine.audit import Audit, audit
from edgesmith.exporter.engine.rtx import build_rtx
from edgesmith.exporter.engine.xray import XRay, read_engine
from edgesmith.exporter.patterns import order_for
from edgesmith.exporter.patterns.rewrite import rewrite
from edgesmith.exporter.precision import casts as precision
from edgesmith.exporter.precision.scales_behind import scales_behind
from edgesmith.exporter.run.nouns import ExportedGraph, Shapes
from edgesmith.exporter.trace.trace import trace
from edgesmith.graph.read import nodes_by_name
from edgesmith.graph.run import run_values
from edgesmith.models import create
from edgesmith.models.registry import families, find

OUT = Path(__file__).with_suffix("")
LARGEST = 65504
HEAD = ("model", "form", "kernels", "fused attention", "int8 sites", "MACs", "moved MB", "activations MB", "constants MB",
        "engine MB", "overflow")  # fmt: skip


def engine(model: ir.Model, arch: str, behind: bool = True) -> XRay:
    """X-ray of the fp16 engine of a float32 graph, Q/DQ allowed; ``behind=False`` leaves scales inside the products."""
    with mock.patch.object(precision, "scales_behind", precision.scales_behind if behind else lambda *_: 0):
        typed = precision.to_precision(model, "fp16", engine="tensorrt_rtx").model
    return read_engine(build_rtx(typed, arch).data)


def int8(exported: ExportedGraph, order: str, linears_only: bool = False) -> QuantisedGraph:
    """The rewritten graph, quantised with our defaults on four random inputs."""
    model = rewrite(exported, order).model
    images = open_data("random", find(exported.name).contract, count=4).calibration
    sites = find_sites(model, {exported.input_name: next(images.batches(1))})
    recipe = Recipe(keep=float_convolutions(sites) if linears_only else {})
    with tempfile.TemporaryDirectory() as cache:
        statistics = collect(model, tensors_for("qdq", sites, model), images, cache=Path(cache), batch=1)
    return quantise(model, statistics, recipe, sites)


def quantised_nodes(graph: QuantisedGraph) -> list[str]:
    return [site.node for site in graph.sites if graph.decisions[site.node].quantise]


def overflowing(name: str, graph: QuantisedGraph, behind: bool) -> int:
    """Products whose result, as the engine stores it in fp16 on a random input, is more than fp16 holds.

    With the scales inside, a MatMul stores its sum of codes (a convolution does so in float32, and is not counted).
    """
    model, names = graph.model.clone(), quantised_nodes(graph)
    if behind:
        scales_behind(model, ("MatMul", "Conv"))
    nodes = nodes_by_name(model)
    names = [site for site in names if behind or nodes[site].op_type == "MatMul"]
    images = next(open_data("random", find(name).contract, count=1).calibration.batches(1))
    values = run_values(model, {"images": images}, [str(nodes[site].outputs[0].name) for site in names])
    count = 0
    for site in names:
        stored = values[str(nodes[site].outputs[0].name)]
        if not behind:
            stored = stored / (graph.scales.activations[site].scale * graph.scales.weights[site].scale.ravel())
        count += bool(np.abs(stored).max() > LARGEST)
    return count


def rows_of(name: str, arch: str) -> list[dict[str, Any]]:
    """All rows of one model."""
    import torch

    torch.set_num_threads(1)
    exported = trace(create(name, weights="random"), Shapes.fixed(1, 3, 224, 224), name=name)
    float16 = engine(rewrite(exported, "rtx").model, arch)
    rows = [row(name, "fp16", audit(float16, float16), None)]
    usual, ours = int8(exported, "rtx"), int8(exported, order_for("rtx", "int8"))
    linears = int8(exported, order_for("rtx", "int8"), linears_only=True)
    for form, graph, behind in (
        ("int8, usual form", usual, False), ("int8, scales behind", usual, True), ("int8", ours, True),
        ("int8, linears only", linears, True),
    ):  # fmt: skip
        nodes = quantised_nodes(graph)
        if form == "int8, linears only" and (not nodes or nodes == quantised_nodes(ours)):
            continue
        found = audit(engine(graph.model, arch, behind), float16, nodes)
        rows.append(row(name, form, found, graph, overflow=overflowing(name, graph, behind)))
        print(line(rows[-1]), flush=True)
    return rows


def row(name: str, form: str, found: Audit, graph: QuantisedGraph | None, overflow: int = 0) -> dict[str, Any]:
    data = {"model": name, "form": form, **found.to_json()}
    return {**data, "share": round(graph.share, 4) if graph else 0.0, "overflow": overflow}


def line(data: dict[str, Any]) -> str:
    """One row of the table."""
    seen, sites = data["quantised"], data["sites"]
    cells = [data["model"], data["form"], str(seen["kernels"]), str(seen["fused_attention"])]
    cells += [
        f"{data['sites_on_integer_kernels']} of {sites}" if sites else "",
        f"{data['share']:.1%}" if sites else "",
    ]
    cells += [
        f"{seen[key] / 1e6:.1f}" for key in ("moved_bytes", "device_memory_bytes", "constant_bytes", "engine_bytes")
    ]
    return "| " + " | ".join([*cells, f"{data['overflow']} of {sites}" if sites else ""]) + " |"


def write(rows: list[dict[str, Any]], command: str, arch: str) -> None:
    packages = {name: version(name) for name in ("tensorrt-rtx", "onnxruntime", "torch")}
    run = {"date": date.today().isoformat(), "command": command, "arch": arch, **packages}
    OUT.with_suffix(".json").write_text(json.dumps({"run": run, "rows": rows}, indent=1) + "\n")
    text = [
        "# int8 on TensorRT-RTX: kernels, attention and bytes",
        "",
        "How to read it: the head of [int8_kernels.py](int8_kernels.py). Engines are built without a GPU: launches and bytes",
        "moved by all kernels, not latency ([hardware](../docs/hardware.md)).",
        "",
        f"- `{command}`, {run['date']}, {arch}, " + ", ".join(f"{name} {number}" for name, number in packages.items()),
        "",
        f"| {' | '.join(HEAD)} |",
        "|" + "---|" * len(HEAD),
        *(line(data) for data in rows),
        "",
        "The verdicts of the audit, form `int8`:",
        "",
        *(f"- {data['model']}: {data['verdict']}" for data in rows if data["form"] == "int8"),
    ]
    OUT.with_suffix(".md").write_text("\n".join(text) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs="+", default=list(families("classification").values()), metavar="NAME")
    parser.add_argument("--arch", default="sm89")
    parser.add_argument("--dry-run", action="store_true", help="print the table, write no file")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for name in options.model:
        rows += rows_of(find(name).name, options.arch)
    if not options.dry_run:
        write(rows, " ".join(["python benchmarks/int8_kernels.py", *sys.argv[1:]]), options.arch)


if __name__ == "__main__":
    main()
