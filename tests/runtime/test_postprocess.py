"""Logits become named classes in the right order."""

import numpy as np
import pytest

from edgesmith.runtime.errors import UserMistake
from edgesmith.runtime.tasks.classification import softmax, top_k


def test_best_first_with_probabilities_of_all_classes():
    rows = top_k(np.array([[0.0, np.log(3.0), 0.0], [5.0, 1.0, 1.0]], np.float32), ["cat", "dog", "emu"], k=2)
    assert [[p.label for p in row] for row in rows] == [["dog", "cat"], ["cat", "dog"]]
    assert rows[0][0].index == 1 and rows[0][0].probability == pytest.approx(0.6, abs=1e-6)


def test_huge_logits_do_not_overflow():
    np.testing.assert_allclose(softmax(np.array([[1e4, 1e4, -1e4]])), [[0.5, 0.5, 0.0]])


def test_more_than_there_are_gives_all():
    assert len(top_k(np.zeros((1, 3)), ["a", "b", "c"], k=5)[0]) == 3


@pytest.mark.parametrize(
    ("logits", "k", "said"),
    [
        (np.zeros((1, 4)), 5, "do not fit"),
        (np.zeros(3), 5, "do not fit"),
        (np.zeros((1, 3)), 0, "at least one"),
        (np.array([[0, np.nan, 1]]), 1, "no numbers"),
    ],
)
def test_logits_or_a_count_that_do_not_fit_are_refused(logits, k, said):
    with pytest.raises(UserMistake, match=said):
        top_k(logits, ["a", "b", "c"], k)
