"""GUI-AIMA in its real size, random weights: export time and peak memory, size of the bundle, an instruction answered on the CPU.

    python benchmarks/grounding_3b.py [--target cpu] [--precision int4] [--kv-bits 16] [--work FOLDER]

Half an hour, most of it the export; writes grounding_3b.{json,md}. Nothing of the weights is on the disk before: each tensor of
the checkpoint is made of its name and a seed when it is read (models/folders/random_weights.py), as one of a folder would be read.
The export is a process of its own, `edgesmith export --weights random`, PyTorch as the judge included (one instruction, layer by
layer); then another one opens the bundle and answers. Memory is the peak of each process (ru_maxrss, VmHWM): files that it maps
count while they are in memory.

    pool      what the pool holds after one screen, beside what `edgesmith kv-bytes BUNDLE` says: the same number of bytes
    parity    the bundle beside PyTorch. The weights are random, so that it tells of the graphs, not of clicks
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
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from grounding_models import INSTRUCTIONS, REAL, SCREENS, SHAPES, TINY, write_folder
from grounding_runs import BACKENDS, FlowFailed, Worker

from edgesmith.runtime.session.benchmark import machine

HERE = Path(__file__).parent
MOST_MEMORY_GB, MOST_BUNDLE_GB = 24.0, 2.6  # what the export was to stay below, GB = 10^9 bytes
FURTHER = 5
TOLD = ("stage", "detail", "seconds", "written, MB")


def edgesmith(words: Sequence[str]) -> tuple[int, str, float, int]:
    """A command in a process of its own -> (exit code, what it said, seconds, the most memory it had in bytes)."""
    started = time.perf_counter()
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen([sys.executable, "-m", "edgesmith", *words], stdout=said, stderr=said)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        return process.returncode, said.read(), time.perf_counter() - started, usage.ru_maxrss * 1024


def exported(asked: argparse.Namespace, weights: str, bundle: Path, screen: tuple[int, int]) -> dict[str, Any]:
    words = ["export", "--model", "gui_aima", "--weights", weights, "--precision", asked.precision]
    words += ["--target", asked.target, "--kv-bits", str(asked.kv_bits), "--screen", f"{screen[0]}x{screen[1]}"]
    code, said, seconds, peak = edgesmith([*words, "--no-check", "--overwrite", "--out", str(bundle)])
    if code:
        raise FlowFailed(f"the export ended with {code}: {' '.join(said.split())[-800:]}")
    return {"seconds": seconds, "peak_bytes": peak}


def answered(bundle: Path, target: str, threads: int, screen: tuple[int, int]) -> dict[str, Any]:
    """One instruction of a fresh process, one of a warm one, further ones, and the pool after them."""
    worker = Worker({"kind": "ours", "bundle": str(bundle), "backend": BACKENDS[target], "threads": threads})
    try:
        cold, warm = (worker.ask(do="first", screen=screen, text=INSTRUCTIONS[0]) for _ in range(2))
        further = [worker.ask(do="further", text=INSTRUCTIONS[1 + at % 5])["wall_s"] for at in range(FURTHER)]
    finally:
        worker.close()
    assert all(np.isfinite(cold["scores"])) and abs(sum(cold["scores"]) - 1) < 1e-3, "scores sum to 1"
    return {
        "threads": threads, "cold_s": cold["wall_s"], "first_s": warm["wall_s"], "further_s": float(np.median(further)),
        "peak_bytes": warm["life_bytes"], "point": cold["point"], "pool_bytes": warm["pool_bytes"],
    }  # fmt: skip


def of_bundle(bundle: Path) -> dict[str, Any]:
    """What the manifest tells, and what `edgesmith kv-bytes` does."""
    told = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
    code, said, _, _ = edgesmith(["kv-bytes", str(bundle), "--json"])
    if code:
        raise FlowFailed(f"kv-bytes ended with {code}: {said[-400:]}")
    (screen,) = json.loads(said)["screens"]
    return {
        "bytes": sum(file.stat().st_size for file in bundle.iterdir()),
        "files": {name: record["bytes"] for name, record in told["files"].items()},
        "stages": told["stages"], "parity": told["parity"], "notes": told["notes"],
        "tokens": screen["tokens"], "kv_bytes": screen["screen_bytes"],
    }  # fmt: skip


def written(report: Mapping[str, Any]) -> str:
    export, answer, bundle = report["export"], report["answer"], report["bundle"]
    facts = ", ".join(f"{key} {value}" for key, value in {**report["machine"], **report["versions"]}.items())
    peak, size = export["peak_bytes"] / 1e9, bundle["bytes"] / 1e9
    same = "the same" if answer["pool_bytes"] == bundle["kv_bytes"] else "**not the same**"
    rows = [
        ("export", f"{export['seconds'] / 60:.1f} minutes, the judge included", ""),
        ("peak memory of the export", f"{peak:.1f} GB", _met(peak, MOST_MEMORY_GB)),
        ("bundle, vision tower included", f"{size:.2f} GB", _met(size, MOST_BUNDLE_GB)),
        (
            "first instruction",
            f"{answer['first_s']:.1f} s; {answer['cold_s']:.1f} s of a fresh process, which opens the graphs",
            "",
        ),
        ("further instruction", f"{answer['further_s']:.2f} s", ""),
        ("peak memory of the process that answers", f"{answer['peak_bytes'] / 1e9:.1f} GB", ""),
        (
            "pool after one screen",
            f"{answer['pool_bytes']:,} bytes, {bundle['tokens']:,} tokens",
            f"kv-bytes: {bundle['kv_bytes']:,}, {same}",
        ),
    ]
    lines = [
        "# GUI-AIMA in its real size", "", "How to read it: the head of [grounding_3b.py](grounding_3b.py).", "",
        f"{report['date']}; `{report['command']}`. {facts}.", "",
        (f"Network: {report['network']}. {report['precision']} for {report['target']}, keys and values of {report['kv_bits']} bits, "
         f"screen {report['screen'][0]}x{report['screen'][1]}, {answer['threads']} threads to answer."), "",
        "| what | found | asked |", "|---|---|---|", *(f"| {' | '.join(row)} |" for row in rows), "",
        "## The export", "", f"| {' | '.join(TOLD)} |", "|---" * len(TOLD) + "|",
        *(f"| {one['name']} | {one['detail']} | {one['seconds']:.0f} | {(one['size_bytes'] or 0) / 1e6:,.0f} |" for one in bundle["stages"]),
    ]  # fmt: skip
    lines += ["", "## Told by the export", "", *(f"- {note}" for note in bundle["notes"])]
    lines += [
        f"- {one['stage']}: cosine {one['cosine']:.4f} beside PyTorch, {one['limit']}" for one in bundle["parity"]
    ]
    return "\n".join(lines) + "\n"


def _met(found: float, most: float) -> str:
    return f"<= {most:g}: {'met' if found <= most else '**missed**'}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", choices=tuple(BACKENDS), default="cpu")
    parser.add_argument("--precision", default="int4")
    parser.add_argument("--kv-bits", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--tiny", action="store_true", help="a network of a few values, written beside its weights")
    parser.add_argument("--work", type=Path, help="a folder for the bundle, which stays there and is used again")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = asked.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        size = TINY if asked.tiny else REAL
        weights = str(write_folder(SHAPES[size], work / "folder")) if asked.tiny else "random"
        bundle, kept = (
            work / f"3b_{asked.precision}_{asked.target}.edge",
            work / f"3b_{asked.precision}_{asked.target}.json",
        )
        if bundle.exists() and kept.exists():
            export = json.loads(kept.read_text(encoding="utf-8"))
        else:
            export = exported(asked, weights, bundle, SCREENS[size])
            kept.write_text(json.dumps(export), encoding="utf-8")
        print(export, flush=True)
        report = {
            "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
            "command": " ".join(["python benchmarks/grounding_3b.py", *("FOLDER" if "/" in word else word for word in sys.argv[1:])]),
            "network": str(SHAPES[size]), "precision": asked.precision, "target": asked.target, "kv_bits": asked.kv_bits,
            "screen": SCREENS[size], "machine": machine(),
            "versions": {name: importlib.metadata.version(name) for name in ("torch", "onnxruntime", "openvino")},
            "export": export, "answer": answered(bundle, asked.target, asked.threads, SCREENS[size]), "bundle": of_bundle(bundle),
        }  # fmt: skip
        page = written(report)
        print(page)
        out = work if asked.tiny else HERE
        (out / "grounding_3b.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        (out / "grounding_3b.md").write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
