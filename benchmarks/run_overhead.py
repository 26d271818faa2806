"""What the runtime adds to the engine's own call, and what preparing a picture costs beside the usual ways to write it.

    python benchmarks/run_overhead.py [--rounds 200] [--model timm:mobilenetv3_large_100]

Calls, in one process, on one thread, in turns, over one prepared array and one 720p picture (uint8 RGB in memory):

    the engine          onnxruntime.InferenceSession.run, of the very object that our session holds: two that were opened alike
                        differ by a tenth, by where their weights happen to lie
    Session.run         the same array through our session: its checks, its result by name
    Session(picture)    preprocess, run, answer; beside it the sum of preprocess and the engine, each measured alone

Preparing 1280 x 720 -> 224 x 224, float32 NCHW, in turns, OpenCV on one thread, for a contract with plain bilinear and one with the
antialiased bicubic that most networks of timm name:

    plain NumPy         cv2.resize, astype, / 255, - mean, / std, transpose, contiguous
    fused               cv2.resize, one multiply and one add into an array that is kept
    planes              cv2.resize, split, one cv2.addWeighted a plane into an array that is kept
    tables              cv2.resize, split, one cv2.LUT a plane into an array that is kept
    blob                cv2.resize, cv2.dnn.blobFromImage
    Pillow              its antialiased bicubic in place of cv2.resize, then fused: only where that is asked for

Medians, wall and CPU of the process; a ratio is a quotient of two of the same run. "off by" is the largest difference to ours. Weights are
random. Writes run_overhead.json and run_overhead.md.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edgesmith.runtime.pictures.contract import ImageContract
from edgesmith.runtime.pictures.preprocess import preprocess
from edgesmith.runtime.session.benchmark import machine

HERE = Path(__file__).parent
SIDE = 224
MEAN, STD = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
GAIN, SHIFT = (1 / (255 * STD)).astype(np.float32), (-MEAN / STD).astype(np.float32)
PLAIN = ImageContract((SIDE, SIDE), "bilinear", False, 1.0, "stretch")
ANTIALIASED = ImageContract((SIDE, SIDE), "bicubic", True, 1.0, "stretch")
Sample = tuple[float, float]  # wall and CPU milliseconds


def in_turns(ways: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[Sample]]:
    for way in ways.values():
        way(), way(), way()
    took: dict[str, list[Sample]] = {name: [] for name in ways}
    names, order = list(ways), random.Random(0)
    for _ in range(rounds):
        order.shuffle(names)  # what ran just before leaves the caches warm for one and cold for another
        for name in names:
            way = ways[name]
            wall, cpu = time.perf_counter(), time.process_time()
            way()
            took[name].append(((time.perf_counter() - wall) * 1e3, (time.process_time() - cpu) * 1e3))
    return took


def photograph() -> np.ndarray:
    from skimage import data

    return cv2.resize(data.astronaut(), (1280, 720), interpolation=cv2.INTER_CUBIC)


def linear(picture: np.ndarray) -> np.ndarray:
    return cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)


def pillow(picture: np.ndarray) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.fromarray(picture).resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def plain_numpy(levels: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(((levels.astype(np.float32) / 255 - MEAN) / STD).transpose(2, 0, 1))[None]


class Kept:
    """Ways to make floats of levels that write into one array."""

    def __init__(self) -> None:
        self.out = np.empty((1, 3, SIDE, SIDE), np.float32)
        self.tables = [(np.arange(256, dtype=np.float32) * GAIN[c] + SHIFT[c])[None] for c in range(3)]

    def fused(self, levels: np.ndarray) -> np.ndarray:
        np.multiply(levels.transpose(2, 0, 1), GAIN[:, None, None], out=self.out[0], dtype=np.float32)
        self.out[0] += SHIFT[:, None, None]
        return self.out

    def planes(self, levels: np.ndarray) -> np.ndarray:
        for c, plane in enumerate(cv2.split(levels)):
            gain, shift = float(GAIN[c]), float(SHIFT[c])
            cv2.addWeighted(plane, gain, plane, 0.0, shift, dst=self.out[0, c], dtype=cv2.CV_32F)
        return self.out

    def by_tables(self, levels: np.ndarray) -> np.ndarray:
        for c, plane in enumerate(cv2.split(levels)):
            cv2.LUT(plane, self.tables[c], self.out[0, c])
        return self.out


def blob(levels: np.ndarray) -> np.ndarray:
    return cv2.dnn.blobFromImage(levels, 1 / 255, (SIDE, SIDE), 255 * MEAN.astype(float)) / STD[:, None, None]


def preparing(rounds: int) -> list[dict[str, Any]]:
    picture, kept, memory = photograph(), Kept(), np.empty((1, 3, SIDE, SIDE), np.float32)
    plain: dict[str, Callable[[], np.ndarray]] = {
        "edgesmith": lambda: preprocess([picture], PLAIN, memory),
        "plain NumPy": lambda: plain_numpy(linear(picture)),
        "fused": lambda: kept.fused(linear(picture)),
        "planes": lambda: kept.planes(linear(picture)),
        "tables": lambda: kept.by_tables(linear(picture)),
        "blob": lambda: blob(linear(picture)),
    }
    antialiased: dict[str, Callable[[], np.ndarray]] = {
        "edgesmith": lambda: preprocess([picture], ANTIALIASED, memory),
        "Pillow": lambda: kept.fused(pillow(picture)),
    }
    rows = []
    for contract, ways in (("bilinear", plain), ("bicubic, antialiased", antialiased)):
        ours = ways["edgesmith"]().copy()
        took = in_turns(ways, rounds)
        best = min(cpu for name, (_, cpu) in medians(took).items() if name != "edgesmith")
        for name, (wall_ms, cpu_ms) in medians(took).items():
            off = float(np.abs(ways[name]().astype(np.float64) - ours).max())
            rows.append(
                {"what": contract, "way": name, "wall_ms": wall_ms, "cpu_ms": cpu_ms, "to": cpu_ms / best, "off": off}
            )
    return rows


def medians(took: dict[str, list[Sample]]) -> dict[str, Sample]:
    return {
        name: (statistics.median(wall for wall, _ in samples), statistics.median(cpu for _, cpu in samples))
        for name, samples in took.items()
    }


def calling(bundle: Path, rounds: int) -> list[dict[str, Any]]:
    from edgesmith.runtime.backends.load import load

    picture = photograph()
    with load(bundle, threads=1) as session:
        engine: Any = session._session  # type: ignore[attr-defined]
        contract, name = session.bundle.contract, session.inputs[0].name
        array = preprocess([picture], contract)
        memory = array.copy()
        took = in_turns(
            {
                "the engine": lambda: engine.run(None, {name: array}),
                "Session.run": lambda: session.run({name: array}),
                "preprocess": lambda: preprocess([picture], contract, memory),
                "Session(picture)": lambda: session(picture),
            },
            rounds,
        )
    found = medians(took)
    whole = [engine + prepared for engine, prepared in zip(found["the engine"], found["preprocess"], strict=True)]
    beside = {"Session.run": found["the engine"], "Session(picture)": whole}
    return [
        {"what": "a call", "way": way, "wall_ms": wall, "cpu_ms": cpu}
        | ({"wall_to": wall / beside[way][0], "to": cpu / beside[way][1]} if way in beside else {})
        for way, (wall, cpu) in found.items()
    ]


def exported(model: str, work: Path) -> Path:
    import timm
    import torch

    import edgesmith

    torch.save(timm.create_model(model.removeprefix("timm:"), pretrained=False).state_dict(), work / "weights.pth")
    return edgesmith.export(model, str(work / "weights.pth"), target="cpu", out=work / "net.edge").path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--model", default="timm:mobilenetv3_large_100")
    asked = parser.parse_args()
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as name:
        rows = preparing(asked.rounds) + calling(exported(asked.model, Path(name)), asked.rounds)
    write(asked, rows)
    print((HERE / "run_overhead.md").read_text())


def write(asked: argparse.Namespace, rows: list[dict[str, Any]]) -> None:
    import onnxruntime

    facts = {**machine(), "onnxruntime": onnxruntime.__version__, "opencv": cv2.__version__, "date": str(date.today())}
    (HERE / "run_overhead.json").write_text(json.dumps({"machine": facts, "rows": rows}, indent=1) + "\n")
    chip = f"{facts['cpu']}, {facts['cores']} cores, load {facts['load']}"
    chip += f", onnxruntime {facts['onnxruntime']}, OpenCV {facts['opencv']}"
    lines = [
        "# What the runtime adds",
        "",
        "How to read it: the head of [run_overhead.py](run_overhead.py). A ratio is of CPU time: of preparing to the best of the",
        "others of the same contract, of a call to the engine, or to the engine and preprocess together.",
        "",
        f"`python benchmarks/run_overhead.py --rounds {asked.rounds} --model {asked.model}`, {facts['date']}, {chip}",
        "",
        "| | | wall, ms | CPU, ms | ratio | off by |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        ratio = f"{row['to']:.3f}" if "to" in row else ""
        off = f"{row['off']:.2g}" if "off" in row else ""
        cells = [row["what"], row["way"], f"{row['wall_ms']:.3f}", f"{row['cpu_ms']:.3f}", ratio, off]
        lines.append("| " + " | ".join(cells) + " |")
    (HERE / "run_overhead.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
