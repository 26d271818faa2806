"""``edgesmith bench`` on a device: the bundle by itself, in every way its backend has, beside what the board was set to.

No torch and no peers; the document is for the report of the workstation too (``edgesmith bench BUNDLE --device FILE`` there). Golden
inputs are what is run, so each way is held to the golden outputs first. Calls take turns (session/benchmark.py).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import date
from pathlib import Path
from typing import Any

from ...backends import default_backend, find_backend
from ...backends.load import load
from ...bundle.bundle import Bundle, open_bundle
from ...errors import EdgesmithError, UserMistake
from ...session.benchmark import measure, to_json
from ...session.checks import at_least
from ...session.session import Session
from ...tasks.known import task_of
from .board import board, power_mw, whole_mw

KIND, SCHEMA = "edgesmith device benchmark", 1
ENERGY_S, SAMPLE_S = 3.0, 0.05  # how long power is looked at, and how often
MOST_ROUNDS = 100_000


def bench(
    place: str,
    backend: str | None = None,
    rounds: int = 100,
    threads: int | None = None,
    energy_s: float = ENERGY_S,
    root: Path = Path("/"),
) -> dict[str, Any]:
    """Measure, print nothing, write nothing; the document.

    Raises:
        UserMistake: no rounds, or a way of the backend that does not hold the golden outputs: fast and wrong is not measured.
        BackendUnavailable, BundleRefused: as ``load``.
    """
    if not 2 <= rounds <= MOST_ROUNDS:
        raise UserMistake("rounds are counted", found=f"--rounds {rounds}", expected=f"2 to {MOST_ROUNDS:,}")
    bundle = open_bundle(place)
    name = backend or default_backend(bundle.target, bundle.manifest.get("engine"))
    ways = (
        find_backend(name).ways if len(bundle.graphs) == 1 else {"": {}}
    )  # several graphs: each way is another copy of them
    before = board(root)
    skipped: dict[str, str] = {}
    with ExitStack() as stack:
        sessions: dict[str, Session] = {}
        for way, options in ways.items():
            label = f"Edgesmith, {name}, {bundle.precision}" + (f", {way}" if way else "")
            try:
                session = stack.enter_context(load(bundle, name, threads, **options))
                _check(session, label)
            except EdgesmithError as error:
                if not sessions:
                    raise
                skipped[label] = str(error).splitlines()[0]
                continue
            sessions[label] = session
        calls, items = {}, 1
        for label, session in sessions.items():
            calls[label], items = _call(session)
        timings = measure(calls, rounds, warmup=3, items=items)
        first = next(iter(sessions.values()))
        result = to_json(timings, threads=threads, skipped=skipped)
        if (whole := _from_pixels(first)) is not None:
            result["end_to_end"] = {"name": "from the pixels of the golden picture to its answer"}
            result["end_to_end"] |= _figures(measure({"whole": whole}, rounds, warmup=3)["whole"].to_json())
        if energy := _energy(next(iter(calls.values())), items, energy_s, root):
            result["energy"] = energy
    facts = {
        "kind": KIND,
        "schema": SCHEMA,
        "bundle": bundle.name,
        "graphs": graphs_of(bundle),
        "date": str(date.today()),
    }
    told = {"precision": bundle.precision, "target": bundle.target, "backend": name, "built": first.builds}
    return {**facts, **told, **result, "board": {"before": before, "after": board(root)}}


def graphs_of(bundle: Bundle) -> dict[str, str]:
    """{graph: sha256 of its file}: what a benchmark of a bundle is a benchmark of."""
    files = bundle.manifest["files"]
    return {name: files[bundle.files_of(graph)[0]]["sha256"] for name, graph in bundle.graphs.items()}


def _check(session: Session, label: str) -> None:
    wrong = [row for row in session.self_test() if not row.passed]
    if wrong:
        raise UserMistake(
            f"{label} does not hold its self-test, and is not measured",
            found="\n".join(f"{row.output}: {row.told or 'nothing to compare'}, limit {row.limit}" for row in wrong),
            attempt="edgesmith test BUNDLE",
        )


def _call(session: Session) -> tuple[Callable[[], Any], int]:
    """(what is timed, how many items one call handles): golden inputs of the usual batch, or all of them in the task's own way."""
    golden, task = session.bundle.golden, task_of(session.bundle.task)
    own: tuple[Callable[[], Any], ...] = (
        lambda: task.replay(session.screens, golden.inputs, golden.picture),
        lambda: task.golden_runs(session.run, golden.inputs),
    )
    for call in own:
        if call() is not None:
            return call, golden.cases
    least, size = session.batch_sizes(golden.cases)
    feeds = {name: at_least(array[:size], least) for name, array in golden.inputs.items()}
    return (lambda: session.run(feeds)), len(next(iter(feeds.values())))


