"""How sound the passes are: seeded mutants of exported graphs, run before and after the passes.

    python tools/soundness --count 5000 [--seed 1] [--workers 2] [--only NAME] [--keep FOLDER] [--json]
    make soundness [SOUNDNESS="--count 500"]

A mutant is a piece of a graph with one small change, valid and run by ONNX Runtime before any pass. Then every pass alone,
one of our orders and one at random: wrong numbers, files that do not load, exceptions, and passes that go on changing.
A child that ends is counted by what it was at: making a mutant (onnx's shape inference ends the process on some changes that
no exporter writes, before anything of ours has seen them), before the passes (the engine), or after them (the only one of ours).
"""

from __future__ import annotations

import argparse
import collections
import json
import multiprocessing
import random
import sys
import time
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import onnx
from cut import piece, with_shapes

BATCH = (
    25  # mutants a child: onnx's shape inference ends the process on some changes, and takes no more than these along
)
TRIES = 40  # changes of one piece before another is cut
MAKING, BEFORE, AFTER = "while a mutant was made", "before the passes", "after the passes"  # where a child ended
FORK = multiprocessing.get_context("fork")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=5000, help="mutants")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--only", default="", help="graphs whose name holds this")
    parser.add_argument("--keep", type=Path, help="folder for the mutants that show a fault")
    parser.add_argument("--graphs", type=Path, default=Path("build") / "soundness", help="where traced graphs are kept")
    parser.add_argument(
        "--no-trace", dest="trace", action="store_false", help="only the graphs that were traced before"
    )
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after so long")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    began = time.monotonic()
    if asked.trace:
        tracing = FORK.Process(target=_trace, args=(asked.graphs, asked.only))  # torch stays out of this process
        tracing.start()
        tracing.join()
    paths = sorted(path for path in asked.graphs.glob("*.onnx") if asked.only in path.stem)
    graphs = {path.stem: with_shapes(onnx.load(path)) for path in paths}
    if not graphs:
        parser.error(f"no graph whose name holds {asked.only!r} in {asked.graphs}")
    counts: collections.Counter[str] = collections.Counter()
    told: collections.Counter[tuple[str, str]] = collections.Counter()
    running: dict[Connection, str] = {}
    number = 0
    while running or (counts["mutants"] < asked.count and time.monotonic() - began < asked.seconds):
        more = counts["mutants"] < asked.count and time.monotonic() - began < asked.seconds
        while more and len(running) < asked.workers:
            ours, theirs = FORK.Pipe(duplex=False)
            FORK.Process(
                target=_batch, args=(theirs, graphs, f"{asked.seed}/{number}", asked.keep), daemon=True
            ).start()
            theirs.close()
            running[ours], number = MAKING, number + 1
        for ours in wait(list(running)):
            assert isinstance(ours, Connection)
            try:
                heard = ours.recv()
            except EOFError:  # ended by itself, or by ONNX Runtime
                if (phase := running.pop(ours)) != "done":
                    counts[f"ended {phase}"] += 1
                continue
            running[ours] = heard["phase"]
            counts.update(heard.get("counts", {}))
            for kind, steps, words in heard.get("faults", ()):
                told[kind, steps] += 1
                print(f"{kind:15} {steps}  {words}", file=sys.stderr, flush=True)
    result = {"graphs": len(graphs), **counts, "seconds": round(time.monotonic() - began)}
    rows = [[*key, count] for key, count in told.most_common()]
    lines = [f"{count:6} {kind:15} {steps}" for kind, steps, count in rows]
    print(json.dumps(result | {"faults": rows}) if asked.json else "\n".join([*lines, str(result)]))
    return 1 if told or counts[f"ended {AFTER}"] else 0


def _trace(folder: Path, only: str) -> None:
    from originals import originals

    for _ in originals(folder, only):
        pass


def _batch(pipe: Connection, graphs: dict[str, onnx.ModelProto], seed: str, keep: Path | None) -> None:
    """Some mutants in a process of their own; what was found goes through the pipe."""
    from judge import faults, feeds, valid
    from mutate import mutant

    rng, names = random.Random(seed), sorted(graphs)
    for _ in range(BATCH):
        pipe.send({"phase": MAKING})
        name = rng.choice(names)
        start = graphs[name] if name.startswith("form-") and rng.random() < 0.6 else piece(graphs[name], rng)
        made = start and next((m for _ in range(TRIES) if (m := mutant(start, rng))), None)
        if not made:
            continue
        model, change = made
        given = feeds(model, rng.randrange(1 << 30))
        pipe.send({"phase": BEFORE})
        wanted = valid(model, given)
        if wanted is None:
            pipe.send({"phase": BEFORE, "counts": {"not valid": 1}})
            continue
        pipe.send({"phase": AFTER})
        found = faults(model, given, wanted, rng)
        kinds = collections.Counter(fault.kind for fault in found)
        rows = [(fault.kind, " ".join(fault.steps) if len(fault.steps) < 6 else "several", f"{name} {change}: {fault.words}")
                for fault in found]  # fmt: skip
        pipe.send({"phase": AFTER, "counts": {"mutants": 1, **kinds}, "faults": rows})
        if found and keep:
            _keep(keep, f"{seed.replace('/', '-')}-{rng.randrange(1 << 20)}", model, found)
    pipe.send({"phase": "done"})


def _keep(folder: Path, name: str, model: onnx.ModelProto, found: list[Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(model, folder / f"{name}.onnx")
    (folder / f"{name}.txt").write_text("\n".join(map(str, found)))


if __name__ == "__main__":
    sys.exit(main())
