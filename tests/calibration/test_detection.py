"""A detector is judged by what it finds: mAP with a paired drop, agreement, and noise that sees both of its heads."""

import math
import tracemalloc

import numpy as np
import pytest
from network_boxes import to_network
from numbered_pictures import Numbered, answers

from edgesmith.calibration.judge.accuracy import difference, measure, sqnr_db
from edgesmith.calibration.judge.detection import (
    OWN,
    OWN_SCORE,
    NothingFound,
    cells_of_rows,
    judge_boxes,
    mean_ap,
    own_boxes,
)
from edgesmith.calibration.judge.detection import sqnr_db as box_sqnr_db
from edgesmith.runtime.coco.annotations import Truth
from edgesmith.runtime.coco.average_precision import evaluate_boxes
from edgesmith.runtime.errors import EdgesmithError, UserMistake
from edgesmith.runtime.pictures.preprocess import ImageContract
from edgesmith.runtime.tasks.detection.detection import DetectionRule, in_image, keep

RULE = DetectionRule("runtime", 0.05, 0.7)
CLASSES, SIDE = 3, 64
SIZES = ((48, 96), (200, 100), (64, 64))
FITS = [
    ImageContract(size=(SIDE, SIDE), fit="stretch", crop_fraction=1.0),
    ImageContract(size=(SIDE, SIDE), fit="letterbox", crop_fraction=1.0),
    ImageContract(size=(SIDE, SIDE), fit="letterbox", crop_fraction=1.0, anchor="corner"),
]
STRETCH = FITS[0]


def scenes(count: int, seed: int = 0, contract: ImageContract = STRETCH) -> tuple[np.ndarray, list[Truth]]:
    """(count, 40, 4 + CLASSES) answers of a good detector and what the pictures show: up to four things each."""
    rng = np.random.default_rng(seed)
    table, truths = np.zeros((count, 40, 4 + CLASSES), np.float32), []
    for number in range(count):
        size, things = SIZES[number % 3], rng.integers(1, 5)
        corner = rng.uniform(0, 0.5, (things, 2)) * size[::-1]
        boxes = np.concatenate([corner, corner + rng.uniform(0.2, 0.5, (things, 2)) * size[::-1]], axis=1)
        classes = rng.integers(0, CLASSES, things)
        truths.append(Truth(boxes, classes, np.zeros(things, bool), np.full(things, 900.0), size))
        cells = rng.permutation(40)
        network = to_network(boxes, size, contract)
        table[number, :, :4] = np.sort(rng.uniform(0, SIDE, (40, 2, 2)), axis=1).reshape(40, 4)
        table[number, :, 4:] = rng.uniform(0.001, 0.04, (40, CLASSES))
        table[number, cells[:things], :4] = network + rng.normal(0, 0.4, (things, 4))
        table[number, cells[:things], 4 + classes] = rng.uniform(0.4, 0.95, things)
    return table, truths


def damaged(table: np.ndarray, boxes_px: float = 0.0, logits: float = 0.0, seed: int = 9) -> np.ndarray:
    """The answers of a detector whose box head or class head is off by so much."""
    rng = np.random.default_rng(seed)
    found = table.copy()
    found[..., :4] += rng.normal(0, 1, found[..., :4].shape) * boxes_px
    scores = found[..., 4:].astype(np.float64)
    found[..., 4:] = 1 / (1 + np.exp(-np.log(scores / (1 - scores)) - rng.normal(0, 1, scores.shape) * logits))
    return found


@pytest.mark.parametrize("contract", FITS, ids=["stretch", "letterbox", "corner"])
def test_the_metric_is_coco_on_boxes_mapped_back(contract):
    table, truths = scenes(30, contract=contract)
    kept = [in_image(keep(one, RULE), truth.image_size, contract) for one, truth in zip(table, truths, strict=True)]
    expected = evaluate_boxes(kept, truths, ["a", "b", "c"])
    found = measure(mean_ap(RULE, contract), table, truths)
    assert (found.value, found.low, found.high) == (expected["map"], expected["low"], expected["high"])
    assert found.value > 60 and found.metric == "mAP"
    assert measure(mean_ap(RULE, contract), kept, truths) == found, "what was kept is as good as the answers"


