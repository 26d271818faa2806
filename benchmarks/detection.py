"""CPU latency of detectors in one run: PyTorch, torch.compile, the plain export on ONNX Runtime and OpenVINO, and ours.

    make bench-detection   or  python benchmarks/detection.py [--rounds 21] [--no-compile] [MODEL@SIZE ...]

All candidates of a model take turns (runtime/session/benchmark.py) on one thread, by the CPU time of the process; batch 1, one
photograph, seeded random weights that answer photographs with detections. The plain export is that of the deploy form, as
the authors' own converter makes it; "training form" is what a user has who knows of no other. Every candidate hands out
boxes and scores, before NMS. Ours are the bundles that ``edgesmith export`` writes, opened as the runtime opens them;
"OpenVINO default" is OpenVINO's own choice of precision, bf16 where the chip has it. int8 is calibrated on crops of the
packaged photographs, without a budget: random weights have no accuracy to hold (detection_accuracy.py measures that).

Below the latencies: suppression on the host, and the way from picture to boxes. Writes detection.json and detection.md
beside this file.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgesmith.exporter.commands.measure.peers import deploy_form, openvino_runner
from edgesmith.exporter.pipeline import export
from edgesmith.exporter.run.nouns import Shapes
from edgesmith.exporter.run.pictures import packaged_pictures
from edgesmith.exporter.run.runners import graph_runner, session_runner, torch_runner
from edgesmith.exporter.tasks.detection.bench import agreement, end_to_end
from edgesmith.exporter.trace.trace import trace
from edgesmith.models import find, prepare
from edgesmith.runtime.backends.load import load
from edgesmith.runtime.backends.openvino_library import openvino_core
from edgesmith.runtime.pictures.preprocess import preprocess, read_image
from edgesmith.runtime.session.benchmark import machine, measure
from edgesmith.runtime.tasks.detection.detection import DetectionRule, keep
from edgesmith.runtime.tasks.detection.task import DetectionTask

HERE = Path(__file__).parent
MODELS = ("damo_yolo_tiny@640", "damo_yolo_nano_small@416")
LIBRARIES = ("torch", "onnxruntime", "openvino", "numpy", "opencv-python-headless")
EAGER, TRAINING, COMPILED = "PyTorch eager, deploy form", "PyTorch eager, training form", "torch.compile, deploy form"
PLAIN_ORT, PLAIN_F32, PLAIN_OWN = "plain, ONNX Runtime", "plain, OpenVINO f32", "plain, OpenVINO default"
OURS_FP32, OURS_INT8 = "ours, cpu fp32", "ours, cpu int8"
OURS_F32, OURS_OWN = "ours, OpenVINO f32", "ours, OpenVINO default"
PAIRS = (
    (OURS_FP32, PLAIN_ORT),
    (OURS_F32, PLAIN_F32),
    (OURS_OWN, PLAIN_OWN),
    (OURS_INT8, OURS_FP32),
    (OURS_INT8, PLAIN_ORT),
)
BUNDLES = {  # row -> choices of edgesmith.export
    OURS_FP32: {"target": "cpu", "precision": "fp32"},
    OURS_INT8: {"target": "cpu", "precision": "int8"},
    OURS_F32: {"target": "openvino", "precision": "fp32"},
}  # fmt: skip
CROPS = 24  # pictures to calibrate with
KEPT = 20  # runs of the suppression
Answer = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Candidate:
    """``run`` is what is timed, with as little around the engine as it allows; ``answer`` is the same as one array."""

    run: Callable[[], Any]
    answer: Answer


def crops() -> list[np.ndarray]:
    """Parts of the packaged photographs, most of them half as high and wide; always the same."""
    rng, found = np.random.default_rng(0), []
    photographs = [read_image(picture.path) for picture in packaged_pictures()]
    for number in range(CROPS):
        image = photographs[number % len(photographs)]
        height, width = (side if number < len(photographs) else side // 2 for side in image.shape[:2])
        top, left = (int(rng.integers(0, full - part + 1)) for full, part in zip(image.shape, (height, width), strict=False))  # fmt: skip
        found.append(np.ascontiguousarray(image[top : top + height, left : left + width]))
    return found


def torch_candidate(module: Any, images: np.ndarray) -> Candidate:
    import torch

    tensor = torch.from_numpy(images)

    def run() -> Any:
        with torch.inference_mode():
            return module(tensor)

    return Candidate(run, torch_runner(module, outputs=DetectionTask.outputs))


def plain_candidates(module: Any, images: np.ndarray, folder: Path) -> dict[str, Candidate]:
    """The plain export of the deploy form, on both engines."""
    import onnx_ir
    import onnxruntime

    path = folder / "plain.onnx"
    model = trace(module, Shapes.fixed(*images.shape), name="plain", outputs=DetectionTask.outputs).model
    onnx_ir.save(model, path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    feeds = {session.get_inputs()[0].name: images}
    found = {PLAIN_ORT: Candidate(lambda: session.run(None, feeds), graph_runner(model, threads=1))}
    for row, precision in ((PLAIN_F32, "f32"), (PLAIN_OWN, None)):
        found[row] = openvino_candidate(path, images, precision)
    return found


def openvino_candidate(path: Path, images: np.ndarray, precision: str | None) -> Candidate:
    answer = openvino_runner(path, 1, precision)
    config: dict[str, Any] = {"INFERENCE_NUM_THREADS": 1, "PERFORMANCE_HINT": "LATENCY"}
    if precision:
        config["INFERENCE_PRECISION_HINT"] = precision
    request = openvino_core().compile_model(str(path), "CPU", config).create_infer_request()
    return Candidate(lambda: request.infer([images]), answer)


def our_candidates(
    name: str, size: int, images: np.ndarray, folder: Path
) -> tuple[dict[str, Candidate], dict[str, Any]]:
    """The bundles on the runtime, and what else there is to say of each: share in int8, picture to boxes."""
    found, told, feeds = {}, {}, {"images": images}
    for row, choices in BUNDLES.items():
        pictures: dict[str, Any] = {"data": crops(), "eval_images": 0} if choices["precision"] == "int8" else {}
        out = folder / (row.replace(", ", "-").replace(" ", "-") + ".edge")
        done = export(name, "random", image_size=size, out=out, check=False, **choices, **pictures)
        session = load(out, threads=1)
        found[row] = Candidate(lambda session=session: session.run(feeds), session_runner(session))
        told[row] = {"end_to_end": end_to_end(session)}
        if done.quantisation:
            told[row]["share"] = done.quantisation.get("share")
    found[OURS_OWN] = openvino_candidate(folder / "ours-OpenVINO-f32.edge" / "model.onnx", images, None)
    return found, told


def run_model(name: str, size: int, rounds: int, with_compile: bool, folder: Path) -> dict[str, Any]:
    """The rows of one model, the pairs, suppression on the host."""
    import torch

    spec = find(name)
    contract = spec.contract_for((size, size))
    images = preprocess([packaged_pictures()[0].path], contract)
    module = prepare(name, "random", None, size).module
    fair, _ = deploy_form(module)
    found = {EAGER: torch_candidate(fair, images), TRAINING: torch_candidate(module, images)}
    skipped = {}
    if with_compile:
        candidate = torch_candidate(torch.compile(fair), images)
        try:
            candidate.run()
            found[COMPILED] = candidate
        except Exception as error:  # noqa: BLE001 inductor raises whatever the compiler behind it did
            skipped[COMPILED] = f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')[:120]}"
    found |= plain_candidates(fair, images, folder)
    ours, told = our_candidates(name, size, images, folder)
    found |= ours
    timings = measure({row: one.run for row, one in found.items()}, rounds=rounds, warmup=2, clock="cpu")
    rule = DetectionRule("runtime", spec.score or 0.05, spec.iou or 0.7)
    judge = found[EAGER].answer(images)
    rows = []
    for row, timing in timings.items():
        facts = {"cpu_ms": timing.median_ms, "wall_ms": timing.wall_median_ms, "ratio": timing.time_ratio,
                 "low": timing.time_ratio_low, "high": timing.time_ratio_high}  # fmt: skip
        rows.append(
            {"row": row, **facts, **agreement(rule, judge, found[row].answer(images), False), **told.get(row, {})}
        )
    medians = {row: timing.median_ms for row, timing in timings.items()}
    pairs = [{"ours": a, "peer": b, "ratio": medians[a] / medians[b]} for a, b in PAIRS]
    return {
        "model": f"{name}@{size}",
        "rows": rows,
        "pairs": pairs,
        "skipped": skipped,
        "keep": suppression(judge[0], rule),
    }


def suppression(answer: np.ndarray, rule: DetectionRule) -> dict[str, Any]:
    """Median CPU time of threshold and NMS for one picture on this thread."""
    times = []
    for _ in range(KEPT):
        started = time.process_time_ns()
        kept = keep(answer, rule)
        times.append((time.process_time_ns() - started) / 1e6)
    above = int((answer[:, 4:] > rule.score).sum())
    return {"cpu_ms": float(np.median(times)), "cells": len(answer), "above": above, "kept": len(kept.scores)}


def written(report: dict[str, Any]) -> str:
    """The report as Markdown."""
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    facts = ", ".join(f"{key} {value}" for key, value in report["machine"].items())
    lines = ["# Detectors on the CPU", "", str(__doc__).strip(), "", f"{report['date']}; `{report['command']}`; {report['rounds']} rounds.",
             f"Machine: {facts}.", f"Versions: {versions}.", "", "## Ratios", "",
             "| model | " + " | ".join(f"{ours} / {peer}" for ours, peer in PAIRS) + " |", "|---" * (len(PAIRS) + 1) + "|"]  # fmt: skip
    lines += [f"| {one['model']} | " + " | ".join(f"{pair['ratio']:.2f}" for pair in one["pairs"]) + " |" for one in report["models"]]  # fmt: skip
    for one in report["models"]:
        lines += ["", f"## {one['model']}", "", "| candidate | CPU ms | wall ms | ratio to eager, deploy form (quartiles) | max abs score | boxes matched |", "|---|---|---|---|---|---|"]  # fmt: skip
        lines += [
            f"| {row['row']} | {row['cpu_ms']:.1f} | {row['wall_ms']:.1f} | {row['ratio']:.2f} ({row['low']:.2f} to {row['high']:.2f}) "
            f"| {row['max_abs']:.0e} | {row['matched']:.1%} |"
            for row in one["rows"]
        ]
        lines += [f"| {row} | not measured: {why} |" + " |" * 4 for row, why in one["skipped"].items()]
        kept = one["keep"]
        lines += ["", f"Threshold and NMS on the host: {kept['cpu_ms']:.2f} ms CPU for {kept['above']} candidates of {kept['cells']} cells, {kept['kept']} kept."]  # fmt: skip
        lines += [_line(row) for row in one["rows"] if row.get("end_to_end")]
    return "\n".join(lines) + "\n"


def _line(row: dict[str, Any]) -> str:
    """``ours, cpu fp32, picture to boxes: 40.1 ms (preprocess 2.1, infer 37.0, postprocess 1.0)``."""
    steps = row["end_to_end"]
    parts = ", ".join(f"{key.removesuffix('_ms')} {steps[key]:.1f}" for key in ("preprocess_ms", "infer_ms", "postprocess_ms"))  # fmt: skip
    share = f"; {row['share']:.1%} of the MACs in int8" if row.get("share") is not None else ""
    return (
        f"{row['row']}, picture to boxes: {steps['total_ms']:.1f} ms wall ({parts}), {steps['boxes']} boxes{share}.  "
    )


def main(words: Sequence[str] | None = None) -> None:
    import torch

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=list(MODELS), metavar="MODEL@SIZE")
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out: minutes a model")
    parser.add_argument("--out", type=Path, default=HERE, help="folder of detection.json and detection.md")
    arguments = parser.parse_args(words)
    torch.set_num_threads(1)
    models = []
    for asked in arguments.models:
        name, _, side = asked.partition("@")
        size = int(side or find(name).contract.size[0])
        with tempfile.TemporaryDirectory(prefix="edgesmith-") as folder:
            models.append(run_model(name, size, arguments.rounds, not arguments.no_compile, Path(folder)))
        print(json.dumps({**models[-1], "rows": {row["row"]: round(row["cpu_ms"], 2) for row in models[-1]["rows"]}}, indent=1), flush=True)  # fmt: skip
    report = {
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        "command": " ".join(["python benchmarks/detection.py", *(sys.argv[1:] if words is None else words)]),
        "rounds": arguments.rounds,
        "versions": {name: importlib.metadata.version(name) for name in LIBRARIES},
        "machine": machine(),
        "models": models,
    }
    (arguments.out / "detection.json").write_text(json.dumps(report, indent=1) + "\n")
    (arguments.out / "detection.md").write_text(written(report))


if __name__ == "__main__":
    main()
