"""``edgesmith run`` beside the ``predict`` of Ultralytics: the same network from the same ONNX file, the same pictures and video.

    python -m venv .venv-ultralytics && .venv-ultralytics/bin/pip install ultralytics onnxruntime
    python benchmarks/run_peer.py [--pictures 200] [--frames 200] [--rounds 3]

Ultralytics is AGPL-3.0: it is started as a program in an environment of its own, and nothing of it is imported or copied here. It
builds YOLO11n-cls with random weights from its own description, and writes the ONNX file; ``edgesmith export net.onnx`` makes our
bundle of that file. Both run it on ONNX Runtime. Sizes and kernels of preprocessing are the same: short side to 224, bilinear and
antialiased, centre crop.

    in series           one process each: pictures from their files one after the other, ``Session(path)`` against
                        ``predict(path)``. Overhead: wall time a picture less the engine's own, as each measures that itself
                        (``infer_ms``, ``speed["inference"]``); so decoding is in it, for both
    as commands         ``edgesmith run BUNDLE SOURCE --json-lines`` against ``predict(SOURCE, stream=True)``: wall and CPU time
                        a picture of the whole process, less that of one over 10 pictures

In turns, medians of the rounds. Writes run_peer.json and run_peer.md.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path
from typing import Any

from run_pipeline import FEW, timed, write_pictures, write_video

from edgesmith.runtime.session.benchmark import machine

HERE = Path(__file__).parent
PEER = HERE.parent / ".venv-ultralytics" / "bin" / "python"
OFFLINE = {"YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false", "YOLO_VERBOSE": "false"}
BUILD = """
import torch
from ultralytics import YOLO
torch.manual_seed(0)
YOLO("yolo11n-cls.yaml").export(format="onnx", imgsz=224, opset=17, simplify=False, device="cpu")
"""
SERIES = """
import json, statistics, sys, time
from pathlib import Path
files = [str(path) for path in sorted(Path(sys.argv[2]).iterdir())]
{opened}
for path in files[:5]:
    {call}
wall, engine = [], []
for path in files:
    begun = time.perf_counter()
    answer = {call}
    wall.append((time.perf_counter() - begun) * 1e3)
    engine.append({engine})
over = [whole - part for whole, part in zip(wall, engine)]
print(json.dumps({{"wall_ms": statistics.median(wall), "engine_ms": statistics.median(engine), "over_ms": statistics.median(over)}}))
"""
OURS = {
    "opened": "import edgesmith\nsession = edgesmith.load(sys.argv[1])",
    "call": "session(path)",
    "engine": "answer.infer_ms",
}
THEIRS = {
    "opened": "from ultralytics import YOLO\nmodel = YOLO(sys.argv[1], task='classify')",
    "call": "model.predict(path, imgsz=224, device='cpu', verbose=False)[0]",
    "engine": "answer.speed['inference']",
}
STREAM = """
import itertools, sys
from ultralytics import YOLO
found = YOLO(sys.argv[1], task="classify").predict(sys.argv[2], imgsz=224, device="cpu", verbose=False, stream=True)
for result in itertools.islice(found, int(sys.argv[3])):
    print(result.probs.top1)
