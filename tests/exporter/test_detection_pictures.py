"""PyTorch and bundle side by side: the boxes of the picture, what is missing, what is extra, and JPEG files that fit a page."""

import cv2
import numpy as np
import pytest

from edgesmith.exporter.tasks.detection.pictures import LISTED, STRIP_PX, side_by_side
from edgesmith.runtime.bundle.report import write_report
from edgesmith.runtime.pictures.preprocess import ImageContract
from edgesmith.runtime.tasks.detection.detection import DetectionRule

CONTRACT = ImageContract(size=(64, 64), resize="bilinear", antialias=False, crop_fraction=1.0, fit="stretch",
                         mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), scale=1.0)  # fmt: skip
RULE = DetectionRule("runtime", score=0.1, iou=0.7)
LABELS = ("cup", "spoon")
CUP, SPOON, LOW = [8, 8, 24, 40, 0.9, 0.0], [30, 30, 60, 60, 0.0, 0.6], [2, 40, 12, 60, 0.1005, 0.0]


def picture(height=128, width=256):
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)


def says(*rows):
    """A runner that answers the same for every picture: boxes in pixels of a 64x64 input, and two scores."""
    answer = np.array(rows, np.float32).reshape(len(rows), 6)
    return lambda images: np.repeat(answer[None], len(images), axis=0)


def run(judge, bundle, rule=RULE, image=None, **more):
    inputs = [("desk", picture() if image is None else image)]
    files, report = side_by_side(inputs, judge, bundle, rule, CONTRACT, LABELS, **more)
    assert report["map"] is None and list(files) == [one["file"] for one in report["pictures"]]
    return files, report["pictures"][0]


def decoded(data):
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)


def test_equal_detections_leave_no_difference():
    _, told = run(says(CUP, SPOON), says(CUP, SPOON))
    assert (told["judge"], told["bundle"], told["missing"], told["extra"]) == (2, 2, 0, 0)
    assert [row["label"] for row in told["rows"]] == ["cup", "spoon"] and "note" not in told
    assert told["rows"][0]["box"] == [32, 16, 96, 80], "in pixels of the picture, four times as wide as the input"
    assert all(row["box_px"] == 0 and row["score_judge"] == row["score_bundle"] for row in told["rows"])


def test_missing_extra_and_moved_boxes_are_told():
    moved = [8, 8, 24.5, 40, 0.85, 0.0]
    _, told = run(says(CUP, SPOON), says(moved, [0, 0, 20, 20, 0.0, 0.7]))
    assert (told["missing"], told["extra"]) == (1, 1)
    cup, extra, missing = told["rows"]
    assert cup["box_px"] == pytest.approx(2.0) and cup["score_bundle"] == pytest.approx(0.85)
    assert extra["score_judge"] is None and extra["score_bundle"] == pytest.approx(0.7) and extra["box_px"] is None
    assert missing["label"] == "spoon" and missing["score_bundle"] is None


def test_a_score_at_the_threshold_is_no_difference():
    _, told = run(says(CUP, LOW), says(CUP))
    assert (told["judge"], told["bundle"], told["missing"], len(told["rows"])) == (2, 1, 0, 1)
    above = [*LOW[:4], 0.11, 0.0]
    assert run(says(CUP, above), says(CUP))[1]["missing"] == 1


def test_a_neighbour_that_suppression_chose_instead_is_told_apart_from_a_missing_box():
    left, middle, right = [0, 0, 30, 20], [4, 0, 34, 20], [8, 0, 38, 20]  # only the middle one overlaps both by 0.7
    judge = says([*left, 0.5, 0], [*middle, 0.505, 0], [*right, 0.4, 0])
    bundle = says([*left, 0.506, 0], [*middle, 0.5, 0], [*right, 0.4, 0])
    _, told = run(judge, bundle)
    assert (told["judge"], told["bundle"], told["flips"], told["missing"], told["extra"]) == (1, 2, 1, 0, 0)
    assert [row["score_judge"] is None for row in told["rows"]] == [False, True]


