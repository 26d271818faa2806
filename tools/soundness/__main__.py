"""How sound the passes are: seeded mutants of exported graphs, run before and after the passes.

    python tools/soundness --count 5000 [--seed 1] [--only NAME] [--keep FOLDER] [--json]
    make soundness

A mutant is a piece of a graph with one small change, valid and run by ONNX Runtime before any pass. Then every pass alone,
one of our orders and one at random: wrong numbers, files that do not load, exceptions, and passes that go on changing.
"""

from __future__ import annotations

import argparse
import collections
import json
import random
import sys
import time
from pathlib import Path

import onnx
from cut import piece, with_shapes
from judge import Fault, faults, feeds, valid
from mutate import mutant
from originals import originals

TRIES = 40  # changes of one piece before another is cut


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=5000, help="mutants")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="graphs whose name holds this")
    parser.add_argument("--keep", type=Path, help="folder for the mutants that show a fault")
    parser.add_argument("--graphs", type=Path, default=Path(".soundness"), help="where the traced graphs are kept")
    parser.add_argument("--no-trace", dest="trace", action="store_false", help="only the graphs that were traced before")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after so long")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    began, rng = time.monotonic(), random.Random(asked.seed)
    graphs = {name: with_shapes(onnx.load(path)) for name, path in originals(asked.graphs, asked.only, asked.trace)}
    counts: collections.Counter[str] = collections.Counter()
    told: collections.Counter[tuple[str, ...]] = collections.Counter()
    names = sorted(graphs)
    whole = [name for name in names if name.startswith("form-")]
    while counts["mutants"] < asked.count and time.monotonic() - began < asked.seconds:
        name = rng.choice(names)
        start = graphs[name] if name in whole and rng.random() < 0.6 else piece(graphs[name], rng)
        made = start and next((m for _ in range(TRIES) if (m := mutant(start, rng))), None)
        if not made:
            continue
        model, change = made
        given = feeds(model, rng.randrange(1 << 30))
        wanted = valid(model, given)
        if wanted is None:
            counts["not valid"] += 1
            continue
        counts["mutants"] += 1
        found = faults(model, given, wanted, rng)
        for fault in found:
            counts[fault.kind] += 1
            told[fault.kind, " ".join(fault.steps) if len(fault.steps) < 4 else "several"] += 1
            if not asked.json:
                print(f"{fault.kind:15} {' '.join(fault.steps)[:120]}  {name} {change}: {fault.words}", flush=True)
        if found and asked.keep:
            _keep(asked.keep, counts["mutants"], model, found)
    result = {"graphs": len(graphs), **counts, "seconds": round(time.monotonic() - began)}
    print(
        json.dumps(result | {"faults": [[*key, n] for key, n in told.most_common()]})
        if asked.json
        else _words(result, told)
    )
    return 1 if told else 0


def _keep(folder: Path, number: int, model: onnx.ModelProto, found: list[Fault]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(model, folder / f"{number}.onnx")
    (folder / f"{number}.txt").write_text("\n".join(map(str, found)))


def _words(result: dict, told: collections.Counter) -> str:
    lines = [f"{count:6} {kind:15} {step}" for (kind, step), count in told.most_common()]
    return "\n".join([*lines, ", ".join(f"{name} {value}" for name, value in result.items())])


if __name__ == "__main__":
    sys.exit(main())
