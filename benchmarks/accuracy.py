"""Top-1 of the trained fixtures after every rewrite and at every precision, on 1000 held-out digits.

    python benchmarks/accuracy.py            prints the table and writes benchmarks/accuracy.{json,md}

Each fixture (models/fixtures/trained, `tools/train_small.py`) is traced with an open batch, rewritten for a target, typed, and
run on ONNX Runtime; 16-bit graphs run with every value rounded explicitly (exporter/precision/emulate.py), so the figure is the
graph's and not that of a device.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from edgesmith.exporter.bundle.parity import typed_runner
from edgesmith.exporter.patterns.rewrite import rewrite
from edgesmith.exporter.precision.casts import to_precision
from edgesmith.exporter.run.nouns import ExportedGraph, Shapes
from edgesmith.exporter.run.runners import graph_runner
from edgesmith.exporter.trace.trace import trace
from edgesmith.models import create, find
from edgesmith.models.fixtures.digits import digits
from edgesmith.models.fixtures.fixtures import TRAINED
from edgesmith.runtime.pictures.preprocess import preprocess

HERE = Path(__file__).parent
RUNS = (("cpu", "fp32"), ("rtx", "fp32"), ("rtx", "fp16"), ("rtx", "bf16"))
BATCH = 100


def traced(name: str) -> ExportedGraph:
    """The fixture as exported, batch 1 to 100 open."""
    height, width = find(name).contract.size
    module = create(name, weights=TRAINED / f"{name}.safetensors")
    return trace(module, Shapes((1, 3, height, width), (1, 3, height, width), (BATCH, 3, height, width)), name=name)


def correct(exported: ExportedGraph, target: str, precision: str) -> int:
    """How many of the 1000 held-out digits the graph for ``target`` at ``precision`` gets right."""
    graph = rewrite(exported, target).model
    typed = to_precision(graph, precision).model
    run = graph_runner(typed) if precision == "fp32" else typed_runner(typed)
    pictures, labels = digits("held_out")
    contract = find(exported.name).contract
    found = [run(preprocess(list(pictures[i : i + BATCH]), contract)) for i in range(0, len(pictures), BATCH)]
    return int((np.concatenate(found).argmax(axis=1) == labels).sum())


def main() -> None:
    recorded = json.loads((TRAINED / "accuracy.json").read_text())
    recorded = {name: record for name, record in recorded.items() if "accuracy" in record}  # classifiers
    rows: dict[str, dict[str, Any]] = {}
    for name, record in sorted(recorded.items()):
        exported = traced(name)
        rows[name] = {"PyTorch fp32": record["correct"]}
        rows[name] |= {f"{target} {precision}": correct(exported, target, precision) for target, precision in RUNS}
        print(name, rows[name], flush=True)
    columns = list(next(iter(rows.values())))
    lines = [
        "# Accuracy of the trained fixtures",
        "",
        "Correct of 1000 held-out MNIST digits, graph run on ONNX Runtime (16-bit: every value rounded explicitly).",
        "Command: `python benchmarks/accuracy.py`.",
        "",
        "| fixture | " + " | ".join(columns) + " |",
        "|---" * (len(columns) + 1) + "|",
        *(f"| {name} | " + " | ".join(str(row[column]) for column in columns) + " |" for name, row in rows.items()),
    ]
    (HERE / "accuracy.json").write_text(json.dumps(rows, indent=1) + "\n")
    (HERE / "accuracy.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
