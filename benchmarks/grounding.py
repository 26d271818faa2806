"""GUI-AIMA on the CPU, side by side in one run: the official way, plain transformers, and ours; speed and memory.

    python benchmarks/grounding.py [--rounds 7] [--tiny] [--work FOLDER]      writes benchmarks/grounding.{json,md}

Each flow has a process of its own (grounding_worker.py); they take turns, each round begins with another one, and a ratio is taken
within a round, then its median. Flows: grounding_flows.py; network, screen and instructions: grounding_models.py. "first" is a
screenshot and an instruction to a point; "further" is another instruction on the same screen, which all flows but ours compute
from the beginning. Memory: the first order that a fresh process gets, one thread.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from grounding_models import INSTRUCTIONS, MIDDLE, SCREENS, SHAPES, TINY, write_folder
from grounding_page import written

from edgesmith.runtime.session.benchmark import machine

HERE = Path(__file__).parent
OFFICIAL = "official, maps, fp32"
PEERS = {
    OFFICIAL: ("maps", "float32"),
    "official, maps, bf16": ("maps", "bfloat16"),
    "official, rows again, fp32": ("again", "float32"),
    "sdpa without the method, fp32": ("none", "float32"),
}
OURS = {  # precision, target
    "ours, ONNX Runtime fp32": ("fp32", "cpu"),
    "ours, OpenVINO fp32": ("fp32", "openvino"),
    "ours, OpenVINO bf16": ("bf16", "openvino"),
    "ours, ONNX Runtime int4": ("int4", "cpu"),
    "ours, OpenVINO int4": ("int4", "openvino"),
}
BACKENDS = {"cpu": "onnxruntime", "openvino": "openvino"}


class Worker:
    """A flow that waits in another process."""

    def __init__(self, settings: dict[str, Any]) -> None:
        command = [sys.executable, str(HERE / "grounding_worker.py"), json.dumps(settings)]
        environment = {**os.environ, "OMP_NUM_THREADS": str(settings["threads"])}
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.loaded_bytes = self._read()["loaded_bytes"]

    def ask(self, **order: Any) -> dict[str, Any]:
        assert self.process.stdin is not None
        print(json.dumps(order), file=self.process.stdin, flush=True)
        return self._read()

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()

    def _read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the flow ended with {self.process.wait()}; its words stand above")
        found: dict[str, Any] = json.loads(line)
        return found


def export(folder: Path, out: Path, precision: str, target: str, screen: tuple[int, int]) -> str | None:
    """Make a bundle; why it could not be made, or None."""
    size = "x".join(map(str, screen))
    words = ["--model", "gui_aima", "--weights", str(folder), "--precision", precision, "--target", target]
    command = [sys.executable, "-m", "edgesmith", "export", *words, "--screen", size, "--out", str(out)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    return None if done.returncode == 0 else " ".join((done.stderr or done.stdout).split())[:300]


def settings_of(folder: Path, work: Path, screen: tuple[int, int]) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Flow -> how its worker opens it, and flow -> why it is not measured."""
    found: dict[str, dict[str, Any]] = {
        name: {"kind": "eager", "folder": str(folder), "how": how, "dtype": dtype}
        for name, (how, dtype) in PEERS.items()
    }
    failed = {}
    for name, (precision, target) in OURS.items():
        bundle = work / f"{precision}_{target}.edge"
        why = None if bundle.exists() else export(folder, bundle, precision, target, screen)
        if why:
            failed[name] = why
        else:
            found[name] = {"kind": "ours", "bundle": str(bundle), "backend": BACKENDS[target]}
    return found, failed


def measured(
    flows: dict[str, dict[str, Any]], threads: int, rounds: int, screen: tuple[int, int]
) -> list[dict[str, Any]]:
    """Rows of one number of threads; the first order of each process tells its memory and warms it up."""
    workers = {name: Worker({**how, "threads": threads}) for name, how in flows.items()}
    names = list(workers)
    begun = {name: workers[name].ask(do="first", screen=screen, text=INSTRUCTIONS[0]) for name in names}
    samples = np.zeros((2, 2, len(names), rounds))  # first or further, wall or CPU
    for turn in range(rounds):
        text = INSTRUCTIONS[1 + turn % (len(INSTRUCTIONS) - 1)]
        for step in range(len(names)):
            at = (turn + step) % len(names)
            for kind, order in enumerate(("first", "further")):
                if order == "further" and not names[at].startswith("ours"):
                    samples[1, :, at, turn] = samples[0, :, at, turn]  # the same work over again
                    continue
                found = workers[names[at]].ask(do=order, screen=screen, text=text if kind else INSTRUCTIONS[0])
                samples[kind, :, at, turn] = found["wall_s"], found["cpu_s"]
    for worker in workers.values():
        worker.close()
    judge = np.array(begun[OFFICIAL]["scores"])
    rows = []
    for at, name in enumerate(names):
        row: dict[str, Any] = {"flow": name, "threads": threads, "loaded_bytes": workers[name].loaded_bytes}
        for kind, word in enumerate(("first", "further")):
            for clock, unit in enumerate(("wall", "cpu")):
                own, peer = samples[kind, clock, at], samples[0, clock, names.index(OFFICIAL)]
                row[f"{word}_{unit}_s"] = float(np.median(own))
                row[f"{word}_{unit}_to_official"] = float(np.median(own / peer))
        row["further_to_first"] = float(np.median(samples[1, 0, at] / samples[0, 0, at]))
        row |= {key: begun[name][key] for key in ("peak_bytes", "growth_bytes", "point")}
        if begun[name]["scores"] is not None:
            scores = np.array(begun[name]["scores"])
            row["difference_of_max"] = float(np.abs(scores - judge).max() / judge.max())
        rows.append(row)
        print({key: round(value, 4) if isinstance(value, float) else value for key, value in row.items()}, flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--tiny", action="store_true", help="a network of a few values: does the benchmark run?")
    parser.add_argument("--work", type=Path, help="a folder for weights and bundles, kept and used again")
    asked = parser.parse_args()
    size = TINY if asked.tiny else MIDDLE
    with tempfile.TemporaryDirectory() as temporary:
        work = (asked.work or Path(temporary)) / size
        folder = write_folder(SHAPES[size], work / "folder")
        flows, failed = settings_of(folder, work, SCREENS[size])
        rows = [row for threads in (1, 2) for row in measured(flows, threads, asked.rounds, SCREENS[size])]
    report = {
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        "command": " ".join(["python benchmarks/grounding.py", *(word for word in sys.argv[1:] if "/" not in word)]),
        "rounds": asked.rounds,
        "network": str(SHAPES[size]),
        "screen": SCREENS[size],
        "official": OFFICIAL,
        "machine": machine(),
        "versions": {name: importlib.metadata.version(name) for name in ("torch", "transformers", "onnxruntime")},
        "failed": failed,
        "rows": rows,
    }
    page = written(report)
    print(page)
    if not asked.tiny:
        (HERE / "grounding.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        (HERE / "grounding.md").write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
