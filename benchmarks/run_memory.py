"""How the memory of ``edgesmith run`` grows with the frames: one process a build and form of answer, beside another checkout.

    python benchmarks/run_memory.py [--frames 20000] [--against CHECKOUT]      writes benchmarks/run_memory.{json,md}

A video of small frames is made once; ``run`` classifies it with the classifier of tests/data/bundles, once the first 2,000 frames
and once all of them. Growth is the difference of the two processes' peaks: what libraries take at their start is in both. The answers
go to a file that is thrown away. One process after the other; memory does not depend on what else the machine does.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np

from edgesmith.runtime.session.benchmark import machine

HERE = Path(__file__).parent
ROOT = HERE.parent
BUNDLE = ROOT / "tests" / "data" / "bundles" / "classifier_fp32"
FORMS = {"text": [], "--json-lines": ["--json-lines"], "--json": ["--json"]}
WARM = 2000  # frames


def write_video(path: Path, frames: int) -> None:
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"mp4v"), 30, (64, 64))
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (16, 64, 64, 3), dtype=np.uint8)
    for index in range(frames):
        writer.write(pictures[index % len(pictures)])
    writer.release()


def peak_bytes(checkout: Path, folder: Path, video: Path, words: list[str]) -> int:
    """Peak resident memory of one run."""
    own = folder / checkout.resolve().name
    own.mkdir(exist_ok=True)
    if not (own / "edgesmith").exists():
        (own / "edgesmith").symlink_to(checkout.resolve())
    command = [sys.executable, "-m", "edgesmith", "run", str(BUNDLE), "--source", str(video), "--top", "1", *words]
    with (folder / "answers").open("wb") as answers:
        environment = {**os.environ, "PYTHONPATH": str(own)}
        process = subprocess.Popen(command, stdout=answers, stderr=subprocess.DEVNULL, env=environment)
        _, status, usage = os.wait4(process.pid, 0)  # subprocess itself does not tell what one child used
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return usage.ru_maxrss * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=20_000)
    parser.add_argument("--against", type=Path, help="a checkout to compare with")
    asked = parser.parse_args()
    builds = {"edgesmith": ROOT} | ({"the other checkout": asked.against} if asked.against else {})
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_video(folder / "video.mp4", asked.frames)
        for form, words in FORMS.items():
            for build, checkout in builds.items():
                few, all_of_them = (
                    peak_bytes(checkout, folder, folder / "video.mp4", [*words, "--max-frames", str(count)])
                    for count in (WARM, asked.frames)
                )
                rows.append({"build": build, "answers": form, "few_bytes": few, "growth_bytes": all_of_them - few})
                print(rows[-1], flush=True)
    report = {"machine": machine(), "frames": asked.frames, "rows": rows}
    (HERE / "run_memory.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    facts = report["machine"]
    lines = [
        "# How the memory of run grows with the frames",
        "",
        "How to read it: the head of [run_memory.py](run_memory.py). Peak resident memory.",
        "",
        f"`python benchmarks/run_memory.py --frames {asked.frames}`, {facts['cpu']}, {facts['cores']} cores, Python {facts['python']}",
        "",
        f"| build | answers | {WARM:,} frames, MB | growth to {asked.frames:,}, kB | bytes a frame |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        lines.append(
            f"| {row['build']} | {row['answers']} | {row['few_bytes'] / 1e6:.0f} | {row['growth_bytes'] / 1024:,.0f} | "
            f"{row['growth_bytes'] / (asked.frames - WARM):.0f} |"
        )
    (HERE / "run_memory.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