"""


def series(python: Path, words: dict[str, str], net: Path, pictures: Path) -> dict[str, float]:
    done = subprocess.run(
        [str(python), "-c", SERIES.format(**words), str(net), str(pictures)],
        check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    told: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return told


def made(work: Path) -> tuple[Path, Path]:
    """Their file, and our bundle of it."""
    subprocess.run([str(PEER), "-c", BUILD], check=True, cwd=work, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    net, bundle = work / "yolo11n-cls.onnx", work / "net.edge"
    words = ["--mean", "0,0,0", "--std", "1,1,1", "--resize", "bilinear", "--crop", "1", "--out", str(bundle)]
    subprocess.run(
        [sys.executable, "-m", "edgesmith", "export", str(net), *words], check=True, stdout=subprocess.DEVNULL
    )
    return net, bundle


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=200)
    parser.add_argument("--frames", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    os.environ.update(OFFLINE)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        os.environ["YOLO_CONFIG_DIR"] = str(work)
        write_pictures(work / "pictures", asked.pictures)
        write_video(work / "pictures", work / "video.mp4", asked.frames)
        net, bundle = made(work)
        rows = measured(asked, work, net, bundle)
    write(asked, rows)
    print((HERE / "run_peer.md").read_text())


def measured(asked: argparse.Namespace, work: Path, net: Path, bundle: Path) -> list[dict[str, Any]]:
    run = [sys.executable, "-m", "edgesmith", "run", str(bundle), "--json-lines", "--source"]
    took: dict[tuple[str, str], list[dict[str, float]]] = {}
    for _ in range(asked.rounds):
        for way, python, words, file in (
            ("edgesmith", Path(sys.executable), OURS, bundle),
            ("Ultralytics", PEER, THEIRS, net),
        ):
            took.setdefault(("in series", way), []).append(series(python, words, file, work / "pictures"))
        for source, place, count in (
            ("720p pictures", "pictures", asked.pictures),
            ("1080p video", "video.mp4", asked.frames),
        ):
            for way, command in (
                ("edgesmith", lambda most, place=place: [*run, str(work / place), "--max-frames", str(most)]),
                (
                    "Ultralytics",
                    lambda most, place=place: [str(PEER), "-c", STREAM, str(net), str(work / place), str(most)],
                ),
            ):
                few, many = (timed(command(most), work) for most in (FEW, count))
                wall_ms, cpu_ms = ((many[part] - few[part]) * 1e3 / (count - FEW) for part in (0, 1))
                took.setdefault((source, way), []).append({"wall_ms": wall_ms, "cpu_ms": cpu_ms})
                print(source, way, f"{wall_ms:.2f} {cpu_ms:.2f} ms", flush=True)
    return [
        {"source": source, "way": way}
        | {key: statistics.median(sample[key] for sample in samples) for key in samples[0]}
        for (source, way), samples in took.items()
    ]


def write(asked: argparse.Namespace, rows: list[dict[str, Any]]) -> None:
    words = [
        str(PEER),
        "-c",
        "import ultralytics, onnxruntime; print(ultralytics.__version__, onnxruntime.__version__)",
    ]
    versions = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout.split()[-2:]
    facts = {**machine(), "ultralytics": versions[0], "onnxruntime": versions[1], "date": str(date.today())}
    (HERE / "run_peer.json").write_text(json.dumps({"machine": facts, "rows": rows}, indent=1) + "\n")
    asked_for = f"--pictures {asked.pictures} --frames {asked.frames} --rounds {asked.rounds}"
    chip = f"{facts['cpu']}, {facts['cores']} cores, load {facts['load']}, Ultralytics {versions[0]}, onnxruntime {versions[1]}"
    lines = [
        "# `edgesmith run` beside Ultralytics",
        "",
        "How to read it: the head of [run_peer.py](run_peer.py).",
        "",
        f"`python benchmarks/run_peer.py {asked_for}`, {facts['date']}, {chip}",
        "",
        "| source | | wall, ms each | CPU, ms each | engine, ms | overhead, ms | edgesmith is |",
        "|---|---|---|---|---|---|---|",
    ]
    ours = {row["source"]: row["wall_ms"] for row in rows if row["way"] == "edgesmith"}
    for row in rows:
        cells = [row["source"], row["way"]]
        cells += [f"{row[key]:.2f}" if key in row else "" for key in ("wall_ms", "cpu_ms", "engine_ms", "over_ms")]
        cells.append("" if row["way"] == "edgesmith" else f"{row['wall_ms'] / ours[row['source']]:.2f} x as fast")
        lines.append("| " + " | ".join(cells) + " |")
    (HERE / "run_peer.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