def test_a_paired_drop_knows_more_than_two_scores():
    table, truths = scenes(90)
    worse, metric = damaged(table, boxes_px=0.4), mean_ap(RULE, STRETCH)
    drop, before, after = (
        difference(metric, table, worse, truths),
        measure(metric, table, truths),
        measure(metric, worse, truths),
    )
    assert drop.points == pytest.approx(before.value - after.value) and drop.points > 1 and drop.lost is None
    assert 0 < drop.low < drop.points < drop.high
    assert drop.high - drop.low < (before.high - before.low) + (after.high - after.low)
    assert difference(metric, table, table, truths).high == 0


def test_evaluation_judges_a_detector():
    table, truths = scenes(60)
    evaluation = judge_boxes(Numbered(60), answers(table), RULE, STRETCH, truths, batch=7)
    whole = mean_ap(RULE, STRETCH)
    for found in (table, damaged(table, 1.0), damaged(table, 0.0, 1.0)):
        figures = evaluation.evaluate(answers(found))
        assert figures.score == measure(whole, found, truths) and figures.drop == difference(
            whole, table, found, truths
        )
        assert figures.n == 60 == len(evaluation)
    same = evaluation.evaluate(answers(table))
    assert (same.drop.points, same.agreement, same.sqnr_db, same.cosine) == (0, 100, math.inf, pytest.approx(1))
    assert evaluation.shape == (40, 7) and "few for an mAP" in evaluation.notes(0.5)[0]


def test_agreement_is_the_share_of_boxes_found_again():
    table, truths = scenes(60)
    evaluation = judge_boxes(Numbered(60), answers(table), RULE, STRETCH, truths)
    things = sum(map(len, truths))
    silent = table.copy()
    silent[:12, :, 4:] = 0.0
    lost = sum(map(len, truths[:12]))
    kept = sum(int((one.scores > OWN_SCORE).sum()) for one in evaluation.reference.kept)
    assert kept == things, "every thing of these scenes is found"
    expected = 100 * 2 * (things - lost) / (2 * (things - lost) + lost)
    assert evaluation.evaluate(answers(silent)).agreement == pytest.approx(
        expected, abs=1.5
    )  # some lie near the threshold
    other = table.copy()
    other[..., 4:] = np.roll(other[..., 4:], 1, axis=-1)
    assert evaluation.evaluate(answers(other)).agreement < 5, "the boxes are right and the classes are not"


def test_without_annotations_the_references_own_boxes_are_the_truth():
    table, truths = scenes(40)
    evaluation = judge_boxes(Numbered(40), answers(table), RULE, STRETCH)
    assert evaluation.expected.value == pytest.approx(100) and evaluation.metric.name == OWN
    assert sum(map(len, evaluation.truth)) == sum(map(len, truths))
    worse = evaluation.evaluate(answers(damaged(table, 1.5)))
    assert worse.drop.points == pytest.approx(100 - worse.score.value) and 5 < worse.drop.points < 95
    assert "no annotations" in evaluation.notes()[0] and f"above {OWN_SCORE}" in evaluation.notes()[0]


@pytest.mark.parametrize("contract", FITS, ids=["stretch", "letterbox", "corner"])
def test_own_boxes_give_the_same_whatever_size_the_pictures_have(contract):
    """Overlaps do not change when both axes are scaled, so pictures without known sizes are judged as well."""
    table, truths = scenes(40, contract=contract)
    sizes = [truth.image_size for truth in truths]
    known = own_boxes(table, RULE, contract, sizes)
    unknown = own_boxes(table, RULE, contract)
    assert [one.image_size for one in known] == sizes and {one.image_size for one in unknown} == {(SIDE, SIDE)}
    worse = damaged(table, 0.5)
    at_size = [in_image(keep(one, RULE), size, contract) for one, size in zip(worse, sizes, strict=True)]
    with_sizes = measure(mean_ap(RULE, contract), at_size, known)
    without = measure(mean_ap(RULE, contract), worse, unknown)
    # half a point: boxes are clipped at other edges, and float32 rounds in other places
    assert without.value == pytest.approx(with_sizes.value, abs=0.5)


def test_pictures_in_which_nothing_is_found_judge_nothing():
    table, truths = scenes(20)
    table[..., 4:] = 0.1
    with pytest.raises(NothingFound, match="no score above 0.3 in 20 pictures"):
        judge_boxes(Numbered(20), answers(table), RULE, STRETCH)
    empty = [Truth(np.zeros((0, 4)), np.zeros(0, int), np.zeros(0, bool), np.zeros(0), (9, 9))] * 20
    with pytest.raises(UserMistake, match="no annotated box"):
        judge_boxes(Numbered(20), answers(table), RULE, STRETCH, empty)
    table[..., :4] = (1, 1, 3, 3)
    assert "has an mAP of 0" in judge_boxes(Numbered(20), answers(table), RULE, STRETCH, truths).notes()[0]


