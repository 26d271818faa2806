"""Calls with pauses between them: what do threads cost that wait awake, and what do sleeping ones lose?

    python benchmarks/spinning.py [--rounds 12]     CPU, one minute; writes benchmarks/spinning.{json,md}

A bundle of tests/data/bundles on ONNX Runtime with two threads, opened twice: ``spin`` as it is by default, and ``spin=False``.
Rounds take turns; in one, ``CALLS`` calls come ``PAUSE_MS`` apart (20 a second, a camera), in the other they follow at once.

    cpu   CPU time of all threads of this process in a round, its pauses included, by the number of calls
    wall  median wall time of a call

Two threads, since one never waits for another; the load of the machine stands in the head.
"""

from __future__ import annotations

import argparse
import json
import time
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from edgesmith.runtime.backends.load import load
from edgesmith.runtime.bundle.engines import ONNXRUNTIME
from edgesmith.runtime.session.benchmark import machine
from edgesmith.runtime.session.session import Session

HERE = Path(__file__).parent
BUNDLES = HERE.parent / "tests" / "data" / "bundles"
NAMES = ("classifier_fp32", "detector_int8")
THREADS, CALLS, PAUSE_MS = 2, 20, 50.0
WAYS = {True: "awake (the default)", False: "spin=False"}


def inputs(session: Session) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        spec.name: rng.standard_normal(spec.opt or spec.shape, dtype=np.float32).astype(spec.dtype)  # type: ignore[arg-type]
        for spec in session.inputs
    }


def one_round(session: Session, feeds: dict[str, np.ndarray], pause_ms: float) -> tuple[float, float]:
    """(CPU ms a call with its pause, median wall ms of a call)."""
    walls = []
    cpu = time.process_time_ns()
    for _ in range(CALLS):
        begun = time.perf_counter_ns()
        session.run(feeds)
        walls.append((time.perf_counter_ns() - begun) / 1e6)
        time.sleep(max(pause_ms - walls[-1], 0.0) / 1e3 if pause_ms else 0.0)
    return (time.process_time_ns() - cpu) / 1e6 / CALLS, float(np.median(walls))


def rows_of(name: str, rounds: int) -> list[dict[str, Any]]:
    with (
        load(BUNDLES / name, backend=ONNXRUNTIME, threads=THREADS) as awake,
        load(BUNDLES / name, backend=ONNXRUNTIME, threads=THREADS, spin=False) as asleep,
    ):
        feeds = inputs(awake)
        found = []
        for pause_ms in (PAUSE_MS, 0.0):
            samples: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
            for session in (awake, asleep):
                one_round(session, feeds, 0.0)
            for _ in range(rounds):
                for spin, session in ((True, awake), (False, asleep)):
                    # the other session's threads are still awake for a moment after their last call
                    time.sleep(0.2)
                    samples[spin].append(one_round(session, feeds, pause_ms))
            for spin, taken in samples.items():
                cpu, wall = map(float, np.median(taken, axis=0))
                found.append({"bundle": name, "pause_ms": pause_ms, "spin": spin, "cpu_ms": cpu, "wall_ms": wall})
    return found


def write(rows: list[dict[str, Any]], rounds: int) -> None:
    import onnxruntime

    facts = {**machine(), "onnxruntime": onnxruntime.__version__, "date": str(date.today()), "rounds": rounds}
    (HERE / "spinning.json").write_text(json.dumps({"machine": facts, "rows": rows}, indent=1) + "\n")
    chip = f"{facts['cpu']}, {facts['cores']} cores, load {facts['load']}, onnxruntime {facts['onnxruntime']}"
    lines = [
        "# Calls with pauses between them",
        "",
        "How to read it: the head of [spinning.py](spinning.py).",
        "",
        f"`python benchmarks/spinning.py --rounds {rounds}`, {facts['date']}, {chip}, {THREADS} threads",
        "",
        "| bundle | calls | threads wait | CPU, ms a call | wall, ms |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        calls = f"{1e3 / row['pause_ms']:.0f} a second" if row["pause_ms"] else "one after the other"
        cells = [row["bundle"], calls, WAYS[row["spin"]], f"{row['cpu_ms']:.2f}", f"{row['wall_ms']:.2f}"]
        lines.append("| " + " | ".join(cells) + " |")
    (HERE / "spinning.md").write_text("\n".join(lines) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=12)
    rounds = parser.parse_args().rounds
    rows = [row for name in NAMES for row in rows_of(name, rounds)]
    write(rows, rounds)
    print((HERE / "spinning.md").read_text())


if __name__ == "__main__":
    main()
