"""How long the command takes before it does anything, and what an export takes beside the bare trace that it holds.

    python benchmarks/tool_speed.py [--rounds 21] [--exports 7] [--against CHECKOUT]      writes benchmarks/tool_speed.{json,md}

Commands are `edgesmith --help`, `edgesmith list`, and `edgesmith run` (on one picture) and `edgesmith test` of a small
classifier (tests/data/bundles), each as `python -m edgesmith ...` with bytecode already written. --against is another checkout, whose
commands take turns with ours. Every round runs all of them, and each round starts with another one; a ratio is taken within
a round, then its median: to `python -c pass`, and to the same command of the other checkout. Wall time is what a user waits;
CPU time is that of the process and its threads.

An export is `edgesmith export timm:resnet18 --target cpu` with random weights, all that it does by default: parity, self-test,
report. Beside it, in turns, stands the least that anybody does: timm.create_model, torch.onnx.export, save, a session, one run, at
the same size. Both are whole processes, so both import torch and timm.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from edgesmith.runtime.session.benchmark import machine

HERE = Path(__file__).parent
ROOT = HERE.parent
BUNDLES = ROOT / "tests" / "data" / "bundles"
COMMANDS = {
    "--help": ["--help"],
    "a bad name": ["export", "--model", "resnet81"],
    "list": ["list"],
    "run": ["run", str(BUNDLES / "classifier_fp32"), str(BUNDLES / "digit.png")],
    "test": ["test", str(BUNDLES / "classifier_fp32")],
}
NOTHING = "python -c pass"
OURS, OTHER = "edgesmith", "the other checkout"
LIBRARIES = ("numpy", "opencv-python-headless", "onnxruntime", "typer")
WARMUP = 2


BARE, EXPORT = "torch.onnx.export and a session", "edgesmith export"
BARE_CODE = """
import numpy, onnxruntime, timm, torch
model = timm.create_model("resnet18").eval()
example = torch.zeros(1, 3, 224, 224)
program = torch.onnx.export(model, (example,), dynamo=True, opset_version=20, verbose=False)
program.save("bare.onnx")
session = onnxruntime.InferenceSession("bare.onnx", providers=["CPUExecutionProvider"])
session.run(None, {session.get_inputs()[0].name: example.numpy()})
"""
EXPORTS = [
    "export", "timm:resnet18", "--target", "cpu", "--weights", "random", "--image-size", "224", "--out", "r.edge", "--force"
]  # fmt: skip


@dataclass(frozen=True)
class Process:
    """A command line, the code that it ends with, and the folder that holds a link ``edgesmith`` to the checkout it is to use."""

    words: tuple[str, ...]
    folder: Path
    ends_with: int = 0

    def times(self) -> tuple[float, float]:
        """Wall and CPU seconds of one run; CalledProcessError when it does not end well."""
        environment = {
            **os.environ,
            "PYTHONPATH": str(self.folder),
            "PYTHONPYCACHEPREFIX": str(self.folder / "bytecode"),
        }
        environment.pop("PYTHONDONTWRITEBYTECODE", None)  # the first rounds write it, those that count read it
        begin = time.perf_counter()
        child = subprocess.Popen(
            self.words, cwd=self.folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        _, status, usage = os.wait4(child.pid, 0)  # subprocess itself does not tell what one child used
        wall = time.perf_counter() - begin
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode != self.ends_with:
            raise subprocess.CalledProcessError(child.returncode, self.words)
        return wall, usage.ru_utime + usage.ru_stime


def contestants(folder: Path, against: Path | None) -> dict[str, Process]:
    """Name -> process, Python alone first; links to the checkouts are made in ``folder``."""
    found = {NOTHING: Process((sys.executable, "-c", "pass"), folder)}
    for name, checkout in ((OURS, ROOT), (OTHER, against)):
        if checkout is None:
            continue
        own = folder / name.replace(" ", "-")
        own.mkdir()
        (own / "edgesmith").symlink_to(checkout.resolve())
        for command, words in COMMANDS.items():
            ends_with = 2 if command == "a bad name" else 0
            found[f"{name} {command}"] = Process((sys.executable, "-m", "edgesmith", *words), own, ends_with)
    return found


def exports(folder: Path) -> dict[str, Process]:
    """The bare trace, and our export of the same network."""
    return {
        BARE: Process((sys.executable, "-c", BARE_CODE), folder),
        EXPORT: Process((sys.executable, "-m", "edgesmith", *EXPORTS), folder / OURS),
    }


def measure(processes: dict[str, Process], rounds: int, warmup: int = WARMUP) -> dict[str, list[tuple[float, float]]]:
    """Name -> (wall, CPU) seconds of every round, in turns."""
    names = list(processes)
    for name in names * warmup:
        processes[name].times()
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    for turn in range(rounds):
        start = turn % len(names)
        for name in names[start:] + names[:start]:
            found[name].append(processes[name].times())
    return found


def row(name: str, found: dict[str, list[tuple[float, float]]], beside: str = NOTHING) -> dict[str, Any]:
    """Medians in ms, ratios to Python alone (``beside``) and, of ours, to the other checkout's."""
    told: dict[str, Any] = {"command": name}
    rival = name.replace(OURS, OTHER, 1)
    for clock, place in (("wall", 0), ("cpu", 1)):
        own = [times[place] for times in found[name]]
        told[f"{clock}_ms"] = round(1000 * median(own), 1)
        for key, other in (("ratio", beside), ("to_other", rival)):
            if other in found and other != name:
                quotients = [mine / times[place] for mine, times in zip(own, found[other], strict=True)]
                told[f"{clock}_{key}"] = round(median(quotients), 2)
    return told


