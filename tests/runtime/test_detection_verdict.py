"""When two computations of the same detections are near enough, and the mistakes that must not pass."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesmith.runtime.tasks.detection.detection import DetectionRule, keep
from edgesmith.runtime.tasks.detection.verdict import compare, figures_words, verdict

RULE = DetectionRule("runtime", 0.3, 0.6, 100)
PRECISIONS = ("fp32", "fp16", "bf16", "int8")


def scene(seed=0, pictures=4, things=30, cells=12, labels=3):
    """(n, N, 4 + K): every thing is seen by a dozen cells that roughly agree, as in a real detector."""
    rng = np.random.default_rng(seed)
    corner = rng.random((pictures, things, 1, 2)) * 500
    size = 30 + rng.random((pictures, things, 1, 2)) * 100
    boxes = np.concatenate([corner, corner + size], axis=-1) + rng.normal(0, 3, (pictures, things, cells, 4))
    scores = rng.random((pictures, things, cells, labels)) * 0.1
    label = rng.integers(0, labels, (pictures, things, 1, 1))
    best = 0.2 + 0.75 * rng.random((pictures, things, 1, 1)) * (0.5 + 0.5 * rng.random((pictures, things, cells, 1)))
    np.put_along_axis(scores, np.broadcast_to(label, (pictures, things, cells, 1)), best, axis=-1)
    return np.concatenate([boxes, scores], axis=-1).reshape(pictures, things * cells, -1).astype(np.float32)


def rows(answer, count=100):
    """What a graph with NMS inside gives for the same network: (n, D, 6), filled up with class -1."""
    found = np.zeros((len(answer), count, 6), np.float32)
    found[..., 5] = -1
    for row, cells in zip(found, answer, strict=True):
        kept = keep(cells, RULE)
        row[: len(kept.scores)] = np.column_stack([kept.boxes, kept.scores, kept.classes])
    return found


def noisy(answer, box_px, score, seed=1):
    rng = np.random.default_rng(seed)
    sigma = np.array([box_px] * 4 + [score] * (answer.shape[2] - 4))
    return (answer + rng.normal(0, 1, answer.shape) * sigma).astype(np.float32)


def best_cells(answer, count):
    order = np.argsort(-answer[..., 4:].max(axis=-1), axis=1)[:, :count]
    return np.take_along_axis(answer, order[..., None], axis=1)


JUDGE = scene()


def test_the_same_answer_in_every_form():
    for other, in_graph in ((JUDGE, False), (best_cells(JUDGE, 340), False), (rows(JUDGE), True)):
        figures = compare(JUDGE, other, RULE, in_graph)
        assert (figures["matched"], figures["flips"], figures["box_px"], figures["score_abs"]) == (100.0, 0, 0.0, 0.0)
        assert figures["detections"] > 100 and (figures["cosine"] is None) == (other is not JUDGE)
        assert all(verdict(precision, figures)[1] for precision in PRECISIONS)
        assert f"100 % of {figures['detections']} detections matched (0 missing" in figures_words(figures)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32 - 1), st.booleans())
def test_float32_rounding_holds_whatever_it_flips(seed, in_graph):
    """1e-6 of a score and 1e-3 of a pixel, twenty times what engines differ by; the counts must tell flips apart."""
    judge = scene(seed, pictures=2)
    other = noisy(judge, 1e-3, 1e-6, seed)
    figures = compare(judge, rows(other) if in_graph else other, RULE, in_graph)
    assert verdict("fp32", figures)[1], figures_words(figures)
    assert figures["missing"] == figures["extra"] == 0


def test_a_swap_of_roles_is_a_flip():
    """Two cells of one thing that overlap by 0.59, and a third between them. With the middle one ahead, the others go."""
    left, middle, right = [0, 0, 100, 100], [15, 0, 115, 100], [30, 0, 130, 100]  # 0.74 to the middle, 0.54 across
    judge = np.array([[[*left, 0.900], [*middle, 0.899], [*right, 0.898]]], np.float32)
    other = np.array([[[*left, 0.899], [*middle, 0.900], [*right, 0.898]]], np.float32)
    assert len(keep(judge[0], RULE).scores) == 2 and len(keep(other[0], RULE).scores) == 1
    figures = compare(judge, other, RULE, False)
    assert (figures["missing"], figures["extra"], figures["flips"], figures["matched"]) == (0, 0, 1, 100.0)
    assert figures["box_px"] == 0.0 and figures["score_abs"] == pytest.approx(1e-3, rel=1e-3)
    apart = np.array([[[*left, 0.9], [*middle, 0.0], [*right, 0.0]]], np.float32)  # here the right one is really lost
    figures = compare(judge, apart, DetectionRule("runtime", 0.3, 0.75, 100), False)
    assert figures["missing"] + figures["flips"] == 2 and figures["missing"] >= 1


def test_near_the_threshold_neither_side_counts():
    judge = np.array([[[0, 0, 10, 10, 0.9], [50, 0, 60, 10, 0.3004], [80, 0, 90, 10, 0.2996]]], np.float32)
    other = np.array([[[0, 0, 10, 10, 0.9], [50, 0, 60, 10, 0.2996], [80, 0, 90, 10, 0.3004]]], np.float32)
    figures = compare(judge, other, RULE, False)
    assert (figures["missing"], figures["extra"], figures["matched"]) == (0, 0, 100.0)
    other[0, 1, 4] = 0.2  # not by rounding
    other[0, 2, 4] = 0.4
    figures = compare(judge, other, RULE, False)
    assert (figures["extra"], verdict("fp32", figures)[1]) == (1, False)


def test_a_full_list_ends_at_its_own_lowest_score():
    few = DetectionRule("runtime", 0.3, 0.6, 10)
    figures = compare(JUDGE, noisy(JUDGE, 1e-3, 1e-5), few, False)
    assert figures["missing"] == figures["extra"] == 0 and figures["detections"] == 40


MISTAKES = {
    "centre and size": lambda a: np.concatenate(
        [(a[..., :2] + a[..., 2:4]) / 2, a[..., 2:4] - a[..., :2], a[..., 4:]], 2
    ),
    "labels from 1": lambda a: np.concatenate([a[..., :4], np.roll(a[..., 4:], 1, axis=-1)], axis=2),
    "half a cell off": lambda a: a + np.array([4, 4, 4, 4, 0, 0, 0], np.float32),
    "x and y swapped": lambda a: a[..., [1, 0, 3, 2, 4, 5, 6]],
    "logits": lambda a: np.concatenate([a[..., :4], np.log(a[..., 4:] / (1 - a[..., 4:]))], axis=2),
    "one in five lost": lambda a: a * np.repeat(np.arange(120) % 5 != 0, 12).reshape(4, 360, 1),
    "half a pixel too large": lambda a: a + np.array([-0.6, -0.6, 0.6, 0.6, 0, 0, 0], np.float32),
    "scores one per cent low": lambda a: a * np.array([1, 1, 1, 1, 0.99, 0.99, 0.99], np.float32),
}
ROUGH = ("centre and size", "labels from 1", "x and y swapped", "one in five lost")  # what no precision excuses


@pytest.mark.parametrize("name", MISTAKES)
@pytest.mark.parametrize("in_graph", [False, True])
def test_usual_mistakes_with_boxes_do_not_pass(name, in_graph):
    wrong = MISTAKES[name](JUDGE).astype(np.float32)
    figures = compare(JUDGE, rows(wrong) if in_graph else wrong, RULE, in_graph)
    assert not verdict("fp32", figures)[1], figures_words(figures)
    if name in ROUGH:
        assert not verdict("fp16", figures)[1] and not verdict("bf16", figures)[1]
        good = compare(JUDGE, JUDGE, RULE, False)
        assert not verdict("int8", figures, good)[1]  # on the device, where it was good when it was made
    if name in ROUGH[:3]:
        assert not verdict("int8", figures)[1]


def test_a_suppression_at_another_overlap_does_not_pass_as_flips():
    other = rows(JUDGE)
    found = np.zeros_like(other)
    found[..., 5] = -1
    for row, cells in zip(found, JUDGE, strict=True):
        kept = keep(cells, DetectionRule("runtime", 0.3, 0.8, 100))
        row[: len(kept.scores)] = np.column_stack([kept.boxes, kept.scores, kept.classes])
    figures = compare(JUDGE, found, RULE, True)
    assert figures["flips"] > 10 and not verdict("fp32", figures)[1]


def test_noise_of_each_precision_against_its_limit():
    fine, coarse = noisy(JUDGE, 0.5, 2e-3), noisy(JUDGE, 30, 0.2)
    assert verdict("fp16", compare(JUDGE, fine, RULE, False))[1]
    assert not verdict("fp32", compare(JUDGE, fine, RULE, False))[1]
    for precision in ("fp16", "bf16"):
        assert not verdict(precision, compare(JUDGE, coarse, RULE, False))[1]


def test_a_quantised_bundle_is_held_to_what_it_was_when_it_was_made():
    made = {"matched": 97.0, "cosine": 0.99}
    here = {"matched": 90.0, "missing": 5, "extra": 5, "cosine": 0.97, "flips": 0}
    assert verdict("int8", here, made) == ("89 % matched, cosine of scores >= 0.96", True)
    assert (
        not verdict("int8", {**here, "matched": 88.0}, made)[1]
        and not verdict("int8", {**here, "cosine": 0.95}, made)[1]
    )
    assert verdict("int8", {**here, "cosine": None}, made)[0] == "89 % matched"
    assert verdict("int8", {**here, "matched": 49.0})[1] is False and verdict("int8", {**here, "matched": 51.0})[1]


def test_where_the_judge_finds_nothing_its_best_cells_stand_in():
    faint = JUDGE * np.array([1, 1, 1, 1, 0.1, 0.1, 0.1], np.float32)
    figures = compare(faint, faint, RULE, False)
    assert figures["detections"] > 10 and figures["score"] < 0.1
    moved = faint + np.array([2, 0, 2, 0, 0, 0, 0], np.float32)
    assert not verdict("fp32", compare(faint, best_cells(moved, 200), RULE, False))[1]
    nothing = compare(faint, rows(faint), RULE, True)
    assert (nothing["detections"], nothing["matched"], verdict("fp32", nothing)[1]) == (0, 100.0, True)
    assert compare(JUDGE * 0, JUDGE * 0, RULE, False)["matched"] == 100.0


@pytest.mark.parametrize("precision", PRECISIONS)
def test_no_numbers_and_other_batches_fail(precision):
    broken = JUDGE.copy()
    broken[1, 2, 3] = np.nan
    for other in (broken, JUDGE[:2]):
        figures = compare(JUDGE, other, RULE, False)
        assert figures == {} and not verdict(precision, figures)[1] and "no finite numbers" in figures_words(figures)


def test_all_cells_in_the_order_of_their_scores_are_candidates():
    """A graph with open sides hands out as many candidates as it has cells where the picture is small."""
    everything = best_cells(JUDGE, JUDGE.shape[1])
    assert everything.shape == JUDGE.shape and not np.array_equal(everything, JUDGE)
    figures = compare(JUDGE, everything, RULE, False)
    assert figures["cell_box_px"] is None and verdict("fp32", figures)[1]
