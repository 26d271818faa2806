"""What the rewrites bring DAMO-YOLO: nodes and kernels of all seven variants, time of two, and what did not earn its place.

    python benchmarks/detector_rewrites.py [--rounds 25] [--kernels-only | --times-only]

    plain         what the dynamo exporter wrote
    pipeline      all passes that ORDER has for the target
    alone P, without P, with P      as in rewrites.py: only P; the pipeline without it; the pipeline and P, left out there
    pairs merged  the pipeline, and the pairs of 1x1 convolutions in front of each neck stage as one with a Split behind it

Kernels, device memory and bytes moved: TensorRT-RTX, fp16, sm89, built without a GPU and not run. ``cpu`` (ONNX Runtime) and
``openvino`` (float32 forced): CPU time of one thread, all forms in turns, ratios to ``plain``. ``parts`` cuts out what one
pass changes and times it alone, where the whole network would hide it. Weights are random. Writes detector_rewrites.json
and detector_rewrites.md; what was not measured this time is kept.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.utils
import onnx_ir as ir
from rewrites import TARGETS, forms, run_times

from edgesmith.exporter.engine.rtx import build_rtx
from edgesmith.exporter.engine.xray import read_engine
from edgesmith.exporter.patterns.cleanup.tidy import CleanUp
from edgesmith.exporter.patterns.convolutions.chain_pools import ChainPools
from edgesmith.exporter.patterns.convolutions.focus_convolution import FocusConvolution
from edgesmith.exporter.patterns.matchers.layers import Convolution, convolution
from edgesmith.exporter.patterns.rewrite import rewrite
from edgesmith.exporter.precision.casts import to_precision
from edgesmith.exporter.run.nouns import ExportedGraph, Shapes
from edgesmith.exporter.trace.trace import trace
from edgesmith.graph.edit import clone, insert, insert_node, replace_value, shared_constant, sweep
from edgesmith.graph.read import attribute, only_consumer, sizes
from edgesmith.models import create
from edgesmith.models.registry import find
from edgesmith.runtime.session.benchmark import machine
from edgesmith.runtime.tasks.detection.task import DetectionTask

OUT = Path(__file__).with_suffix("")
VARIANTS = ("tiny", "small", "medium", "large", "nano_small", "nano_medium", "nano_large")
TIMED = ("tiny", "nano_small")
Rows = list[dict[str, Any]]


def traced(variant: str) -> ExportedGraph:
    """The training form with random weights at the size of the authors, as an export traces it."""
    name = f"damo_yolo_{variant}"
    height, width = find(name).contract.size
    shapes = Shapes.fixed(1, 3, height, width)
    return trace(create(name, weights="random"), shapes, name=name, outputs=DetectionTask.outputs)


def kernels(model: ir.Model) -> dict[str, Any]:
    """What one inference of the fp16 engine for sm89 launches, holds and moves."""
    xray = read_engine(build_rtx(to_precision(model, "fp16").model, "sm89").data)
    memory, moved = (round(size / 1e6, 1) for size in (xray.device_memory_bytes, xray.moved_bytes))
    return {"kernels": xray.kernels, "memory_mb": memory, "moved_mb": moved}


def kernel_rows(variant: str, exported: ExportedGraph) -> Rows:
    """Plain and pipeline of every variant; for the timed ones every pass alone, left out and added too."""
    found = forms(exported, "rtx")
    if variant in TIMED:
        found["pairs merged"] = merge_pairs(found["pipeline"])
    else:
        found = {name: found[name] for name in ("plain", "pipeline")}
    rows = []
    for form, model in found.items():
        rows.append({"model": variant, "target": "rtx", "form": form, "nodes": len(model.graph), **kernels(model)})
        print(rows[-1], flush=True)
    return rows


def time_rows(variant: str, exported: ExportedGraph, target: str, rounds: int) -> Rows:
    """CPU time of the whole network in every form."""
    found = forms(exported, TARGETS[target])
    found["pairs merged"] = merge_pairs(found["pipeline"])
    times = run_times(found, exported.shapes.opt, target, rounds)
    rows = [
        {"model": variant, "target": target, "form": form, "nodes": len(found[form].graph), **times[form]}
        for form in found
    ]
    for row in rows:
        print(row, flush=True)
    return rows


def part_rows(variant: str, exported: ExportedGraph, target: str, rounds: int) -> Rows:
    """CPU time of what a pass changes, cut out of the network, before and after."""
    rows = []
    for name, (before, after) in parts(
        rewrite(exported, TARGETS[target], skip=["FocusConvolution", "ChainPools", "UpsampleLate"]).model
    ).items():
        shape = tuple(sizes(before.graph.inputs[0]) or ())
        times = run_times({"plain": before, name: after}, shape, target, rounds)  # type: ignore[arg-type]
        rows.append(
            {"model": variant, "target": target, "form": f"part: {name}", "nodes": len(after.graph), **times[name]}
        )
        print(rows[-1], flush=True)
    return rows


def parts(model: ir.Model) -> dict[str, tuple[ir.Model, ir.Model]]:
    """The stem, the pooling and each pair of the neck, as exported and as rewritten."""
    found = {}
    pool = next(node for node in model.graph if node.op_type == "MaxPool")
    join = next(usage.node for usage in pool.outputs[0].uses() if usage.node.op_type == "Concat")
    behind = next(iter(join.outputs[0].uses())).node
    found["pools and the convolution behind"] = _cut(model, pool.inputs[0], [behind.outputs[0]], ChainPools().run)
    first = next(node for node in model.graph if node.op_type == "Conv")
    if first.inputs[0].producer() is not None:  # a Focus stem: the nano variants have none
        found["stem"] = _cut(model, model.graph.inputs[0], [first.outputs[0]], FocusConvolution().run)
    for number, (one, two) in enumerate(pairs(model), 1):
        ends = [_activated(one.y)[0], _activated(two.y)[0]]
        height = (sizes(one.y) or (0,) * 4)[2]
        found[f"neck pair {number}, {height} rows"] = _cut(model, one.x, ends, _merge_pairs_of)
    return found


def _cut(model: ir.Model, start: ir.Value | None, ends: list[ir.Value], change: Any) -> tuple[ir.Model, ir.Model]:
    proto = onnx.shape_inference.infer_shapes(ir.to_proto(model))
    names = [value.name or "" for value in ends]
    part = onnx.utils.Extractor(proto).extract_model([start.name or "" if start else ""], names)
    before, after = ir.from_proto(part), ir.from_proto(part)
    change(after)
    CleanUp().run(after)
    return before, after


def pairs(model: ir.Model) -> list[tuple[Convolution, Convolution]]:
    """Two 1x1 convolutions on one map: in front of each neck stage, and of each CSP stage."""
    found = defaultdict(list)
    for node in model.graph:
        layer = convolution(node)
        if layer is not None and layer.groups == 1 and set(layer.weight.shape[2:]) == {1}:
            found[layer.x].append(layer)
    return [(one, two) for one, two in (twins for twins in found.values() if len(twins) == 2) if _alike(one, two)]


def _alike(one: Convolution, two: Convolution) -> bool:
    strides = [tuple(attribute(layer.node, "strides", (1, 1))) for layer in (one, two)]
    kinds = [_activated(layer.y)[1] for layer in (one, two)]
    return strides[0] == strides[1] and kinds[0] == kinds[1] != ""


def _activated(y: ir.Value) -> tuple[ir.Value, str]:
    """What Relu or SiLU makes of ``y``, and which of both; ``y`` itself and nothing without one."""
    readers = {usage.node.op_type: usage.node for usage in y.uses()}
    if set(readers) == {"Relu"}:
        return readers["Relu"].outputs[0], "Relu"
    if set(readers) == {"Sigmoid", "Mul"} and only_consumer(readers["Sigmoid"].outputs[0]) is readers["Mul"]:
        return readers["Mul"].outputs[0], "SiLU"
    return y, ""


def merge_pairs(model: ir.Model) -> ir.Model:
    """A copy in which each pair is one convolution with its activation, and a Split behind it."""
    merged = clone(model)
    _merge_pairs_of(merged)
    CleanUp().run(merged)
    return merged


def _merge_pairs_of(model: ir.Model) -> None:
    for one, two in pairs(model):
        (first, kind), (second, _) = _activated(one.y), _activated(two.y)
        weight = np.concatenate([one.weight, two.weight]).astype(np.float32)
        bias = np.concatenate([one.bias, two.bias]).astype(np.float32)
        shape = [*(sizes(one.y) or (None,) * 4)]
        shape[1] = len(weight)
        inputs = [one.x, shared_constant(model, "pair", weight), shared_constant(model, "pair_bias", bias)]
        y = insert(one.node, "Conv", inputs, shape=shape, strides=list(attribute(one.node, "strides", (1, 1))))
        if kind == "Relu":
            y = insert(one.node, "Relu", [y], shape=shape)
        else:
            y = insert(one.node, "Mul", [y, insert(one.node, "Sigmoid", [y], shape=shape)], shape=shape)
        widths = shared_constant(model, "pair_widths", np.array([len(one.weight), len(two.weight)], np.int64))
        cut = insert_node(one.node, "Split", [y, widths], axis=1, outputs=2)
        for old, new in zip((first, second), cut.outputs, strict=True):
            new.shape = old.shape
            replace_value(old, new)
    sweep(model)
    model.graph.sort()


def line(row: dict[str, Any]) -> str:
    """One row of the table."""
    counted = [str(row.get(key, "")) for key in ("kernels", "memory_mb", "moved_mb")]
    timed = f"{row['ratio']:.3f} ({row['ratio_low']:.3f}-{row['ratio_high']:.3f})" if "ratio" in row else ""
    median = f"{row['median_ms']:.2f}" if "median_ms" in row else ""
    cells = [row["model"], row["target"], row["form"], str(row["nodes"]), *counted, median, timed]
    return "| " + " | ".join(cells) + " |"


def write(rows: Rows, command: str, rounds: int) -> None:
    """Both files; rows that were measured earlier stay, each with the run that it is of."""
    path = OUT.with_suffix(".json")
    old = json.loads(path.read_text()) if path.exists() else {"runs": [], "rows": []}
    packages = {name: version(name) for name in ("torch", "onnxruntime", "openvino", "tensorrt-rtx")}
    run = {"date": date.today().isoformat(), "command": command, "rounds": rounds, "machine": machine(), **packages}
    measured = {(row["model"], row["target"]) for row in rows}
    kept = [row for row in old["rows"] if (row["model"], row["target"]) not in measured]
    runs = [*old["runs"], run]
    kept += [{**row, "run": len(runs) - 1} for row in rows]
    used = sorted({row["run"] for row in kept})
    kept = [{**row, "run": used.index(row["run"])} for row in kept]
    kept.sort(key=lambda row: (list(TARGETS).index(row["target"]), VARIANTS.index(row["model"])))
    runs = [runs[number] for number in used]
    path.write_text(json.dumps({"runs": runs, "rows": kept}, indent=1) + "\n")
    OUT.with_suffix(".md").write_text("\n".join(_page(runs, kept)) + "\n")


def _page(runs: Rows, rows: Rows) -> list[str]:
    described = [
        f"- {', '.join(dict.fromkeys(row['model'] + ' ' + row['target'] for row in rows if row['run'] == number))}: "
        f"`{run['command']}`, {run['date']}, {run['rounds']} rounds, {run['machine']['cpu']}, {run['machine']['cores']} cores, "
        f"load {run['machine']['load']}, torch {run['torch']}, onnxruntime {run['onnxruntime']}, openvino {run['openvino']}, "
        f"tensorrt-rtx {run['tensorrt-rtx']}"
        for number, run in enumerate(runs)
    ]
    return [
        "# What the rewrites bring DAMO-YOLO, measured",
        "",
        "How to read it: the head of [detector_rewrites.py](detector_rewrites.py). Engines are built without a GPU: launches, not",
        "latency ([hardware](../docs/hardware.md)). A time beside a load above 1 was taken while other work ran.",
        "",
        *described,
        "",
        "| model | target | form | nodes | kernels fp16 sm89 | device MB | moved MB | CPU ms | time / plain |",
        "|" + "---|" * 9,
        *(line(row) for row in rows),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs="+", default=list(VARIANTS), choices=VARIANTS)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--kernels-only", action="store_true")
    parser.add_argument("--times-only", action="store_true")
    options = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    command = " ".join(["python benchmarks/detector_rewrites.py", *sys.argv[1:]])
    for variant in options.model:
        if options.times_only and variant not in TIMED:
            continue
        exported, rows = traced(variant), []
        if not options.times_only:
            rows += kernel_rows(variant, exported)
        for target in ("cpu", "openvino") if variant in TIMED and not options.kernels_only else ():
            rows += time_rows(variant, exported, target, options.rounds)
            rows += part_rows(variant, exported, target, options.rounds)
        write(rows, command, options.rounds)


if __name__ == "__main__":
    main()
