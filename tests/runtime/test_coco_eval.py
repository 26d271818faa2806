"""Average precision against COCO's own code on random scenes, against figures by hand, and its interval."""

import contextlib
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from edgesmith.runtime.coco.annotations import Truth
from edgesmith.runtime.coco.average_precision import average_precisions, evaluate_boxes, match_boxes, mean_precision
from edgesmith.runtime.coco.intervals import RESAMPLES, bootstrap_95, times_drawn
from edgesmith.runtime.errors import UserMistake
from edgesmith.runtime.tasks.detection.boxes import Kept

SIZE = (480, 640)


def truth(boxes=(), classes=(), crowd=None, area=None):
    boxes = np.array(boxes, np.float64).reshape(-1, 4)
    sides = boxes[:, 2:] - boxes[:, :2]
    crowd = np.zeros(len(boxes), bool) if crowd is None else np.array(crowd, bool)
    area = sides.prod(axis=1) if area is None else np.array(area, np.float64)
    return Truth(boxes, np.array(classes, np.int64), crowd, area, SIZE)


def kept(boxes=(), classes=(), scores=()):
    boxes, scores = np.array(boxes, np.float32).reshape(-1, 4), np.array(scores, np.float32)
    order = np.argsort(-scores, kind="stable")
    return Kept(boxes[order], scores[order], np.array(classes, np.int64)[order])


def scene(rng, most_boxes, classes):
    """A picture's annotations and detections: hits, misses, doubles, other classes, tied scores, crowds, every size."""
    count = rng.integers(0, most_boxes + 1)
    corner, side = (
        rng.uniform(0, 400, (count, 2)),
        rng.choice([8.0, 20, 40, 90, 150], (count, 1)) * rng.uniform(0.5, 1.5, (count, 2)),
    )
    boxes, kinds = np.concatenate([corner, corner + side], axis=1), rng.integers(0, classes, count)
    wanted = truth(boxes, kinds, rng.random(count) < 0.15, side.prod(axis=1) * rng.uniform(0.4, 1, count))
    chosen = rng.integers(0, max(count, 1), rng.integers(0, 2 * most_boxes) if count else 0)
    near = boxes[chosen] + rng.normal(0, 1, (len(chosen), 4)) * rng.choice([0, 2, 8, 30], (len(chosen), 1))
    near[:, 2:] = np.maximum(near[:, 2:], near[:, :2] + 1)
    other = np.where(rng.random(len(chosen)) < 0.2, rng.integers(0, classes, len(chosen)), kinds[chosen])
    stray = rng.uniform(0, 300, (rng.integers(0, 4), 2))
    near = np.concatenate([near, np.concatenate([stray, stray + 50], axis=1)])
    other = np.concatenate([other, rng.integers(0, classes, len(stray))])
    return wanted, kept(near, other, np.round(rng.random(len(near)), 1))  # one decimal: many ties


def official(truths, found, classes):
    """COCOeval as its authors use it: loadRes, evaluate, accumulate, summarize; (precision, stats)."""
    annotations, results = [], []
    for number, (one, answer) in enumerate(zip(truths, found)):
        for box, index, crowd, area in zip(one.boxes, one.classes, one.crowd, one.area):
            annotations.append({"id": len(annotations) + 1, "image_id": number, "category_id": int(index) + 1,
                                "bbox": [*box[:2], *(box[2:] - box[:2])], "area": area, "iscrowd": int(crowd)})  # fmt: skip
        for box, score, index in zip(answer.boxes.astype(np.float64), answer.scores.astype(float), answer.classes):
            results.append({"image_id": number, "category_id": int(index) + 1, "score": score,
                            "bbox": [*box[:2], *(box[2:] - box[:2])]})  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):
        api = COCO()
        api.dataset = {"info": {}, "images": [{"id": n} for n in range(len(truths))], "annotations": annotations,
                       "categories": [{"id": n + 1} for n in range(classes)]}  # fmt: skip
        api.createIndex()
        judge = COCOeval(api, api.loadRes(results), "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return judge.eval["precision"][..., -1], judge.stats


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 9), st.integers(1, 4))
def test_the_figures_are_those_of_coco(seed, pictures, most, classes):
    rng = np.random.default_rng(seed)
    truths, found = zip(*(scene(rng, most, classes) for _ in range(pictures)), strict=True)
    if not any(len(one.scores) for one in found):
        found = (kept([[0, 0, 5, 5]], [0], [0.5]), *found[1:])  # loadRes takes no empty list
    precision, stats = official(truths, found, classes)
    matched = match_boxes(found, truths, classes)
    for number, area in enumerate(("all", "small", "medium", "large")):
        ours = average_precisions(matched, area=area)[0]
        theirs = precision[:, :, :, number].mean(axis=1)  # (10, K); -1 where nothing is annotated
        # 1e-12: sums of at most 101 numbers up to 1 in another order, and a denominator without numpy's spacing(1)
        np.testing.assert_allclose(np.nan_to_num(ours, nan=-1), theirs, rtol=0, atol=1e-12)
    told = evaluate_boxes(found, truths, [f"class {n}" for n in range(classes)], interval=False)
    names = (
        "map",
        "map50",
        "map75",
        "small",
        "medium",
        "large",
        "ar1",
        "ar10",
        "ar100",
        "ar_small",
        "ar_medium",
        "ar_large",
    )
    got = [told[name] for name in names]
    expected = [None if value == -1 else 100 * value for value in stats[:12]]
    assert [value is None for value in got] == [value is None for value in expected]
    np.testing.assert_allclose(
        [v for v in got if v is not None], [v for v in expected if v is not None], rtol=0, atol=1e-10
    )


