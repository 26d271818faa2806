"""Does every rewrite earn its place? Each pass alone, in the pipeline and taken out of it, per target.

    python benchmarks/rewrites.py [--model smt_tiny ...] [--target rtx ...] [--rounds 9]

    plain         what the dynamo exporter wrote
    pipeline      all passes that ORDER has for the target
    alone P       only P (with the passes it needs first, and clean-up)
    without P     the pipeline, P left out
    with P        the pipeline and P, which ORDER has for other targets only

Targets: ``rtx`` builds a TensorRT-RTX engine in fp16 for sm89, without a GPU, and counts kernels, fused attention and device
memory by the X-ray (launch counts, not latency). ``cpu`` and ``openvino`` (float32 forced) and ``openvino-default`` (bf16
where the chip has it) run batch 1 on one thread, CPU time, all graphs of a model in turns; ratios are to ``plain``.
Weights are random: no figure here says anything about accuracy. Writes rewrites.json and rewrites.md beside this file;
rows of models and targets that were not asked for are kept.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from edgesmith.exporter.engine.rtx import build_rtx
from edgesmith.exporter.engine.xray import read_engine
from edgesmith.exporter.patterns import ORDER
from edgesmith.exporter.patterns.base import Pattern
from edgesmith.exporter.patterns.cleanup.tidy import CleanUp
from edgesmith.exporter.patterns.order import named, passes_for
from edgesmith.exporter.patterns.rewrite import rewrite
from edgesmith.exporter.precision.casts import to_precision
from edgesmith.exporter.run.nouns import ExportedGraph, Shapes
from edgesmith.exporter.trace.trace import trace
from edgesmith.graph.edit import clone
from edgesmith.models import create
from edgesmith.models.registry import families, find
from edgesmith.runtime.backends.openvino_library import openvino_core
from edgesmith.runtime.errors import EdgesmithError
from edgesmith.runtime.session.benchmark import machine, measure

OUT = Path(__file__).with_suffix("")
TARGETS = {"rtx": "rtx", "cpu": "cpu", "openvino": "openvino", "openvino-default": "openvino"}  # column -> key in ORDER
Forms = dict[str, ir.Model]


def forms(exported: ExportedGraph, target: str) -> Forms:
    """Every form of the graph for one target by name; passes that change nothing there are left out."""
    whole = rewrite(exported, target)
    found: Forms = {"plain": exported.model, "pipeline": whole.model}
    acting = {record.name for record in whole.passes if record.count} - {CleanUp.__name__}
    for step in dict.fromkeys(passes_for(target)):
        alone = _run(exported, _needed(step) + [step]) if step.__name__ in acting else None
        if alone is not None:
            found[f"alone {step.__name__}"] = alone
        if step.__name__ in acting:
            found[f"without {step.__name__}"] = rewrite(exported, target, skip=[step.__name__]).model
    for step in dict.fromkeys(step for step, targets in ORDER if target not in targets):
        model = _run(exported, [one for one, targets in ORDER if target in targets or one is step], only_if=step)
        if model is not None:
            found[f"with {step.__name__}"] = model
    return found


def _needed(step: type[Pattern]) -> list[type[Pattern]]:
    """The passes that ``step`` names as needed before it, theirs included, in order."""
    by_name = {one.__name__: one for one, _ in ORDER}
    needed: list[type[Pattern]] = []
    for name in named(step):
        if name in by_name:
            needed += [one for one in (*_needed(by_name[name]), by_name[name]) if one not in needed]
    return needed


def _run(exported: ExportedGraph, steps: list[type[Pattern]], only_if: type[Pattern] | None = None) -> ir.Model | None:
    """A copy after ``steps``, clean-up around them; None when the one that matters changed nothing."""
    model, counts = clone(exported.model), Counter[type[Pattern]]()
    for step in (CleanUp, *steps, CleanUp):
        counts[step] += step().run(model).count
    return model if counts[only_if or steps[-1]] else None


def count_kernels(model: ir.Model) -> dict[str, Any]:
    """Kernels, fused attention and device memory of the fp16 engine for sm89."""
    try:
        xray = read_engine(build_rtx(to_precision(model, "fp16").model, "sm89").data)
    except EdgesmithError as error:  # a form that does not build is a finding, not the end of the run
        return {"failed": f"{type(error).__name__}: {error}".splitlines()[0]}
    return {
        "kernels": xray.kernels,
        "fused_attention": xray.fused_attention,
        "device_memory_bytes": xray.device_memory_bytes,
    }


def run_times(models: Forms, shape: tuple[int, ...], column: str, rounds: int) -> dict[str, dict[str, Any]]:
    """CPU time of every form, in turns in this process, one thread."""
    images = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        calls: dict[str, Callable[[], Any]] = {}
        for number, (name, model) in enumerate(models.items()):
            path = Path(folder, f"{number}.onnx")
            ir.save(model, path)
            calls[name] = _onnxruntime(path, images) if column == "cpu" else _openvino(path, images, column)
        timings = measure(calls, rounds=rounds, warmup=2, clock="cpu")
    keys = ("median_ms", "time_ratio", "time_ratio_low", "time_ratio_high")
    return {
        name: {key.removeprefix("time_"): round(getattr(timing, key), 4) for key in keys}
        for name, timing in timings.items()
    }


def _onnxruntime(path: Path, images: np.ndarray) -> Callable[[], Any]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {session.get_inputs()[0].name: images})


def _openvino(path: Path, images: np.ndarray, column: str) -> Callable[[], Any]:
    options: dict[str, Any] = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1}
    if column == "openvino":
        options["INFERENCE_PRECISION_HINT"] = "f32"
    request = openvino_core().compile_model(str(path), "CPU", options).create_infer_request()
    return lambda: request.infer([images])


def rows_of(name: str, columns: list[str], rounds: int) -> list[dict[str, Any]]:
    """All rows of one model."""
    import torch

    torch.set_num_threads(1)
    height, width = find(name).contract.size
    shape = (1, 3, height, width)
    exported = trace(create(name, weights="random"), Shapes.fixed(*shape), name=name)
    rows = []
    for column in columns:
        models = forms(exported, TARGETS[column])
        times = run_times(models, shape, column, rounds) if column != "rtx" else {}
        for form, model in models.items():
            figures = times[form] if times else count_kernels(model)
            rows.append({"model": name, "target": column, "form": form, "nodes": len(model.graph), **figures})
            print(line(rows[-1]), flush=True)
    return rows


def line(row: dict[str, Any]) -> str:
    """One row of the table."""
    if "kernels" in row:
        figures = [str(row["kernels"]), str(row["fused_attention"]), f"{row['device_memory_bytes'] / 1e6:.1f}", ""]
    elif "failed" in row:
        figures = [row["failed"], "", "", ""]
    else:
        figures = ["", "", "", f"{row['ratio']:.3f} ({row['ratio_low']:.3f}-{row['ratio_high']:.3f})"]
    return "| " + " | ".join([row["model"], row["target"], row["form"], str(row["nodes"]), *figures]) + " |"


def write(rows: list[dict[str, Any]], command: str, rounds: int) -> None:
    """rewrites.json and rewrites.md; rows measured earlier for other models and targets stay, with the run they are of."""
    path = OUT.with_suffix(".json")
    old = json.loads(path.read_text()) if path.exists() else {"runs": [], "rows": []}
    measured = {(row["model"], row["target"]) for row in rows}
    packages = {name: version(name) for name in ("torch", "onnxruntime", "openvino", "tensorrt-rtx")}
    run = {"date": date.today().isoformat(), "command": command, "rounds": rounds, "machine": machine(), **packages}
    runs = [*old["runs"], run]
    kept = [row for row in old["rows"] if (row["model"], row["target"]) not in measured]
    kept = sorted([*kept, *({**row, "run": len(runs) - 1} for row in rows)], key=_place)
    used = sorted({row["run"] for row in kept})
    kept = [{**row, "run": used.index(row["run"])} for row in kept]
    runs = [runs[number] for number in used]
    path.write_text(json.dumps({"runs": runs, "rows": kept}, indent=1) + "\n")
    text = [
        "# What every rewrite brings, measured",
        "",
        "How to read it: the head of [rewrites.py](rewrites.py). Kernels are counted in engines built without a GPU: launches,",
        "not latency ([hardware](../docs/hardware.md)). CPU columns: one thread, CPU time, quartiles of the ratio in brackets.",
        "",
        *(f"- {_of_run(number, kept)}: {_described(run)}" for number, run in enumerate(runs)),
        "",
        "| model | target | form | nodes | kernels fp16 sm89 | fused attention | device MB | time / plain |",
        "|" + "---|" * 8,
        *(line(row) for row in kept),
    ]
    OUT.with_suffix(".md").write_text("\n".join(text) + "\n")


def _of_run(number: int, rows: list[dict[str, Any]]) -> str:
    return ", ".join(dict.fromkeys(f"{row['model']} {row['target']}" for row in rows if row["run"] == number))


def _described(run: dict[str, Any]) -> str:
    packages = ", ".join(f"{name} {run[name]}" for name in ("torch", "onnxruntime", "openvino", "tensorrt-rtx"))
    machine = f"{run['machine']['cpu']}, {run['machine']['cores']} cores, load {run['machine']['load']}"
    return f"`{run['command']}`, {run['date']}, {run['rounds']} rounds, {machine}, {packages}"


def _place(row: dict[str, Any]) -> tuple[int, int]:
    """Models in the order of the families, targets in ours; rows of one target keep theirs."""
    names = list(families("classification").values())
    return names.index(row["model"]) if row["model"] in names else len(names), list(TARGETS).index(row["target"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs="+", default=list(families("classification").values()), metavar="NAME")
    parser.add_argument("--target", nargs="+", default=list(TARGETS), choices=list(TARGETS))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--dry-run", action="store_true", help="print the table, write no file")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for name in options.model:
        rows += rows_of(find(name).name, options.target, options.rounds)
        if not options.dry_run:
            write(rows, " ".join(["python benchmarks/rewrites.py", *sys.argv[1:]]), options.rounds)


if __name__ == "__main__":
    main()
