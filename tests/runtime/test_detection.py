"""From answers to detections: thresholds, the best few, rows of a graph with NMS, what is refused, how it is shown."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesmith.runtime.errors import UserMistake
from edgesmith.runtime.pictures.preprocess import ImageContract
from edgesmith.runtime.tasks.detection.boxes import Kept
from edgesmith.runtime.tasks.detection.detection import DetectionRule, Detections, in_image, keep, kept_rows

RULE = DetectionRule("runtime", 0.3, 0.5, 10)


def answer(*rows):
    """Rows (x1, y1, x2, y2, score of class 0, score of class 1) -> (N, 6)."""
    return np.array(rows, np.float32).reshape(-1, 6)


CROWD = answer(
    (0, 0, 10, 10, 0.9, 0.8),  # one cell, two classes: both count
    (1, 0, 10, 10, 0.7, 0.0),  # overlaps the first by 0.9
    (50, 50, 60, 60, 0.3, 0.31),  # 0.3 is not above 0.3
    (80, 0, 90, 10, 0.1, 0.95),
)


def test_every_class_of_a_cell_competes_and_the_best_come_first():
    kept = keep(CROWD, RULE)
    assert kept.scores.tolist() == pytest.approx([0.95, 0.9, 0.8, 0.31])
    assert kept.classes.tolist() == [1, 0, 1, 1]
    assert kept.boxes.tolist() == [[80, 0, 90, 10], [0, 0, 10, 10], [0, 0, 10, 10], [50, 50, 60, 60]]
    assert (kept.boxes.dtype, kept.scores.dtype, kept.classes.dtype) == (np.float32, np.float32, np.int64)


def test_suppression_in_the_graph_gives_the_same_and_none_drops_nothing():
    """In the graph: the same answer when all cells are at hand, as for the judge. None: nothing is dropped."""
    for part, other in zip(keep(CROWD, RULE), keep(CROWD, DetectionRule("graph", 0.3, 0.5, 10)), strict=True):
        np.testing.assert_array_equal(part, other)
    assert keep(CROWD, DetectionRule("none", 0.3, 0.5)).scores.tolist() == pytest.approx([0.95, 0.9, 0.8, 0.7, 0.31])


def test_the_limit_is_for_all_classes_together():
    assert keep(CROWD, DetectionRule("runtime", 0.3, 0.5, 2)).scores.tolist() == pytest.approx([0.95, 0.9])
    assert keep(CROWD, DetectionRule("none", 0.3, 0.5, 2)).scores.tolist() == pytest.approx([0.95, 0.9])


@pytest.mark.parametrize("nms", ["runtime", "none", "graph"])
def test_nothing_above_the_threshold_is_four_columns(nms):
    """The authors' suppression returns (0, 5) here."""
    for rows in (CROWD, CROWD[:0]):
        kept = keep(rows, DetectionRule(nms, 0.99, 0.5))
        assert kept.boxes.shape == (0, 4) and kept.scores.shape == kept.classes.shape == (0,)
        assert kept.classes.dtype == np.int64
    kept = kept_rows(np.array([[0, 0, 0, 0, 0, -1]] * 3, np.float32), RULE)
    assert kept.boxes.shape == (0, 4)


def test_equal_scores_in_the_order_of_cells_then_classes():
    rows = answer(*[(x, 0, x + 5, 5, 0.5, 0.5) for x in (40, 20, 0)])
    kept = keep(rows, RULE)
    assert kept.boxes[:, 0].tolist() == [40, 40, 20, 20, 0, 0] and kept.classes.tolist() == [0, 1, 0, 1, 0, 1]


def test_rows_of_a_graph_with_nms_inside():
    rows = np.array(
        [[0, 0, 1, 1, 0.4, 2], [5, 5, 6, 6, 0.9, 0], [0, 0, 0, 0, 0.8, -1], [1, 1, 2, 2, 0.3, 1]], np.float32
    )
    kept = kept_rows(rows, RULE)
    assert kept.scores.tolist() == pytest.approx([0.9, 0.4]) and kept.classes.tolist() == [0, 2]
    assert len(kept_rows(rows, DetectionRule("graph", 0.0, 0.5, 1)).scores) == 1


@pytest.mark.parametrize("place", [(0, 0), (1, 4), (2, 5)])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_said(place, value):
    """A threshold would drop a NaN without a word, and its object with it."""
    rows = CROWD.copy()
    rows[place] = value
    for pick in (lambda: keep(rows, RULE), lambda: kept_rows(rows, RULE)):
        with pytest.raises(UserMistake, match="no numbers.*\n.*1 of 24.*\n.*overflowed.*\n.*--precision fp32"):
            pick()