def written(report: dict[str, Any]) -> str:
    """The report as Markdown."""
    facts = report["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    lines = [
        "# How long the command takes before it does anything",
        "",
        "How to read it: the head of [tool_speed.py](tool_speed.py). Medians of whole processes; a ratio is that of one round, its median.",
        "",
        f"`python benchmarks/tool_speed.py --rounds {report['rounds']}`, {facts['cpu']}, {facts['cores']} cores, load {facts['load']}, Python {facts['python']}, {versions}",
        "",
        f"| command | wall ms | x {NOTHING} | CPU ms | x {NOTHING} | wall, of {OTHER} | CPU, of {OTHER} |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in report["rows"]:
        cells = [
            one.get(key) for key in ("wall_ms", "wall_ratio", "cpu_ms", "cpu_ratio", "wall_to_other", "cpu_to_other")
        ]
        lines.append(f"| {one['command']} | " + " | ".join("" if cell is None else str(cell) for cell in cells) + " |")
    if report["exports"]:
        lines += [
            "",
            f"An export beside the bare trace, {report['export_rounds']} rounds in turns:",
            "",
            f"| process | wall ms | x {BARE} | CPU ms | x {BARE} |",
            "|---|---|---|---|---|",
        ]
    for one in report["exports"]:
        cells = [one.get(key, "") for key in ("wall_ms", "wall_ratio", "cpu_ms", "cpu_ratio")]
        lines.append(f"| {one['command']} | " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--exports", type=int, default=7, help="rounds of whole exports; 0: none")
    parser.add_argument("--against", type=Path, help="a checkout to compare with")
    options = parser.parse_args()
    facts = machine()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(contestants(Path(folder), options.against), options.rounds)
        whole = measure(exports(Path(folder)), options.exports, warmup=1) if options.exports else {}
    report = {
        "machine": facts,
        "versions": {name: importlib.metadata.version(name) for name in LIBRARIES},
        "rounds": options.rounds,
        "rows": [row(name, found) for name in found],
        "export_rounds": options.exports,
        "exports": [row(name, whole, BARE) for name in whole],
    }
    (HERE / "tool_speed.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    (HERE / "tool_speed.md").write_text(written(report), encoding="utf-8")
    print(written(report))


if __name__ == "__main__":
    main()
