"""The CPU peers of one model in one process: PyTorch, the plain export, onnxslim, OpenVINO, and what we make of the graph.

    python benchmarks/cpu_peers.py [--rounds 15] [--compile] [model ...]

All candidates of a model take turns (runtime/session/benchmark.py), on one thread, by the CPU time of the process, so that a busy
machine is unfair to none; batch 1, 3x224x224, seeded random weights. "open" is the graph exported with a batch of 1 to 8,
run at batch 1; on OpenVINO it is set to the usual shape before it is compiled, as our runtime does. A ratio is a quotient
of two medians of the same run. Writes cpu_peers.json and cpu_peers.md beside this file.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from edgesmith.exporter.patterns.rewrite import rewrite
from edgesmith.exporter.run.nouns import ExportedGraph, Shapes
from edgesmith.exporter.trace.trace import trace
from edgesmith.models import create, families
from edgesmith.runtime.backends.openvino_library import openvino_core
from edgesmith.runtime.session.benchmark import machine, measure

HERE = Path(__file__).parent
LIBRARIES = ("torch", "timm", "onnxruntime", "openvino", "onnxslim")
SHAPE = (1, 3, 224, 224)
EAGER, COMPILED = "PyTorch eager", "torch.compile"
ORT, OV, OV_USUAL = "ONNX Runtime", "OpenVINO f32", "OpenVINO default"
PAIRS = (  # (ours, the peer it must not be slower than)
    (f"ours, {ORT}", f"plain, {ORT}"),
    (f"ours, {OV}", f"plain, {OV}"),
    (f"ours, {OV_USUAL}", f"plain, {OV_USUAL}"),
    (f"ours open, {ORT}", f"ours, {ORT}"),
    (f"ours open, {ORT}", f"plain open, {ORT}"),
    (f"ours open, {OV_USUAL}", f"ours, {OV_USUAL}"),
)
Runner = Callable[[], Any]


def candidates(name: str, images: np.ndarray, with_compile: bool) -> dict[str, Runner]:
    """Every way to run the model on ``images``, eager first."""
    import torch

    module = create(name)
    fixed = trace(module, Shapes.fixed(*SHAPE), name=name)
    opened = trace(module, Shapes(SHAPE, SHAPE, (8, *SHAPE[1:])), name=name)
    tensor = torch.from_numpy(images)
    found: dict[str, Runner] = {EAGER: lambda: _quietly(module, tensor)}
    if with_compile:
        compiled = torch.compile(module)
        found[COMPILED] = lambda: _quietly(compiled, tensor)
    found[f"plain, {ORT}"] = _onnxruntime(fixed.model, images)
    found[f"plain + onnxslim, {ORT}"] = _onnxruntime(_slim(fixed.model), images)
    found[f"ours, {ORT}"] = _onnxruntime(_ours(fixed, "cpu"), images)
    found[f"plain open, {ORT}"] = _onnxruntime(opened.model, images)
    found[f"ours open, {ORT}"] = _onnxruntime(_ours(opened, "cpu"), images)
    ours = _ours(fixed, "openvino")
    for label, precision in ((OV, "f32"), (OV_USUAL, None)):
        found[f"plain, {label}"] = _openvino(fixed.model, images, precision)
        found[f"ours, {label}"] = _openvino(ours, images, precision)
    found[f"ours open, {OV_USUAL}"] = _openvino(_ours(opened, "openvino"), images, None)
    return found


def _ours(exported: ExportedGraph, target: str) -> Any:
    return rewrite(exported, target).model


def _bytes(model: Any) -> bytes:
    import onnx_ir

    return model if isinstance(model, bytes) else onnx_ir.to_proto(model).SerializeToString()


def _slim(model: Any) -> bytes:
    import onnx
    import onnxslim

    return onnxslim.slim(onnx.load_model_from_string(_bytes(model))).SerializeToString()


def _quietly(module: Any, images: Any) -> Any:
    import torch

    with torch.inference_mode():
        return module(images)


def _onnxruntime(model: Any, images: np.ndarray) -> Runner:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(_bytes(model), options, providers=["CPUExecutionProvider"])
    feeds = {session.get_inputs()[0].name: images}
    return lambda: session.run(None, feeds)[0]


def _openvino(model: Any, images: np.ndarray, precision: str | None) -> Runner:
    """``precision`` "f32" forces float32; None is OpenVINO's own choice, bf16 where the CPU has avx512_bf16 or AMX."""
    config: dict[str, Any] = {"INFERENCE_NUM_THREADS": 1, "PERFORMANCE_HINT": "LATENCY"}
    if precision:
        config["INFERENCE_PRECISION_HINT"] = precision
    core = openvino_core()
    network = core.read_model(_bytes(model), b"")
    network.reshape(list(images.shape))
    request = core.compile_model(network, "CPU", config).create_infer_request()
    return lambda: request.infer([images])[0]