def test_a_picture_drawn_twice_counts_as_two_pictures():
    """The weights of the bootstrap against copies of the pictures, scores without ties (whose order is the pictures')."""
    rng = np.random.default_rng(3)
    pairs = [scene(rng, 6, 3) for _ in range(9)]
    pairs = [
        (one, answer._replace(scores=np.sort(rng.random(len(answer.scores)).astype(np.float32))[::-1]))
        for one, answer in pairs
    ]
    times = np.array([[1] * 9, [2, 0, 3, 0, 1, 1, 0, 2, 0], [0, 0, 0, 5, 0, 0, 4, 0, 0]], np.int32)
    matched = match_boxes([answer for _, answer in pairs], [one for one, _ in pairs], 3)
    for row, counts in enumerate(times):
        copies = [pair for pair, count in zip(pairs, counts, strict=True) for _ in range(count)]
        again = match_boxes([answer for _, answer in copies], [one for one, _ in copies], 3)
        np.testing.assert_allclose(average_precisions(matched, times)[row], average_precisions(again)[0], atol=1e-12)


BOX = [10, 10, 110, 110]


def by_hand(found, *truths):
    return evaluate_boxes(found, truths or (truth([BOX], [0]),), ["thing", "other"])


def test_precision_is_what_was_worked_out_by_hand():
    assert by_hand([kept([BOX], [0], [0.9])])["map"] == pytest.approx(100)
    assert by_hand([kept([BOX], [1], [0.9])])["map"] == 0, "the box is right and the class is not"
    assert by_hand([kept()])["map"] == 0 and by_hand([kept()])["small"] is None
    double = by_hand([kept([BOX, [200, 200, 300, 300], BOX], [0, 0, 0], [0.9, 0.8, 0.7])])
    assert double["map"] == pytest.approx(100), "what comes after the last annotation is found costs nothing"
    first_wrong = by_hand([kept([[200, 200, 300, 300], BOX], [0, 0], [0.9, 0.8])])
    assert first_wrong["map"] == pytest.approx(50)
    # 84 of 100 columns overlap: IoU 0.84, so 7 of the 10 thresholds hold
    assert by_hand([kept([[10, 10, 94, 110]], [0], [0.9])])["map"] == pytest.approx(70)
    assert by_hand([kept([[10, 10, 94, 110]], [0], [0.9])])["map75"] == pytest.approx(100)


def test_two_classes_of_one_name_keep_a_row_each():
    told = evaluate_boxes([kept([BOX], [0], [0.9])], (truth([BOX], [0]),), ["crane", "crane", "dog"])
    assert [(name, one["boxes"]) for name, one in told["per_class"].items()] == [
        ("crane (0)", 1),
        ("crane (1)", 0),
        ("dog", 0),
    ]
    assert told["per_class"]["crane (0)"]["map"] == pytest.approx(100)


def test_sizes_go_by_the_annotated_area():
    """A thin thing: the box is large, its mask is small, and COCO goes by the mask."""
    told = by_hand([kept([BOX], [0], [0.9])], truth([BOX], [0], area=[500]))
    assert told["small"] == pytest.approx(100) and told["medium"] is None and told["large"] is None


