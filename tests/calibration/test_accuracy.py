"""Scores and their intervals against published figures, a simulation, and the cases in which accuracy misleads."""

import math

import numpy as np
import pytest
from numbered_pictures import CLASSES, Numbered, answers, one_hot

from edgesmith.calibration.judge.accuracy import (
    AGREEMENT,
    TOP1,
    Metric,
    difference,
    measure,
    score,
    sqnr_db,
    wilson,
)
from edgesmith.calibration.judge.classification import judge_logits
from edgesmith.runtime.errors import EdgesmithError, UserMistake
from edgesmith.runtime.ground.numbers import smallest_cosine


@pytest.mark.parametrize("hits", [0, 1, 5, 9, 10])
def test_the_wilson_interval_ends_where_a_z_test_would_just_reject(hits):
    """The ends are the shares p at which (hits / n - p)^2 = z^2 p (1 - p) / n: where a z test would just reject."""
    n, z = 10, 1.959964
    inside = [p for p in np.linspace(0, 1, 100_001) if (hits / n - p) ** 2 <= z**2 * p * (1 - p) / n + 1e-15]
    assert wilson(hits, n) == pytest.approx((100 * inside[0], 100 * inside[-1]), abs=2e-3)


def test_the_paired_interval_is_that_of_agresti():
    """Agresti, Categorical Data Analysis, section 10.1: approval of a prime minister, 794 150 / 86 570: 0.04, (0.021, 0.059)."""
    both, only_first, only_second, neither = 794, 150, 86, 570
    labels = np.zeros(1600, int)
    first = one_hot(np.repeat([0, 0, 1, 1], [both, only_first, only_second, neither]))
    second = one_hot(np.repeat([0, 1, 0, 1], [both, only_first, only_second, neither]))
    drop = difference(TOP1, first, second, labels)
    assert (drop.points, drop.lost, drop.won, drop.n) == (4.0, 150, 86, 1600)
    assert (drop.low, drop.high) == pytest.approx((2.1, 5.9), abs=0.05)


def test_the_paired_interval_covers_what_it_says():
    rng = np.random.default_rng(5)
    labels, inside, truth = np.zeros(300, int), 0, 100 * (0.03 - 0.01)
    for _ in range(1000):
        kind = rng.choice(4, 300, p=(0.9, 0.03, 0.01, 0.06))  # both, lost, won, neither
        drop = difference(TOP1, one_hot(np.isin(kind, (2, 3)) * 1), one_hot(np.isin(kind, (1, 3)) * 1), labels)
        # lost: the reference is right (0) and the found is wrong (1)
        inside += drop.low <= truth <= drop.high
    assert 0.93 <= inside / 1000 <= 0.985


def test_pairing_sees_what_two_scores_cannot():
    """Six of 1000 changed, all for the worse: the scores' intervals overlap, the paired one lies above zero."""
    labels = np.zeros(1000, int)
    reference, found = one_hot(np.arange(1000) < 60), one_hot(np.arange(1000) < 66)
    before, after = measure(TOP1, reference, labels), measure(TOP1, found, labels)
    drop = difference(TOP1, reference, found, labels)
    assert before.low < after.high and after.low < before.low
    assert drop.points == pytest.approx(0.6) and drop.low > 0


def test_no_change_is_not_certainty():
    labels = np.arange(1000) % CLASSES
    drop = difference(TOP1, one_hot(labels * 0), one_hot(labels * 0), labels)
    assert drop.points == 0 and -0.5 < drop.low < 0 < drop.high < 0.5


def test_without_labels_the_reference_is_the_truth():
    reference = one_hot(np.arange(200) % CLASSES)
    found = reference.copy()
    found[:3] = found[:3, ::-1]
    scored = score(found, None, reference)
    assert (scored.metric, scored.value, scored.n) == ("agreement", 98.5, 200)
    drop = difference(AGREEMENT, reference, found, reference)
    assert (drop.points, drop.won) == (1.5, 0) and 0 < drop.low < 1.5 < drop.high
    assert score(found, np.arange(200) % CLASSES, reference).metric == "top1"


