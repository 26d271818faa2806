"""GUI-AIMA on the CPU, side by side in one run: the official way, plain transformers, and ours; speed and memory.

    python benchmarks/grounding.py --work FOLDER --prepare       weights and bundles, a quarter of an hour, nothing is timed
    python benchmarks/grounding.py --work FOLDER [--rounds 3]    on a quiet machine, another one; grounding.{json,md}, two drawings

Each flow has a process of its own (grounding_worker.py); they take turns, each round begins with another one, and a ratio is taken
within a round, then its median. Flows: grounding_flows.py; network, screen and instructions: grounding_models.py. An official
flow in float32 is timed only after its scores were found to be the judge's.

    table     one thread and two; official flows and ours in every round, other peers in the first. "peak of process": the most
              that a fresh process takes until its first answer, libraries and weights included. "above the loaded model": how
              far a first instruction of a warm process rises above what it held
    sizes     720p, 1080p, 1440p; an official flow whose maps do not fit into the memory is not begun, and says so
    screens   many screens open at once, with a pool that holds them all and with one that holds four

optimum-intel takes part where it has an environment (grounding_peer.py).
Finished rows are kept in FOLDER: a run that broke goes on, ``--flows WORD`` measures (again, with ``--again``) flows with that word
in their name beside the official one, ``--parts`` only some parts. ``--tiny``: does the benchmark run?
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import math
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grounding_parts as parts
from grounding_exports import digest, settings_of
from grounding_models import MIDDLE, MORE_SCREENS, SCREENS, SHAPES, TINY, write_folder
from grounding_page import drawn, written
from grounding_runs import (  # fmt: skip
    OFFICIAL,
    OFFICIAL_BF16,
    OPENVINO_BF16,
    OURS,
    PEER_GRAPHS,
    PEER_PYTHON,
    PEERS,
    SIZED,
    FlowFailed,
    Kept,
)

from edgesmith.models.families.gui_aima.names import shapes_of
from edgesmith.models.families.gui_aima.picture import grid_of, resized
from edgesmith.runtime.session.benchmark import machine

HERE = Path(__file__).parent
PARTS = ("table 1", "table 2", "sizes", "screens")
THREADS = 2  # of sizes and screens: half the time
OPEN = {MIDDLE: (1, 2, 4, 8, 16), TINY: (1, 2, 3)}
OPEN_BEYOND = {MIDDLE: (1, 2, 4, 6), TINY: (1, 2, 3)}  # with the small pool
SMALL_POOL = {MIDDLE: 4, TINY: 2}  # screens
VERSIONS = ("torch", "transformers", "onnxruntime", "openvino")


class Benchmark:
    """What was asked, and where it is kept."""

    def __init__(self, asked: argparse.Namespace, work: Path) -> None:
        self.size = TINY if asked.tiny else MIDDLE
        self.shape, self.screen, self.more = SHAPES[self.size], SCREENS[self.size], MORE_SCREENS[self.size]
        self.rounds, self.asked = asked.rounds, asked
        self.work = work / self.size
        code = [
            HERE / f"grounding_{name}.py" for name in ("models", "flows", "worker", "parts", "runs", "ours", "peer")
        ]
        self.bundles = self.work / f"bundles-{digest()}"
        self.kept = Kept(self.work / f"rows-{digest(*code)}.json", asked.again and not asked.flows)
        self.folder = write_folder(self.shape, self.work / "folder")
        self.failed: dict[str, str] = {}

    def flows(self, part: str) -> list[str]:
        """Those of a part that are asked for and have no rows yet, and the official ones to compare them with."""
        names = SIZED if part == "sizes" else (OPENVINO_BF16,) if part == "screens" else (*PEERS, *PEER_GRAPHS, *OURS)
        chosen = [name for name in names if not self.asked.flows or any(word in name for word in self.asked.flows)]
        wanted = chosen if self.asked.again else self.kept.missing(part, chosen)
        official = (OFFICIAL, OFFICIAL_BF16) if part.startswith("table") else ()
        return [name for name in names if name in wanted or (wanted and name in official)]

    def settings(self, names: Sequence[str]) -> dict[str, dict[str, Any]]:
        found, failed = settings_of(
            self.folder, self.bundles, names, (self.screen, *self.more.values()), self.asked.peers
        )
        self.failed |= failed
        return found

    def run(self, part: str) -> None:
        names = self.flows(part)
        if part == "screens":
            self.many_screens()
            return
        flows = self.settings(names)
        if not flows:
            return
        if part == "sizes":
            rows, failed = parts.sizes(flows, self.shape, self.more, THREADS, self.asked.size_rounds)
        else:
            rows, failed = parts.table(flows, self.judge(), int(part.split()[1]), self.rounds, self.screen)
        self.failed |= failed
        self.kept.put(part, rows)

    def judge(self) -> list[float]:
        if "judge" not in self.kept.parts:
            self.kept.put("judge", {"scores": parts.judge_scores(str(self.folder), self.screen, THREADS)})
        found: list[float] = self.kept.parts["judge"]["scores"]
        return found

    def many_screens(self) -> None:
        """One flow: what a pool does depends on it alone."""
        (settings,) = self.settings([OPENVINO_BF16]).values() or ({},)
        all_of_them, some = (
            f"ours, bf16, a pool for {max(OPEN[self.size])}",
            f"ours, bf16, a pool for {SMALL_POOL[self.size]}",
        )
        mb = self.screen_bytes(Path(settings["bundle"])) / 2**20
        for name, counts, room in (
            (all_of_them, OPEN, max(OPEN[self.size])),
            (some, OPEN_BEYOND, SMALL_POOL[self.size]),
        ):
            if self.asked.again or self.kept.missing("screens", [name]):
                pool_mb = (room + 0.5) * mb
                self.kept.put("screens", {name: parts.screens({**settings, "pool_mb": pool_mb}, self.screen, counts[self.size], THREADS)})  # fmt: skip

    def screen_bytes(self, bundle: Path) -> int:
        from edgesmith.runtime.tasks.grounding.screens.kv_bytes import CacheLayout

        rows, columns = grid_of(resized(self.screen[1], self.screen[0]))
        told = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))["grounding"]
        return CacheLayout.of_bundle(told).screen_bytes(len(told["template"]["before"]) + rows * columns)

    def report(self) -> dict[str, Any]:
        tokens = {word: math.prod(grid_of(resized(size[1], size[0]))) for word, size in self.more.items()}
        notes = [
            (bundle.stem, note)
            for bundle in sorted(self.bundles.glob("*.edge"))
            for note in json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))["notes"]
            if note.startswith("parity does NOT hold")
        ]
        return {
            "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
            "command": " ".join(
                ["python benchmarks/grounding.py", *("FOLDER" if "/" in word else word for word in sys.argv[1:])]
            ),
            "size": self.size,
            "network": str(self.shape),
            "parameters": sum(math.prod(sides) for sides in shapes_of(self.shape).values()),
            "screen": self.screen,
            "visual_tokens": math.prod(grid_of(resized(self.screen[1], self.screen[0]))),
            "size_tokens": tokens,
            "machine": machine(),
            "versions": {name: importlib.metadata.version(name) for name in VERSIONS},
            "notes": notes,
            "failed": self.failed,
            "parts": {part: self.kept.parts.get(part, {}) for part in PARTS},
        }


def write(report: dict[str, Any], out: Path) -> str:
    """grounding.json, grounding.md and the drawings into ``out``; the page."""
    plots = {part: f"grounding_{part}.svg" for part in drawn(report)}
    page = written(report, plots)
    for part, drawing in drawn(report).items():
        (out / plots[part]).write_text(drawing, encoding="utf-8")
    (out / "grounding.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    (out / "grounding.md").write_text(page, encoding="utf-8")
    return page


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size-rounds", type=int, default=1)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--flows", nargs="+", metavar="WORD", help="only flows with one of these words in their name")
    parser.add_argument("--again", action="store_true", help="measure what is kept, too")
    parser.add_argument("--prepare", action="store_true", help="weights and bundles only")
    parser.add_argument("--peers", type=Path, default=PEER_PYTHON, help="the Python of optimum-intel's environment")
    parser.add_argument("--tiny", action="store_true", help="a network of a few values, written beside its weights")
    parser.add_argument("--work", type=Path, help="a folder for weights, bundles and rows, kept and used again")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        benchmark = Benchmark(asked, asked.work or Path(temporary))
        benchmark.settings([*PEERS, *PEER_GRAPHS, *OURS])
        for name, why in benchmark.failed.items():
            print(f"{name}: {why}", flush=True)
        if asked.prepare:
            return
        for part in asked.parts:
            try:
                benchmark.run(part)
            except FlowFailed as error:
                benchmark.failed[part] = str(error)
        print(write(benchmark.report(), benchmark.work if asked.tiny else HERE))


if __name__ == "__main__":
    main()
