"""Every family beside its peers on the CPU: our rewritten graph against the plain export, on the same engine.

    make bench          python benchmarks/families.py [--rounds 30] [family ...]

One thread, CPU time of the process, pairs measured in turns in one process (runtime/benchmark.py); seeded random weights,
batch 1, 3x224x224. The ratio is ours to the plain export of the same model on the same engine, with quartiles over the rounds;
eager is PyTorch on the same thread. Writes families.json and families.md beside this file.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from edgesmith.exporter import verify
from edgesmith.exporter.artifacts import ExportedGraph, Shapes
from edgesmith.exporter.rewrite import rewrite
from edgesmith.exporter.trace import trace
from edgesmith.models import create, find
from edgesmith.runtime.benchmark import machine, measure

HERE = Path(__file__).parent
FAMILIES = ("convit", "smt", "davit", "van", "vit_ggem")
Runner = Callable[[np.ndarray], Any]


def onnxruntime_runner(model: Any) -> Runner:
    return verify.graph_runner(model, threads=1)


def openvino_runner(model: Any, precision: str | None) -> Runner:
    """``precision`` "f32" forces float32; None is OpenVINO's own choice, bf16 where the CPU has AMX."""
    import onnx_ir
    import openvino

    config: dict[str, Any] = {"INFERENCE_NUM_THREADS": 1, "PERFORMANCE_HINT": "LATENCY"}
    if precision:
        config["INFERENCE_PRECISION_HINT"] = precision
    core = openvino.Core()
    proto = onnx_ir.to_proto(model).SerializeToString()
    request = core.compile_model(core.read_model(proto, b""), "CPU", config).create_infer_request()
    return lambda images: request.infer([images])[0]


ENGINES: dict[str, tuple[str, Callable[[Any], Runner]]] = {  # name -> (target of the rewrites, how to run a graph)
    "ONNX Runtime fp32": ("cpu", onnxruntime_runner),
    "OpenVINO fp32": ("openvino", partial(openvino_runner, precision="f32")),
    "OpenVINO default": ("openvino", partial(openvino_runner, precision=None)),
}


def bench_family(family: str, rounds: int) -> list[dict[str, Any]]:
    """One row an engine: medians of eager, plain and ours, the ratio, and how far ours is from eager."""
    name = find(family).name
    module = create(name)
    shape = (1, 3, *find(family).contract.size)
    images = verify.seeded(shape)
    eager = verify.torch_runner(module)
    judge = eager(images)
    exported = trace(module, Shapes.fixed(*shape), name=name)
    rows = []
    for engine, (target, runner) in ENGINES.items():
        plain, ours = runner(exported.model), runner(rewritten(exported, target))
        calls = {"plain": partial(plain, images), "ours": partial(ours, images), "eager": partial(eager, images)}
        times = measure(calls, rounds=rounds, warmup=5, clock="cpu")
        rows.append(
            {
                "model": name,
                "engine": engine,
                "eager_ms": times["eager"].median_ms,
                "plain_ms": times["plain"].median_ms,
                "ours_ms": times["ours"].median_ms,
                "ratio_to_plain": times["ours"].ratio,
                "quartiles": [times["ours"].ratio_low, times["ours"].ratio_high],
                "ratio_to_eager": times["ours"].median_ms / times["eager"].median_ms,
                "max_abs": float(np.abs(np.asarray(ours(images)) - judge).max()),
            }
        )
    return rows


def rewritten(exported: ExportedGraph, target: str) -> Any:
    return rewrite(exported, target).model


def as_table(rows: list[dict[str, Any]]) -> str:
    head = "| model | engine | eager ms | plain ms | ours ms | ours / plain | quartiles | ours / eager | max abs |"
    lines = [head, "|" + "---|" * head.count(" | ") + "---|"]
    for row in rows:
        low, high = row["quartiles"]
        lines.append(
            f"| {row['model']} | {row['engine']} | {row['eager_ms']:.1f} | {row['plain_ms']:.1f} | {row['ours_ms']:.1f} "
            f"| **{row['ratio_to_plain']:.2f}** | {low:.2f}-{high:.2f} | {row['ratio_to_eager']:.2f} | {row['max_abs']:.0e} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("families", nargs="*", default=FAMILIES)
    parser.add_argument("--rounds", type=int, default=30)
    asked = parser.parse_args()
    rows = []
    for family in asked.families:
        rows += bench_family(family, asked.rounds)
        print(as_table(rows[-len(ENGINES) :]), flush=True)
    facts = machine()
    (HERE / "families.json").write_text(json.dumps({"machine": facts, "rounds": asked.rounds, "rows": rows}, indent=1))
    told = ", ".join(f"{key} {value}" for key, value in facts.items())
    note = f"{(__doc__ or '').strip()}\n\nMachine: {told}; {asked.rounds} rounds.\n\n"
    (HERE / "families.md").write_text(f"# Families on the CPU\n\n{note}{as_table(rows)}\n")


if __name__ == "__main__":
    main()
