"""The benchmark tells apart what differs, is fair to all candidates, and its figures are plain JSON."""

import itertools
import json
import subprocess
import sys
import time

import pytest

from edgesmith.runtime.errors import UserMistake
from edgesmith.runtime.session import benchmark
from edgesmith.runtime.session.benchmark import machine, measure, to_json


class Clocks:
    """Stands where the clocks are read; work moves them on, and nothing else does."""

    wall_ns = cpu_ns = 0

    def perf_counter_ns(self):
        return self.wall_ns

    def process_time_ns(self):
        return self.cpu_ns

    def work(self, waits_ms, *, computes_ms, later_ms=0.0):
        """A candidate: it computes, then waits, from turn to turn a little longer."""
        turns = itertools.count()

        def candidate():
            self.cpu_ns += int(computes_ms * 1e6)
            self.wall_ns += int((computes_ms + waits_ms + next(turns) * later_ms) * 1e6)

        return candidate


def test_half_the_work_is_half_the_time(monkeypatch):
    clocks, seen = Clocks(), []
    monkeypatch.setattr(benchmark, "time", clocks)
    candidates = {
        "slow": clocks.work(19, computes_ms=1, later_ms=2),
        "fast": clocks.work(9, computes_ms=1, later_ms=1),
    }
    timings = measure(candidates, rounds=7, warmup=1, items=4, progress=lambda *a: seen.append(a))
    assert timings["slow"].time_ratio == timings["slow"].time_ratio_low == 1.0
    assert timings["fast"].time_ratio == timings["fast"].time_ratio_low == timings["fast"].time_ratio_high == 0.5
    assert timings["fast"].min_ms == 11 and timings["fast"].median_ms == 14  # the first turn warmed up
    assert timings["fast"].median_ms < timings["fast"].p90_ms < timings["fast"].p99_ms < 17
    assert timings["fast"].throughput_per_s == pytest.approx(4e3 / timings["fast"].median_ms)
    assert timings["fast"].cpu_median_ms == 1, "waiting costs no CPU time"
    assert timings["fast"].wall_median_ms == 14
    assert seen[-1] == (7, 7)


def test_the_cpu_clock_does_not_see_waiting():
    def work():
        until_ns = time.process_time_ns() + 2_000_000  # 2 ms of CPU time, however long they take
        while time.process_time_ns() < until_ns:
            pass

    def work_and_wait():
        time.sleep(0.02)
        work()

    timings = measure({"work": work, "wait": work_and_wait}, rounds=9, warmup=1, clock="cpu")
    assert timings["wait"].time_ratio < 5 and timings["wait"].wall_median_ms > 20 > timings["wait"].median_ms


def test_turns_are_interleaved_and_the_first_one_changes():
    calls = []
    measure({name: lambda name=name: calls.append(name) for name in "abc"}, rounds=3, warmup=0)
    assert "".join(calls[3:]) == "abc" + "bca" + "cab"  # the first three calls measured the memory


MEMORY = """
import json
import numpy as np
from edgesmith.runtime.session.benchmark import measure
timings = measure({"small": lambda: None, "large": lambda: np.ones(200_000_000 // 8).sum()}, rounds=1, warmup=1)
print(json.dumps({name: [one.rss_growth_bytes, one.peak_rss_bytes] for name, one in timings.items()}))
"""


def test_peak_memory_belongs_to_the_candidate_that_needs_it():
    """In a process of its own: of a large one the system takes pages back meanwhile."""
    done = subprocess.run([sys.executable, "-c", MEMORY], check=True, capture_output=True, text=True)
    (small, _), (large, peak) = json.loads(done.stdout).values()
    assert large > 150e6 and small < 5e6
    assert peak > large


def test_json_has_rows_baseline_and_machine_and_nobodys_name():
    entry = json.loads(json.dumps(to_json(measure({"a": int, "b": int}, rounds=2), batch=1)))
    assert entry["baseline"] == "a" and [row["name"] for row in entry["rows"]] == ["a", "b"] and entry["batch"] == 1
    import platform

    assert machine()["cores"] >= 1 and platform.node() not in json.dumps(entry)


@pytest.mark.parametrize("wrong", [{"clock": "sun"}, {"rounds": 0}, {"warmup": -1}, {"candidates": {}}])
def test_settings_that_cannot_be_measured_are_refused(wrong):
    with pytest.raises(UserMistake, match="cannot be measured"):
        measure(**{"candidates": {"a": int}, **wrong})