def test_a_nan_is_a_wrong_answer():
    """argmax calls the place of a NaN the largest value, and the label may stand there."""
    labels = np.zeros(10, int)
    found = one_hot(labels)
    found[:4, 0] = np.nan
    assert score(found, labels, one_hot(labels)).value == 60.0
    assert sqnr_db(one_hot(labels), found) == -math.inf and smallest_cosine(one_hot(labels), found) == -1.0


def test_sqnr_is_of_all_values_and_cosine_of_the_worst_picture():
    reference = np.array([[3.0, 4.0], [1.0, 0.0]], np.float32)
    assert sqnr_db(reference, reference) == math.inf
    assert sqnr_db(reference, reference * 0.99) == pytest.approx(40.0, abs=1e-3)
    assert sqnr_db(reference * 0, reference) == -math.inf
    assert smallest_cosine(reference, np.array([[3.0, 4.0], [0.0, 1.0]])) == 0.0  # the worst picture, not the mean
    assert smallest_cosine(reference, reference) == pytest.approx(1.0)


def test_a_metric_of_a_set_gets_its_interval_from_resampling():
    """Mean absolute error as a stand-in for mAP: the bootstrap must agree with the standard error of a mean."""
    rng = np.random.default_rng(0)
    truth = rng.standard_normal(400)
    found = (truth + rng.standard_normal(400))[:, None]
    metric = Metric("closeness", value=lambda outputs, truth: 100 - float(np.abs(outputs[:, 0] - truth).mean()))
    drop = difference(metric, truth[:, None] + 0.1, found, truth)
    loss = np.abs(found[:, 0] - truth)
    assert drop.points == pytest.approx(loss.mean() - 0.1) and drop.lost is None
    assert drop.high - drop.low == pytest.approx(2 * 1.96 * loss.std() / 20, rel=0.15)
    assert difference(metric, truth[:, None] + 0.1, found, list(truth)) == drop, "the draws are seeded, lists will do"


@pytest.mark.parametrize(("outputs", "labels"), [(0, 0), (3, 4)])
def test_labels_must_belong_to_the_pictures(outputs, labels):
    with pytest.raises(UserMistake, match="do not belong together"):
        score(np.zeros((outputs, CLASSES)), np.zeros(labels, int), np.zeros((outputs, CLASSES)))


def test_evaluation_judges_a_graph():
    labels = np.arange(100) % CLASSES
    worse = one_hot(labels)
    worse[:5] = worse[:5, ::-1]
    evaluation = judge_logits(Numbered(100), answers(one_hot(labels)), labels, batch=7)
    figures = evaluation.evaluate(answers(worse))
    assert (figures.score.value, figures.drop.points, figures.agreement, figures.n) == (95.0, 5.0, 95.0, 100)
    assert figures.sqnr_db == pytest.approx(10 * math.log10(100 / 10))
    assert evaluation.evaluate(answers(one_hot(labels))).to_json()["sqnr_db"] is None, "JSON has no infinity"
    assert evaluation.notes(1.0) == ()


def test_notes_say_what_the_pictures_cannot_tell():
    table = one_hot(np.zeros(128, int))
    (few, one_class), labels = (
        [
            judge_logits(Numbered(128), answers(one_hot(kind)), kind)
            for kind in (np.arange(128) % 4, np.zeros(128, int))
        ],
        None,
    )
    assert (
        "steps of 0.78 points, more than the budget of 0.3" in few.notes(0.3)[0] and "334 pictures" in few.notes(0.3)[0]
    )
    assert "all 128 pictures are of class 0" in one_class.notes()[0]
    unlabelled = judge_logits(Numbered(128), answers(table), labels).notes()
    assert "no labels" in unlabelled[0] and "all 128" in unlabelled[1]
    shuffled = judge_logits(Numbered(100), answers(one_hot(np.arange(100) % 4)), (np.arange(100) + 1) % 4).notes()
    assert "right on 0.0 %: are the pictures prepared" in shuffled[0] and "labels numbered" in shuffled[0]


def test_a_reference_with_nan_judges_nothing():
    table = one_hot(np.zeros(10, int))
    table[3] = np.nan
    with pytest.raises(EdgesmithError, match="not finite on 1 of 10 pictures"):
        judge_logits(Numbered(10), answers(table))
