"""One session, many threads: are all answers right, and do two callers get more done than one?

    python benchmarks/threads.py [--rounds 15]      CPU, two minutes; writes benchmarks/threads.{json,md}

Bundles are those of tests/data/bundles, on ONNX Runtime and OpenVINO with one engine thread a call (``threads=1``).

    wrong     of 8 threads x 1,000 runs, each thread with pictures of its own: answers other than those of a caller alone
    one, two  runs a second of one caller, and of two at once, medians of rounds that take turns
    ratio     two to one within a round, median and quartiles; 2 is all that two cores can give
    first     how long the first call took that found another one running: OpenVINO compiles once more then

A ratio needs cores that nobody else uses: the load of the machine stands in the head.
"""

from __future__ import annotations

import argparse
import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from edgesmith.runtime.backends.load import load
from edgesmith.runtime.backends.openvino_library import openvino
from edgesmith.runtime.bundle.engines import ONNXRUNTIME, OPENVINO
from edgesmith.runtime.session.benchmark import machine
from edgesmith.runtime.session.session import Session

HERE = Path(__file__).parent
BUNDLES = HERE.parent / "tests" / "data" / "bundles"
NAMES = ("classifier_fp32", "classifier_int8", "detector_int8")
CALLERS, RUNS = 8, 1000
ROUND_S = 0.5
NEAR = 1e-4  # of the largest value: kernels of several streams may add in another order; another picture is far from it


def inputs(session: Session, caller: int) -> dict[str, np.ndarray]:
    """Values of one caller, of the graph's usual shapes."""
    rng = np.random.default_rng(caller)
    return {
        spec.name: rng.standard_normal(spec.opt or spec.shape, dtype=np.float32).astype(spec.dtype)  # type: ignore[arg-type]
        for spec in session.inputs
    }


def all_at_once(work: Callable[[int], Any], callers: int) -> list[Any]:
    begin = threading.Barrier(callers)

    def one(caller: int) -> Any:
        begin.wait()
        return work(caller)

    with ThreadPoolExecutor(callers) as pool:
        return list(pool.map(one, range(callers)))


def wrong(session: Session) -> int:
    """How many of all runs gave something else than the same caller gets alone."""
    feeds = [inputs(session, caller) for caller in range(CALLERS)]
    right = [session.run(one) for one in feeds]

    def differs(expected: dict[str, np.ndarray], found: dict[str, np.ndarray]) -> bool:
        return any(not np.allclose(found[name], a, rtol=0, atol=NEAR * np.abs(a).max()) for name, a in expected.items())

    for caller in range(1, CALLERS):
        assert differs(right[0], right[caller]), "answers of two callers must be told apart"
    return sum(all_at_once(lambda one: sum(differs(right[one], session.run(feeds[one])) for _ in range(RUNS)), CALLERS))


def runs_a_second(session: Session, callers: int) -> float:
    feeds = [inputs(session, caller) for caller in range(callers)]

    def count(caller: int) -> int:
        done, until = 0, time.perf_counter() + ROUND_S
        while time.perf_counter() < until:
            session.run(feeds[caller])
            done += 1
        return done

    return sum(all_at_once(count, callers)) / ROUND_S


def first_meeting_ms(session: Session) -> float:
    """The longest of two calls that begin together, the first time this happens to the session."""

    def timed(caller: int) -> float:
        session.run(inputs(session, caller))
        return session.infer_ms

    return max(all_at_once(timed, 2))


def row(name: str, backend: str, rounds: int) -> dict[str, Any]:
    with load(BUNDLES / name, backend=backend, threads=1) as session:
        session.run(inputs(session, 0))
        first = first_meeting_ms(session)
        pairs = np.array([[runs_a_second(session, callers) for callers in (1, 2)] for _ in range(rounds)])
        low, ratio, high = map(float, np.percentile(pairs[:, 1] / pairs[:, 0], [25, 50, 75]))
        one, two = map(float, np.median(pairs, axis=0))
        told = {"bundle": name, "backend": backend, "wrong": wrong(session), "one_per_s": one, "two_per_s": two}
    return {**told, "ratio": ratio, "ratio_low": low, "ratio_high": high, "first_ms": first}


def write(rows: list[dict[str, Any]], rounds: int) -> None:
    import onnxruntime

    facts = {**machine(), "onnxruntime": onnxruntime.__version__, "openvino": openvino().__version__}
    facts |= {"date": str(date.today()), "rounds": rounds}
    (HERE / "threads.json").write_text(json.dumps({"machine": facts, "rows": rows}, indent=1) + "\n")
    command = f"`python benchmarks/threads.py --rounds {rounds}`, {facts['date']}"
    chip = f"{facts['cpu']}, {facts['cores']} cores, load {facts['load']}"
    versions = f"onnxruntime {facts['onnxruntime']}, openvino {facts['openvino'].split('-')[0]}"
    lines = [
        "# One session, many threads",
        "",
        "How to read it: the head of [threads.py](threads.py).",
        "",
        f"{command}, {chip}, {versions}",
        "",
        f"| bundle | backend | wrong of {CALLERS * RUNS:,} | one, runs a second | two | ratio (quartiles) | first, ms |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in rows:
        spread = f"{one['ratio']:.2f} ({one['ratio_low']:.2f} to {one['ratio_high']:.2f})"
        cells = [
            one["bundle"],
            one["backend"],
            f"{one['wrong']}",
            f"{one['one_per_s']:,.0f}",
            f"{one['two_per_s']:,.0f}",
        ]
        lines.append("| " + " | ".join([*cells, spread, f"{one['first_ms']:.0f}"]) + " |")
    (HERE / "threads.md").write_text("\n".join(lines) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    rows = []
    for name in NAMES:
        for backend in (ONNXRUNTIME, OPENVINO):
            rows.append(row(name, backend, rounds))
            print(
                {key: round(value, 2) if isinstance(value, float) else value for key, value in rows[-1].items()},
                flush=True,
            )
    write(rows, rounds)


if __name__ == "__main__":
    main()