def test_huge_numbers_are_numbers():
    rows = CROWD.copy()
    rows[:, :4] = 3e38  # their sum is infinite
    assert len(keep(rows, RULE).scores) == 5


@settings(deadline=None, max_examples=100)
@given(
    st.integers(0, 30),
    st.integers(1, 4),
    st.floats(0, 1),
    st.floats(0, 1),
    st.integers(1, 20),
    st.integers(0, 2**32 - 1),
)
def test_what_holds_for_any_answer(count, labels, score, iou, most, seed):
    rng = np.random.default_rng(seed)
    corner = rng.random((count, 2)) * 50
    rows = np.concatenate([corner, corner + rng.random((count, 2)) * 30, rng.random((count, labels))], 1).astype("f4")
    rule = DetectionRule("runtime", score, iou, most)
    kept = keep(rows, rule)
    assert len(kept.scores) <= most and (np.diff(kept.scores) <= 0).all() and (kept.scores > np.float32(score)).all()
    every = keep(rows, DetectionRule("none", score, iou, count * labels + 1))
    assert len(every.scores) == (rows[:, 4:] > np.float32(score)).sum()
    again = keep(np.concatenate([kept.boxes, np.eye(labels, dtype="f4")[kept.classes] * kept.scores[:, None]], 1), rule)
    if score > 0 or (kept.scores > 0).all():  # suppression of what it kept keeps all of it
        np.testing.assert_array_equal(again.scores, kept.scores)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"nms": "later"}, "runtime, graph or none"),
        ({"score": -0.1}, "score"),
        ({"score": float("nan")}, "score"),
        ({"score": "0.5"}, "score"),
        ({"iou": 1.5}, "iou"),
        ({"iou": True}, "iou"),
        ({"max_detections": 0}, "max_detections"),
        ({"max_detections": 5.0}, "max_detections"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_a_rule_names_the_field_that_is_wrong(change, said):
    with pytest.raises(UserMistake, match=said):
        DetectionRule.from_json({**RULE.to_json(), **change})
    with pytest.raises(UserMistake, match="missing"):
        DetectionRule.from_json({"nms": "runtime"})


def test_a_rule_survives_json():
    assert DetectionRule.from_json(json.loads(json.dumps(RULE.to_json()))) == RULE


def test_thresholds_can_be_chosen_where_the_graph_has_not_applied_them():
    assert RULE.override(0.1, 0.9, 700) == DetectionRule("runtime", 0.1, 0.9, 700)
    assert RULE.override() == RULE
    graph = DetectionRule("graph", 0.3, 0.5, 10)
    assert graph.override(score=0.4, max_detections=5) == DetectionRule("graph", 0.4, 0.5, 5)
    assert graph.override(score=0.3, iou=0.5, max_detections=10) == graph
    for asked, possible in (({"score": 0.2}, "0.3 or more"), ({"iou": 0.6}, "0.5"), ({"max_detections": 11}, "10 or")):
        with pytest.raises(UserMistake, match=f"(?s)cannot be.*{possible}.*in the graph.*--nms runtime"):
            graph.override(**asked)
    with pytest.raises(UserMistake, match="(?s)does not suppress.*--nms runtime"):
        DetectionRule("none", 0.3, 0.5).override(iou=0.6)
    with pytest.raises(UserMistake, match="score is not usable"):
        RULE.override(score=2)


def found() -> Detections:
    boxes = np.array([[1, 2, 3, 4], [0, 0, 10, 10]], np.float32)
    return Detections(boxes, np.array([0.9, 0.25], np.float32), np.array([1, 0]), ["cat", "dog"], (20, 30))


def test_detections_in_words_and_plain_values():
    assert len(found()) == 2 and [d.label for d in found()] == ["dog", "cat"]
    first = next(iter(found()))
    assert (first.index, first.box) == (1, (1, 2, 3, 4)) and first.score == pytest.approx(0.9)
    plain = json.loads(json.dumps(found().to_json()))
    assert plain[1] == {"label": "cat", "class": 0, "score": 0.25, "box": [0, 0, 10, 10]}
    assert str(found()).splitlines()[0].split() == ["0.900", "dog", "1.0", "2.0", "3.0", "4.0"]
    few = found().above(0.5)
    assert len(few) == 1 and few.image_size == (20, 30) and str(few.above(0.95)) == "nothing found"
    assert few.above(0.95).boxes.shape == (0, 4) and few.above(0.95).to_json() == []


def test_in_the_picture_means_clipped_to_it():
    kept = Kept(np.array([[-10, 10, 70, 30]], np.float32), np.ones(1, np.float32), np.zeros(1, np.int64))
    contract = ImageContract((64, 64), crop_fraction=1.0, fit="stretch")
    assert in_image(kept, (32, 128), contract).boxes.tolist() == [[0, 5, 128, 15]]