def run_model(name: str, rounds: int, with_compile: bool) -> dict[str, Any]:
    """The rows of one model: medians, ratios to eager and of the pairs, largest difference to eager."""
    images = np.random.default_rng(0).standard_normal(SHAPE, dtype=np.float32)
    found = candidates(name, images, with_compile)
    timings = measure(found, rounds=rounds, warmup=2, clock="cpu")
    judge = np.asarray(found[EAGER]())
    medians = {label: timing.median_ms for label, timing in timings.items()}
    peers = {label: ms for label, ms in medians.items() if not label.startswith("ours")}
    rows = [
        {
            "candidate": label,
            "cpu_ms": round(timing.median_ms, 2),
            "ratio_to_eager": round(timing.time_ratio, 3),
            "max_abs": float(np.abs(np.asarray(found[label]()) - judge).max()),
        }
        for label, timing in timings.items()
    ]
    pairs = [{"ours": ours, "peer": peer, "ratio": round(medians[ours] / medians[peer], 3)} for ours, peer in PAIRS]
    exact = {label: ms for label, ms in peers.items() if OV_USUAL not in label}
    goals = {
        "best_peer_f32": min(exact, key=exact.__getitem__),
        "ours_to_best_peer_f32": round(min(medians[f"ours, {ORT}"], medians[f"ours, {OV}"]) / min(exact.values()), 3),
        "best_peer": min(peers, key=peers.__getitem__),
        "ours_to_best_peer": round(medians[f"ours, {OV_USUAL}"] / min(peers.values()), 3),
    }
    return {"model": name, "rows": rows, "pairs": pairs, **goals}


def written(report: dict[str, Any]) -> str:
    """The report as Markdown."""
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    facts = ", ".join(f"{key} {value}" for key, value in report["machine"].items())
    lines = ["# CPU peers", "", str(__doc__).strip(), "", f"{report['date']}; `{report['command']}`; {report['rounds']} rounds.",
             f"Machine: {facts}.", f"Versions: {versions}.", "", "## Ours to the plain export, and an open batch at batch 1", "",
             "| model | " + " | ".join(f"{ours} / {peer}" for ours, peer in PAIRS) + " | to the best float32 peer | to the best peer |",
             "|---" * (len(PAIRS) + 3) + "|"]  # fmt: skip
    for model in report["models"]:
        cells = [f"{pair['ratio']:.2f}" for pair in model["pairs"]]
        best = f"{model['ours_to_best_peer_f32']:.2f} ({model['best_peer_f32']}) | {model['ours_to_best_peer']:.2f}"
        lines.append(f"| {model['model']} | {' | '.join(cells)} | {best} ({model['best_peer']}) |")
    labels = [row["candidate"] for row in report["models"][0]["rows"]]
    lines += ["", "## CPU milliseconds, ratio to PyTorch eager, largest difference to it", "",
              "| candidate | " + " | ".join(model["model"] for model in report["models"]) + " |",
              "|---" * (len(report["models"]) + 1) + "|"]  # fmt: skip
    for index, label in enumerate(labels):
        rows = [model["rows"][index] for model in report["models"]]
        cells = [f"{row['cpu_ms']:.1f} / {row['ratio_to_eager']:.2f} / {row['max_abs']:.0e}" for row in rows]
        lines.append(f"| {label} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    import torch

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=list(families("classification").values()))
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--compile", action="store_true", help="torch.compile too: about a minute a model")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    models = []
    for name in arguments.models:
        models.append(run_model(name, arguments.rounds, arguments.compile))
        print(json.dumps({key: value for key, value in models[-1].items() if key != "rows"}, indent=1), flush=True)
    report = {
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        "command": " ".join(["python benchmarks/cpu_peers.py", *sys.argv[1:]]),
        "rounds": arguments.rounds,
        "versions": {name: importlib.metadata.version(name) for name in LIBRARIES},
        "machine": machine(),
        "models": models,
    }
    (HERE / "cpu_peers.json").write_text(json.dumps(report, indent=1) + "\n")
    (HERE / "cpu_peers.md").write_text(written(report))


if __name__ == "__main__":
    main()
