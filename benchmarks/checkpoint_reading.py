"""How long a checkpoint takes to read, beside another checkout: seconds of `read_checkpoint` and of the values, without the import of torch.

    python benchmarks/checkpoint_reading.py --against CHECKOUT [--rounds 11]      writes benchmarks/checkpoint_reading.{json,md}

Four files of random weights: a small and a large network (300 tensors of 256 x 256), as torch.save writes them bare and
as a training writes them, with `args`, an optimiser and averaged weights beside. A round is one process of each checkout, in turns;
a process reads every file REPEATS times and tells the medians; a ratio is taken within a round, then its median. Lower is better.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from edgesmith.runtime.session.benchmark import machine

HERE = Path(__file__).parent
ROOT = HERE.parent
OURS, OTHER = "edgesmith", "the other checkout"
REPEATS = 15
READER = """
import json, sys, time
from statistics import median
from edgesmith.models.weights.checkpoint import read_checkpoint
found = {}
for path in sys.argv[2:]:
    times = []
    for _ in range(int(sys.argv[1])):
        begin = time.perf_counter()
        read_checkpoint(path).tensors  # their values too
        times.append(time.perf_counter() - begin)
    found[path] = median(times)
print(json.dumps(found))
"""


def write_files(folder: Path) -> dict[str, Path]:
    """Name -> checkpoint."""
    import torch

    torch.manual_seed(0)
    found = {}
    for name, tensors, width in (("small", 40, 16), ("large", 300, 256)):
        state = {f"blocks.{place}.weight": torch.randn(width, width) for place in range(tensors)}
        training = {
            "epoch": 3,
            "args": {"lr": 0.1, "model": "any"},
            "state_dict": state,
            "state_dict_ema": {key: tensor.clone() for key, tensor in state.items()},
            "optimizer": {"state": {place: {"exp_avg": tensor.clone()} for place, tensor in enumerate(state.values())}},
        }
        for kind, content in (("bare", state), ("of a training", training)):
            found[f"{name}, {kind}"] = folder / f"{name}-{kind.replace(' ', '-')}.pth"
            torch.save(content, found[f"{name}, {kind}"])
    return found


def seconds(link: Path, files: dict[str, Path]) -> dict[str, float]:
    """Name -> median seconds of one process. CalledProcessError where it does not end well."""
    words = [sys.executable, "-c", READER, str(REPEATS), *map(str, files.values())]
    environment = {**os.environ, "PYTHONPATH": str(link)}
    told = json.loads(subprocess.run(words, cwd=link, env=environment, stdout=subprocess.PIPE, check=True).stdout)
    return {name: told[str(path)] for name, path in files.items()}


def rows(found: dict[str, list[dict[str, float]]]) -> list[dict[str, Any]]:
    """Medians in ms and the ratio to the other checkout, with the lowest and highest of a round."""
    table = []
    for name in found[OURS][0]:
        ratios = sorted(one[name] / other[name] for one, other in zip(found[OURS], found[OTHER], strict=True))
        table.append(
            {
                "file": name,
                "read_ms": round(1000 * median(one[name] for one in found[OURS]), 2),
                "other_read_ms": round(1000 * median(one[name] for one in found[OTHER]), 2),
                "time_ratio": round(median(ratios), 3),
                "time_ratio_low": round(ratios[0], 3),
                "time_ratio_high": round(ratios[-1], 3),
            }
        )
    return table


def written(report: dict[str, Any]) -> str:
    """The report as Markdown."""
    facts = report["machine"]
    lines = [
        "# How long a checkpoint takes to read",
        "",
        "How to read it: the head of [checkpoint_reading.py](checkpoint_reading.py).",
        "",
        f"`python benchmarks/checkpoint_reading.py --rounds {report['rounds']}`, {facts['cpu']}, {facts['cores']} cores, load {facts['load']}, Python {facts['python']}",
        "",
        f"| file | ms | ms, {OTHER} | time ratio | lowest and highest |",
        "|---|---|---|---|---|",
    ]
    for one in report["rows"]:
        spread = f"{one['time_ratio_low']} to {one['time_ratio_high']}"
        lines.append(f"| {one['file']} | {one['read_ms']} | {one['other_read_ms']} | {one['time_ratio']} | {spread} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--against", type=Path, required=True, help="a checkout to compare with")
    options = parser.parse_args()
    facts = machine()
    with tempfile.TemporaryDirectory() as folder:
        files = write_files(Path(folder))
        links = {}
        for name, checkout in ((OURS, ROOT), (OTHER, options.against)):
            links[name] = Path(folder, name.replace(" ", "-"))
            links[name].mkdir()
            (links[name] / "edgesmith").symlink_to(checkout.resolve())
        found: dict[str, list[dict[str, float]]] = {name: [] for name in links}
        for turn in range(options.rounds):
            for name in sorted(links, reverse=bool(turn % 2)):
                found[name].append(seconds(links[name], files))
    report = {"machine": facts, "rounds": options.rounds, "rows": rows(found)}
    (HERE / "checkpoint_reading.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    (HERE / "checkpoint_reading.md").write_text(written(report), encoding="utf-8")
    print(written(report))


if __name__ == "__main__":
    main()
