"""A median that keeps no values: exact while there are few, within half a percent after that, in memory that stays."""

from __future__ import annotations

import random
import statistics
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesmith.runtime.session.quantiles import EXACT, RunningMedian


def told(values: list[float]) -> float:
    running = RunningMedian()
    for value in values:
        running.add(value)
    assert running.count == len(values)
    return running.value


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=50))
def test_few_values_give_the_exact_median(values: list[float]):
    assert told(values) == statistics.median(values)


@pytest.mark.parametrize("seed", range(5))
def test_many_values_are_within_half_a_percent(seed: int):
    """Latencies have long tails: a lognormal, and one with two humps."""
    rng = random.Random(seed)
    values = [rng.lognormvariate(1, 1) for _ in range(EXACT * 5 + 1)]
    assert told(values) == pytest.approx(statistics.median(values), rel=0.005)
    humps = [rng.gauss(8, 0.2) if rng.random() < 0.6 else rng.gauss(40, 1) for _ in range(EXACT * 5 + 1)]
    assert told(humps) == pytest.approx(statistics.median(humps), rel=0.005)


def test_the_step_from_exact_to_classes_is_as_small():
    values = [5 + index * 1e-3 for index in range(EXACT)]
    assert told(values) == statistics.median(values)
    assert told([*values, 5.5]) == pytest.approx(5.5, rel=0.005)


def test_what_is_kept_does_not_grow():
    running = RunningMedian()
    for _ in range(EXACT + 1):
        running.add(1.0)
    before = sys.getsizeof(running._classes)
    for value in (0.0, 1e-9, 1e12, *(10 ** (place / 4000 - 6) for place in range(60_000))):
        running.add(value)
    assert len(running._classes) == 3472 and not running._values
    assert sys.getsizeof(running._classes) == before  # values that were never seen before, too
    assert sum(running._classes) == running.count


def test_nothing_has_no_median():
    with pytest.raises(ValueError, match="nothing"):
        _ = RunningMedian().value