def test_a_graph_with_nms_inside_gives_rows():
    rows = np.array([[*CUP[:4], 0.9, 0], [*SPOON[:4], 0.6, 1], [0, 0, 0, 0, 0, -1]], np.float32)
    rule = DetectionRule("graph", score=0.1, iou=0.7)
    _, told = run(says(CUP, SPOON), lambda images: rows[None], rule)
    assert (told["missing"], told["extra"]) == (0, 0) and len(told["rows"]) == 2


def test_a_fixed_batch_is_filled_up():
    sizes = []

    def bundle(images):
        sizes.append(len(images))
        return says(CUP)(images)

    run(says(CUP), bundle, batch=4)
    assert sizes == [4]


def test_without_detections_the_report_says_so_in_words():
    _, told = run(says([0, 0, 9, 9, 0.01, 0.02]), says([0, 0, 9, 9, 0.01, 0.02]))
    assert told["rows"] == [] and told["missing"] == told["extra"] == 0
    html = write_report({"name": "d", "task": "detection", "detection_report": {"pictures": [told]}})
    assert "No detections, neither in PyTorch nor in the bundle." in html


def test_answers_that_are_no_numbers_are_shown_as_nothing_found():
    _, told = run(says(CUP), says([np.nan] * 6))
    assert (told["missing"], told["bundle"]) == (1, 0) and "no numbers" in told["note"]


def test_without_suppression_the_picture_still_shows_one_box_an_object():
    twice = [9, 8, 24, 40, 0.8, 0.0]
    _, told = run(says(CUP, twice), says(CUP, twice), DetectionRule("none", score=0.1, iou=0.7))
    assert len(told["rows"]) == 1 and "removed for the picture alone" in told["note"]


def test_hundreds_of_boxes_are_cut_and_the_cut_is_told():
    many = [[x % 60, x // 60 * 9, x % 60 + 3, x // 60 * 9 + 3, 0.12 + x / 2000, 0] for x in range(0, 240, 4)]
    _, told = run(says(*many), says(*many))
    assert told["judge"] == 60 and len(told["rows"]) == LISTED
    assert "Drawn are the best 8" in told["note"] and "10 more rows are not listed" in told["note"]


@pytest.mark.parametrize(("height", "width"), [(32, 32), (480, 640), (3000, 4000), (4000, 300)])
def test_files_fit_a_page(height, width):
    files, told = run(says(CUP), says(CUP), image=picture(height, width))
    image = decoded(files["pictures/1.jpg"])
    assert [image.shape[1], image.shape[0]] == told["size"] and image.shape[1] <= 1600 and image.shape[0] <= 1040
    assert len(files["pictures/1.jpg"]) < 600_000
    side = (image.shape[1] - 8) // 2
    left, right = image[STRIP_PX:, :side].astype(int), image[STRIP_PX:, -side:].astype(int)
    assert np.abs(left - right).mean() < 3, "both sides show the same"


def test_boxes_are_drawn_on_both_sides_apart():
    files, _ = run(says(CUP), says([0, 0, 1, 1, 0.01, 0]))
    plain, _ = run(says([0, 0, 1, 1, 0.01, 0]), says([0, 0, 1, 1, 0.01, 0]))
    one, none = (decoded(data["pictures/1.jpg"])[STRIP_PX + 8 :].astype(int) for data in (files, plain))
    half = one.shape[1] // 2
    changed = np.abs(one - none).max(axis=2) > 40
    assert changed[:, :half].any() and not changed[:, half + 8 :].any()


def test_three_pictures_at_most_and_none_is_fine():
    files, _ = side_by_side([(str(n), picture()) for n in range(5)], says(CUP), says(CUP), RULE, CONTRACT, LABELS)
    assert list(files) == [f"pictures/{n}.jpg" for n in (1, 2, 3)]
    assert side_by_side([], says(CUP), says(CUP), RULE, CONTRACT, LABELS) == ({}, {"pictures": [], "map": None})


def test_where_one_is_sure_the_unsure_are_not_drawn():
    _, told = run(says(CUP, [*SPOON[:4], 0.0, 0.2]), says(CUP, [*SPOON[:4], 0.0, 0.2]))
    assert told["note"] == "Drawn are the best 1" and len(told["rows"]) == 2
