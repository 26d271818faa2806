"""The same detections in another order, moved, renamed, lost: what matching says of each."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesmith.runtime.tasks.detection.boxes import Kept
from edgesmith.runtime.tasks.detection.matching import match


def kept(*rows):
    """Rows (x1, y1, x2, y2, score, class)."""
    table = np.array(rows, np.float32).reshape(-1, 6)
    return Kept(table[:, :4], table[:, 4], table[:, 5].astype(np.int64))


TWO = kept((0, 0, 10, 10, 0.9, 0), (20, 20, 40, 40, 0.8, 1))


def test_by_class_and_box_never_by_rank():
    other = kept((20, 20, 40, 41, 0.82, 1), (0, 0, 10, 10, 0.7, 0))
    found = match(TWO, other, 0.0)
    assert found.pairs.tolist() == [[0, 1], [1, 0]] and (found.missing, found.extra, found.share) == (0, 0, 100.0)
    assert found.box_px == pytest.approx(1) and found.score_abs == pytest.approx(0.2)


def test_another_class_or_too_little_overlap_is_no_partner():
    for other in (kept((0, 0, 10, 10, 0.9, 1)), kept((6, 0, 16, 10, 0.9, 0))):
        found = match(TWO, other, 0.0)
        assert len(found.pairs) == 0 and (found.missing, found.extra, found.share) == (2, 1, 0.0)
    assert len(match(TWO, kept((6, 0, 16, 10, 0.9, 0)), 0.0, iou=0.2).pairs) == 1


def test_what_is_near_the_threshold_is_not_counted():
    low = kept((0, 0, 10, 10, 0.9, 0), (50, 50, 60, 60, 0.31, 0), (70, 70, 80, 80, 0.4, 0))
    found = match(low, TWO, 0.02, threshold=0.3)
    assert (found.missing, found.extra) == (1, 1) and found.share == 50.0
    assert match(low, kept((0, 0, 10, 10, 0.9, 0)), 0.0).missing == 2


def test_the_best_overlap_goes_first_and_equals_by_score():
    near = kept((0, 0, 10, 10, 0.5, 0), (1, 0, 11, 10, 0.9, 0))
    assert match(near, kept((1, 0, 11, 10, 0.5, 0), (0, 0, 10, 10, 0.9, 0)), 0.0).pairs.tolist() == [[0, 1], [1, 0]]
    twice = kept((0, 0, 10, 10, 0.9, 0), (0, 0, 10, 10, 0.5, 0))
    assert match(twice, kept((0, 0, 10, 10, 0.51, 0), (0, 0, 10, 10, 0.88, 0)), 0.0).pairs.tolist() == [[0, 1], [1, 0]]


def test_two_empty_lists_match_and_an_empty_one_matches_nothing_else():
    found = match(kept(), kept(), 0.0)
    assert found.pairs.shape == (0, 2) and (found.share, found.box_px, found.score_abs) == (100.0, 0.0, 0.0)
    assert match(TWO, kept(), 0.0).share == match(kept(), TWO, 0.0).share == 0.0


@settings(deadline=None, max_examples=100)
@given(st.integers(0, 12), st.integers(0, 12), st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.3, 0.5, 0.9]))
def test_what_holds_for_any_two_lists(n, m, seed, iou):
    rng = np.random.default_rng(seed)

    def some(count):
        corner = rng.integers(0, 12, (count, 2))
        rows = np.concatenate([corner, corner + rng.integers(0, 9, (count, 2)), rng.random((count, 1))], axis=1)
        return kept(*np.concatenate([rows, rng.integers(0, 2, (count, 1))], axis=1).tolist())

    a, b = some(n), some(m)
    found, mirrored, same = match(a, b, 0.0, iou), match(b, a, 0.0, iou), match(a, a, 0.0, iou)
    assert len(set(found.pairs[:, 0])) == len(set(found.pairs[:, 1])) == len(found.pairs)
    assert found.missing == n - len(found.pairs) and found.extra == m - len(found.pairs)
    assert (found.share, found.missing) == (mirrored.share, mirrored.extra)
    assert same.share == 100.0 and same.box_px == same.score_abs == 0.0
    assert (a.classes[found.pairs[:, 0]] == b.classes[found.pairs[:, 1]]).all()
