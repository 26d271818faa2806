"""How fast is it, beside what? All candidates in one process, in turns, so that a busy machine is unfair to none.

    measure({"torch eager": f, "edgesmith": g}, rounds=50)  ->  {name: Timing}

Each round runs every candidate once, and each round starts with another one. The ratio to the first candidate is taken
within a round, then its median: load that comes and goes hits both sides of it. Two clocks run: wall time is what a user
waits; the CPU time of all threads of this process is what the work costs, and the one to trust where others share the CPU.
"""

from __future__ import annotations

import gc
import os
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserMistake

MOST_ROUNDS = 1_000_000  # each is kept
CLOCKS = {"wall": "wall time", "cpu": "CPU time of all threads"}


@dataclass(frozen=True)
class Timing:
    """One candidate. Times in ms on the clock asked for; a time ratio is to the first candidate, lower is better."""

    name: str
    clock: str
    rounds: int
    median_ms: float
    p90_ms: float
    p99_ms: float
    min_ms: float
    throughput_per_s: float  # items a second at the median
    wall_median_ms: float
    cpu_median_ms: float
    time_ratio: float
    time_ratio_low: float  # quartiles of the ratio over the rounds
    time_ratio_high: float
    peak_rss_bytes: int  # of the whole process while this candidate ran first; all candidates are loaded
    rss_growth_bytes: int  # how far that lies above the memory before its first run

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def measure(
    candidates: Mapping[str, Callable[[], Any]],
    rounds: int = 30,
    warmup: int = 3,
    clock: str = "wall",
    items: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Timing]:
    """Time the candidates in turns. ``items`` is how many pictures one call handles, ``progress(done, rounds)`` is told.

    Raises:
        UserMistake: no candidates, no rounds, or a clock that is none.
    """
    if clock not in CLOCKS or not 1 <= rounds <= MOST_ROUNDS or warmup < 0 or not candidates:
        raise UserMistake(
            "this cannot be measured",
            found=f"clock {clock!r}, {rounds} rounds, {warmup} for warming up, {len(candidates)} candidates",
            expected=f"clock {' or '.join(CLOCKS)}, 1 to {MOST_ROUNDS:,} rounds, at least one candidate",
        )
    names = list(candidates)
    memory = {name: _peak_memory(candidates[name], warmup) for name in names}
    samples = np.empty((2, len(names), rounds))  # wall and CPU, ms
    collecting = gc.isenabled()
    gc.disable()
    try:
        for turn in range(rounds):
            for step in range(len(names)):
                index = (turn + step) % len(names)
                samples[:, index, turn] = _once(candidates[names[index]])
            gc.collect(0)
            if progress:
                progress(turn + 1, rounds)
    finally:
        if collecting:
            gc.enable()
    chosen = samples[list(CLOCKS).index(clock)]
    ratios = chosen / np.maximum(chosen[0], 1e-9)
    timings = {}
    for index, name in enumerate(names):
        median, p90, p99 = np.percentile(chosen[index], [50, 90, 99])
        low, ratio, high = np.percentile(ratios[index], [25, 50, 75])
        wall, cpu = np.median(samples[:, index], axis=1)
        peak, growth = memory[name]
        timings[name] = Timing(
            name=name,
            clock=clock,
            rounds=rounds,
            median_ms=float(median),
            p90_ms=float(p90),
            p99_ms=float(p99),
            min_ms=float(chosen[index].min()),
            throughput_per_s=items * 1e3 / max(float(median), 1e-9),
            wall_median_ms=float(wall),
            cpu_median_ms=float(cpu),
            time_ratio=float(ratio),
            time_ratio_low=float(low),
            time_ratio_high=float(high),
            peak_rss_bytes=peak,
            rss_growth_bytes=growth,
        )
    return timings


def to_json(timings: Mapping[str, Timing], **extras: Any) -> dict[str, Any]:
    """The ``benchmark`` entry of a manifest: the rows in their order, the first is the baseline, and the machine."""
    rows = [timing.to_json() for timing in timings.values()]
    first = next(iter(timings.values()))
    head = {"clock": first.clock, "unit": "ms", "rounds": first.rounds, "baseline": first.name}
    return {**head, **extras, "rows": rows, "machine": machine()}


def processors() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine() -> dict[str, Any]:
    """What the figures were taken on: chip, cores, system, load; no names of hosts or users."""
    chip = platform.processor() or platform.machine()
    for line in _read("/proc/cpuinfo").splitlines():
        if line.lower().startswith(("model name", "hardware")):
            chip = line.partition(":")[2].strip()
            break
    usable = processors()
    board = _read("/proc/device-tree/model").strip("\0\n ")
    load = round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None
    facts = {"cpu": chip, "cores": usable, "load": load, "system": f"{platform.system()} {platform.machine()}"}
    return {**facts, "python": platform.python_version(), **({"board": board} if board else {})}


def _once(candidate: Callable[[], Any]) -> tuple[float, float]:
    """(wall, CPU) of one call in ms."""
    wall, cpu = time.perf_counter_ns(), time.process_time_ns()
    candidate()
    return (time.perf_counter_ns() - wall) / 1e6, (time.process_time_ns() - cpu) / 1e6


def _peak_memory(candidate: Callable[[], Any], warmup: int) -> tuple[int, int]:
    """Warm a candidate up; (peak resident bytes of the process meanwhile, growth above what was resident before)."""
    gc.collect()
    try:
        Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak starts again from here
    except OSError:
        pass  # then the peak is that of the whole life of the process
    before = _status("VmRSS")
    for _ in range(max(warmup, 1)):
        candidate()
    peak = _status("VmHWM")
    return peak, max(peak - before, 0)


def _status(key: str) -> int:
    """A memory figure of this process in bytes; 0 where the system does not tell."""
    for line in _read("/proc/self/status").splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    return 0


def _read(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""
