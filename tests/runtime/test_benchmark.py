"""The benchmark tells apart what differs, is fair to all candidates, and its figures are plain JSON."""

import json
import time

import numpy as np
import pytest

from edgesmith.runtime.errors import UserMistake
from edgesmith.runtime.session.benchmark import machine, measure, to_json


def test_half_the_work_is_half_the_time():
    def sleep(seconds):
        return lambda: time.sleep(seconds)

    seen = []
    timings = measure(
        {"slow": sleep(0.02), "fast": sleep(0.01)}, rounds=7, warmup=1, items=4, progress=lambda *a: seen.append(a)
    )
    assert timings["slow"].ratio == timings["slow"].ratio_low == 1.0
    assert 0.35 < timings["fast"].ratio < 0.8  # a busy machine oversleeps, hence not 0.5 sharp
    assert timings["fast"].min_ms >= 10 and timings["fast"].min_ms <= timings["fast"].median_ms
    assert timings["fast"].median_ms <= timings["fast"].p90_ms <= timings["fast"].p99_ms
    assert timings["fast"].throughput_per_s == pytest.approx(4e3 / timings["fast"].median_ms)
    assert timings["fast"].cpu_median_ms < 5, "sleeping costs no CPU time"
    assert seen[-1] == (7, 7)


def test_the_cpu_clock_does_not_see_waiting():
    def work():
        return sum(range(20000))

    def work_and_wait():
        time.sleep(0.02)
        return work()

    timings = measure({"work": work, "wait": work_and_wait}, rounds=9, warmup=1, clock="cpu")
    assert timings["wait"].ratio < 5 and timings["wait"].wall_median_ms > 20 > timings["wait"].median_ms


def test_turns_are_interleaved_and_the_first_one_changes():
    calls = []
    measure({name: lambda name=name: calls.append(name) for name in "abc"}, rounds=3, warmup=0)
    assert "".join(calls[3:]) == "abc" + "bca" + "cab"  # the first three calls measured the memory


def test_peak_memory_belongs_to_the_candidate_that_needs_it():
    timings = measure({"small": lambda: None, "large": lambda: np.ones(40_000_000 // 8).sum()}, rounds=1, warmup=1)
    assert timings["large"].rss_growth_bytes > 30e6
    assert timings["small"].rss_growth_bytes < 5e6
    assert timings["large"].peak_rss_bytes > timings["large"].rss_growth_bytes


def test_json_has_rows_baseline_and_machine_and_nobodys_name():
    entry = json.loads(json.dumps(to_json(measure({"a": int, "b": int}, rounds=2), batch=1)))
    assert entry["baseline"] == "a" and [row["name"] for row in entry["rows"]] == ["a", "b"] and entry["batch"] == 1
    import platform

    assert machine()["cores"] >= 1 and platform.node() not in json.dumps(entry)


@pytest.mark.parametrize("wrong", [{"clock": "sun"}, {"rounds": 0}, {"warmup": -1}, {"candidates": {}}])
def test_what_cannot_be_measured(wrong):
    with pytest.raises(UserMistake, match="cannot be measured"):
        measure(**{"candidates": {"a": int}, **wrong})