def test_raw_answers_hide_a_damaged_class_head():
    """Why the noise of a detector is not that of its numbers: the class head may be ruined, and 40 dB remain."""
    table, _ = scenes(30)
    classes, boxes = damaged(table, logits=2.0), damaged(table, boxes_px=3.0)
    both = damaged(table, 3.0, 2.0)
    assert sqnr_db(table, classes) > 40
    small = damaged(table, 0.02, 0.02)
    for ruined in (classes, boxes, both):
        assert box_sqnr_db(table, ruined) < 12 and box_sqnr_db(table, small) > 30
    assert box_sqnr_db(table, both) < min(box_sqnr_db(table, classes), box_sqnr_db(table, boxes))


@pytest.mark.parametrize("head", ["boxes_px", "logits"])
def test_more_damage_is_more_noise(head):
    table, _ = scenes(30)
    decibels = [box_sqnr_db(table, damaged(table, **{head: 0.01 * 4**step})) for step in range(5)]
    assert decibels == sorted(decibels, reverse=True) and decibels[0] - decibels[2] > 15
    assert box_sqnr_db(table, table) == math.inf


def test_what_lies_below_the_floor_is_no_noise():
    table, _ = scenes(10)
    table[..., 4:][table[..., 4:] < 0.1] = 0.008
    other = table.copy()
    other[..., 4:][other[..., 4:] < 0.1] = 1e-5
    assert box_sqnr_db(table, other) == math.inf
    other[..., 4:][other[..., 4:] < 0.1] = 0.3
    assert box_sqnr_db(table, other) < 0, "what is found where nothing is counts"


def test_a_network_that_is_not_trained_has_a_noise_too():
    table, _ = scenes(10)
    table[..., 4:] = 0.009
    other = table.copy()
    other[..., 4:] *= 1.01
    assert box_sqnr_db(table, other) == pytest.approx(43, abs=0.1)  # 1 % is 40 dB; the boxes, half of it all, are equal
    assert box_sqnr_db(table, table) == math.inf


def test_answers_that_are_no_numbers():
    table, truths = scenes(20)
    broken = table.copy()
    broken[3, :, 5] = np.nan
    broken[4, 7, 0] = np.inf
    with pytest.raises(EdgesmithError, match="not finite on 2 of 20 pictures"):
        judge_boxes(Numbered(20), answers(broken), RULE, STRETCH, truths)
    figures = judge_boxes(Numbered(20), answers(table), RULE, STRETCH, truths).evaluate(answers(broken))
    assert figures.sqnr_db == -math.inf and figures.cosine == -1.0 and figures.drop.points > 0


def test_rows_of_a_graph_that_suppresses_itself():
    table, truths = scenes(20)
    rows = np.zeros((20, 50, 6), np.float32)
    rows[..., 5] = -1
    for row, one in zip(rows, table, strict=True):
        found = keep(one, RULE)
        row[: len(found.scores)] = np.column_stack([found.boxes, found.scores, found.classes])
    whole = judge_boxes(Numbered(20), answers(table), RULE, STRETCH, truths)
    figures = whole.evaluate(answers(cells_of_rows(rows, table.shape[-1] - 4)))
    assert figures.drop.points == 0 and figures.agreement == 100
    assert math.isnan(figures.sqnr_db) and figures.to_json()["sqnr_db"] is None, (
        "other cells are not compared one by one"
    )
    worse = rows.copy()
    worse[..., :4] += 6.0
    assert whole.evaluate(answers(cells_of_rows(worse, table.shape[-1] - 4))).drop.points > 5


def test_raw_answers_are_not_held():
    """400 pictures of 2000 cells and 20 classes are 77 MB; what is held is the sample's 6 MB, the batch and the boxes."""
    pictures, cells, kinds = 400, 2000, 20
    one = np.zeros((cells, 4 + kinds), np.float32)
    one[:5, :4], one[:5, 4] = [[9, 9, 30, 30]], 0.9
    tracemalloc.start()
    evaluation = judge_boxes(
        Numbered(pictures), lambda images: np.repeat(one[None], len(images), axis=0), RULE, STRETCH
    )
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(evaluation) == pictures and len(evaluation.reference.whole) == 32
    assert held < 12e6 and peak < 30e6, f"{held / 1e6:.0f} MB held, {peak / 1e6:.0f} MB at most"