def _from_pixels(session: Session) -> Callable[[], Any] | None:
    picture = session.bundle.golden.picture
    if picture is None or len(session.bundle.graphs) > 1:
        return None
    return lambda: session(picture)


def _figures(timing: dict[str, Any]) -> dict[str, float]:
    return {key: timing[key] for key in ("median_ms", "p90_ms", "p99_ms", "min_ms")}


def _energy(call: Callable[[], Any], items: int, seconds: float, root: Path) -> dict[str, Any] | None:
    """Millijoules an item, of each rail and of the module; None where the board tells no power."""
    if not power_mw(root) or seconds <= 0:
        return None
    idle = _mean_power(lambda: time.sleep(min(seconds, 1.0)), root)[0]
    done = 0

    def work() -> None:
        nonlocal done
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            call()
            done += items

    busy, took_s = _mean_power(work, root)
    each = {rail: milliwatts * took_s / done for rail, milliwatts in busy.items()}
    told: dict[str, Any] = {
        "mj_per_item_by_rail": each,
        "busy_mw": busy,
        "idle_mw": idle,
        "items": done,
        "seconds": took_s,
    }
    if (whole := whole_mw(each)) is not None:
        told["mj_per_item"] = whole
    return told


def _mean_power(work: Callable[[], None], root: Path) -> tuple[dict[str, float], float]:
    """(mean milliwatts of each rail while the work is done, how long it took)."""
    samples: list[dict[str, float]] = [power_mw(root)]
    over = threading.Event()

    def look() -> None:
        while not over.wait(SAMPLE_S):
            samples.append(power_mw(root))

    watcher = threading.Thread(target=look, name="edgesmith-power", daemon=True)
    begun = time.perf_counter()
    watcher.start()
    try:
        work()
    finally:
        took_s = time.perf_counter() - begun
        over.set()
        watcher.join()
    rails = set.intersection(*(set(sample) for sample in samples))
    return {rail: sum(sample[rail] for sample in samples) / len(samples) for rail in sorted(rails)}, took_s


def show(result: dict[str, Any]) -> str:
    """The document as text, for a terminal."""
    lines = [f"{'':44}  {'median':>8}  {'p90':>8}  {'p99':>8} ms   {'a second':>9}"]
    for row in result["rows"]:
        times = "  ".join(f"{row[key]:8.2f}" for key in ("median_ms", "p90_ms", "p99_ms"))
        lines.append(f"{row['name']:44}  {times}      {row['throughput_per_s']:9.1f}")
    if whole := result.get("end_to_end"):
        times = "  ".join(f"{whole[key]:8.2f}" for key in ("median_ms", "p90_ms", "p99_ms"))
        lines.append(f"{'from pixels to the answer':44}  {times}      {1e3 / max(whole['median_ms'], 1e-9):9.1f}")
    lines += [f"not measured: {label}: {why}" for label, why in result["skipped"].items()]
    if energy := result.get("energy"):
        each = energy.get("mj_per_item")
        lines.append(
            f"energy        {each:.1f} mJ an item"
            if each is not None
            else f"energy        {energy['mj_per_item_by_rail']}"
        )
    for name, value in result["board"]["after"].items():
        if name != "tegrastats":
            lines.append(f"{name.replace('_', ' '):13} {_plain(value)}")
    return "\n".join(lines)


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_plain(one)}" for key, one in value.items())
    return f"{value:g}" if isinstance(value, float) else str(value)
