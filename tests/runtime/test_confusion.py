"""Confusion and calibration of small sets, against figures by hand."""

from __future__ import annotations

import numpy as np
import pytest

from edgesmith.runtime.coco.confusion import NOTHING, OTHERS, Confused
from edgesmith.runtime.coco.reliability import reliability

NAMES = ["cat", "dog", "cow"]


def test_classes_by_hand():
    """Four cats, one of them said to be a dog; one dog, said to be nothing."""
    told = Confused.of(3, np.array([0, 0, 0, 0, 1]), np.array([0, 0, 0, 1, -1])).per_class(NAMES)
    assert told["cat"] == {"precision": 100, "recall": 75, "f1": pytest.approx(600 / 7), "support": 4}
    assert told["dog"] == {"precision": 0, "recall": 0, "f1": 0, "support": 1}
    assert told["cow"] == {"precision": None, "recall": None, "f1": None, "support": 0}


def test_the_matrix_has_the_set_down_and_the_network_across():
    told = Confused.of(3, np.array([0, 0, 1, 2]), np.array([0, 1, 1, 9])).folded(NAMES)
    assert told == {
        "truth": NAMES,
        "found": [*NAMES, NOTHING],
        "counts": [[1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]],
    }


def test_many_classes_are_folded_to_those_that_are_confused_and_no_count_is_lost():
    names = [f"class {number}" for number in range(50)]
    truth = np.arange(50).repeat(2)
    found = truth.copy()
    found[[10, 80]] = 7  # of the classes 5 and 40
    told = Confused.of(50, truth, found).folded(names, most=3)
    assert told["truth"] == told["found"] == ["class 5", "class 7", "class 40", OTHERS]
    assert told["counts"] == [[1, 1, 0, 0], [0, 2, 0, 0], [0, 1, 1, 0], [0, 0, 0, 94]]


def test_pictures_joined_are_one_set():
    rng = np.random.default_rng(0)
    truth, found = rng.integers(0, 4, 90), rng.integers(0, 4, 90)
    whole = Confused.of(4, truth, found)
    parts = [Confused.of(4, truth[at : at + 30], found[at : at + 30]) for at in (0, 30, 60)]
    joined = Confused.joined(4, [(one.truth, one.found, one.times) for one in parts])
    names = list("abcd")
    assert joined.folded(names) == whole.folded(names) and joined.per_class(names) == whole.per_class(names)


def test_calibration_by_hand():
    """Two answers of 0.9 of which one is right, and two of 0.3, both right: half of the set is off by 40, half by 70 points."""
    told = reliability(np.array([0.9, 0.3, 0.9, 0.3]), np.array([True, True, False, True]))
    assert told["ece"] == pytest.approx(0.5 * 40 + 0.5 * 70)
    assert [one["pictures"] for one in told["bins"]] == [2, 2]
    assert [(one["confidence"], one["accuracy"]) for one in told["bins"]] == [
        (pytest.approx(30), 100),
        (pytest.approx(90), 50),
    ]


def test_an_answer_that_is_no_number_is_wrong_without_confidence():
    told = reliability(np.array([np.nan, 1.0]), np.array([False, True]))
    assert told["ece"] == 0 and [one["confidence"] for one in told["bins"]] == [0, 100]