def test_what_is_found_in_a_crowd_counts_neither_way():
    crowd = truth([BOX, [200, 0, 400, 200]], [0, 0], crowd=[False, True])
    inside = [[210, 10, 250, 60], [300, 50, 350, 90]]
    told = by_hand([kept([*inside, BOX], [0, 0, 0], [0.9, 0.8, 0.7])], crowd)
    assert told["map"] == pytest.approx(100) and told["boxes"] == 1
    alone = by_hand([kept([*inside, BOX], [0, 0, 0], [0.9, 0.8, 0.7])], truth([BOX], [0]))
    assert alone["map"] == pytest.approx(100 / 3)


def test_a_hundred_detections_of_a_class_count_as_coco_has_it():
    wrong = [[200 + n, 200, 260 + n, 260] for n in range(100)]
    told = by_hand([kept([*wrong, BOX], [0] * 101, np.linspace(0.9, 0.5, 101))])
    assert told["map"] == 0
    assert by_hand([kept([*wrong[1:], BOX], [0] * 100, np.linspace(0.9, 0.5, 100))])["map"] == pytest.approx(1)


def test_detections_that_are_no_numbers_are_no_detections():
    answer = kept([BOX, [np.nan, 0, 5, 5]], [0, 0], [0.8, 0.9])
    assert by_hand([answer])["map"] == pytest.approx(100)


def test_the_interval_is_that_of_the_pictures():
    """One thing a picture, found at once or not at all: AP is then the share found, and so is its interval's width."""
    rng = np.random.default_rng(0)
    hits = rng.random(200) < 0.6
    found = [kept([BOX], [0], [0.5 + 0.4 * rng.random()]) if hit else kept() for hit in hits]
    told = evaluate_boxes(found, [truth([BOX], [0])] * 200, ["thing"])
    width = 2 * 1.96 * 100 * np.sqrt(0.6 * 0.4 / 200)
    assert told["low"] < told["map"] < told["high"]
    # 15 %: the ends of 400 draws are uncertain by 6 %, and recall moves in steps of a hundredth
    assert told["high"] - told["low"] == pytest.approx(width, rel=0.15)
    assert told == evaluate_boxes(found, [truth([BOX], [0])] * 200, ["thing"]), "the draws are seeded"


def test_draws_that_lie_too_high_mean_that_the_value_does():
    """AP of draws is above that of the set, as that of the set is above the truth: the interval is turned round the value."""
    draws = np.append(np.linspace(9, 15, 401), np.nan)
    assert bootstrap_95(10.0, draws) == (pytest.approx(20 - 14.85), pytest.approx(20 - 9.15))
    assert all(np.isnan(bootstrap_95(1.0, np.array([np.nan]))))


def test_a_draw_without_annotations_is_no_figure():
    matched = match_boxes([kept(), kept([BOX], [0], [0.5])], [truth(), truth([BOX], [0])], 1)
    draws = mean_precision(average_precisions(matched, np.array([[2, 0], [1, 1]], np.int32)))
    assert np.isnan(draws[0]) and draws[1] == pytest.approx(100)
    assert times_drawn(2).shape == (1 + RESAMPLES, 2) and (times_drawn(2).sum(axis=1) == 2).all()


def test_an_evaluation_prints_nothing_itself(capsys):
    by_hand([kept([BOX], [0], [0.9])])
    assert capsys.readouterr() == ("", "")


def test_without_pycocotools_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pycocotools.coco", None)
    with pytest.raises(UserMistake, match=r"edgesmith\[eval\]"):
        by_hand([kept()])


def test_the_mean_of_a_curve_is_its_average_precision():
    rng = np.random.default_rng(3)
    scenes = [scene(rng, 8, 4) for _ in range(12)]
    told = evaluate_boxes([found for _, found in scenes], [truth for truth, _ in scenes], list("abcd"), interval=False)
    curves = told["precision_recall"]
    assert curves["recall"][0] == 0 and curves["recall"][-1] == 1 and told["map50"] > 5
    for name, key in (("0.50", "map50"), ("0.75", "map75"), ("0.50 to 0.95", "map")):
        assert 100 * np.mean(curves[name]) == pytest.approx(told[key], rel=1e-12)
        assert all(here >= there for here, there in zip(curves[name], curves[name][1:], strict=False))


def test_where_nothing_is_annotated_there_is_no_curve():
    assert evaluate_boxes([], [], ["a"], interval=False)["precision_recall"] == {}
