"""Figures and limits of the runtime worked out by hand: what a comparison counts, where a limit lies, how large a pen is."""

from __future__ import annotations

import io
import os
import time
from dataclasses import replace

import numpy as np
import pytest

from edgesmith.runtime.bundle.golden import _array
from edgesmith.runtime.ground.scratch import sweep
from edgesmith.runtime.pictures.file import _checked
from edgesmith.runtime.pictures.formats.headers import HIGHEST, HIGHEST_OF_TYPE, depth_of_tags
from edgesmith.runtime.pictures.video_file import VideoFile
from edgesmith.runtime.report.curve import shortened
from edgesmith.runtime.session.quantiles import EXACT, RunningMedian
from edgesmith.runtime.tasks.detection.boxes import Kept
from edgesmith.runtime.tasks.detection.detection import DetectionRule
from edgesmith.runtime.tasks.detection.draw import Pen
from edgesmith.runtime.tasks.detection.matching import match
from edgesmith.runtime.tasks.detection.report import pictures
from edgesmith.runtime.tasks.detection.task import DetectionTask
from edgesmith.runtime.tasks.detection.verdict import compare, figures_words, verdict
from edgesmith.runtime.tasks.selftest import agreement
from edgesmith.runtime.tasks.selftest import verdict as of_numbers

RULE = DetectionRule("runtime", 0.3, 0.6, 100)
LEFT, RIGHT = [0, 0, 10, 10], [50, 0, 60, 10]


def cells(*rows: list[float]) -> np.ndarray:
    return np.array([rows], np.float32)


def test_what_a_comparison_of_two_cells_measures():
    judge = cells([*RIGHT, 0.1, 0.6], [*LEFT, 0.8, 0.1])  # the best one last: rows in order are no cells
    other = cells([*RIGHT, 0.1, 0.5], [0, 0, 10, 12, 0.8, 0.1])
    found = compare(judge, other, RULE, False)
    assert (found["detections"], found["missing"], found["extra"], found["flips"], found["matched"]) == (
        2,
        0,
        0,
        0,
        100,
    )
    assert found["box_px"] == found["cell_box_px"] == 2.0
    assert found["score_abs"] == pytest.approx(0.1, abs=1e-6) == found["cell_score_abs"]
    a, b = np.array([0.8, 0.1, 0.1, 0.6]), np.array([0.8, 0.1, 0.1, 0.5])
    assert found["cosine"] == pytest.approx(a @ b / np.linalg.norm(a) / np.linalg.norm(b), abs=1e-6)
    gone = compare(judge, cells([*RIGHT, 0.1, 0.1], [*LEFT, 0.8, 0.1]), RULE, False)
    assert (gone["missing"], gone["extra"], gone["matched"]) == (1, 0, pytest.approx(100 * 2 / 3))
    assert figures_words(gone).startswith("66.67 % of 2 detections matched (1 missing, 0 extra, 0 flips)")


def test_a_picture_without_a_cell_and_one_of_another_batch():
    nothing = np.zeros((2, 0, 6), np.float32)
    found = compare(nothing, nothing, RULE, False)
    assert (found["detections"], found["matched"], found["box_px"]) == (0, 100.0, 0.0)
    assert compare(nothing, nothing[:1], RULE, False) == {} and not verdict("fp32", {})[1]
    assert compare(cells([*LEFT, 0.8, 0.1]), cells([*LEFT, np.nan, 0.1]), RULE, False) == {}


GOOD = {
    "score": 0.3, "detections": 100, "matched": 100.0, "missing": 0, "extra": 0, "flips": 0, "box_px": 0.0,
    "score_abs": 0.0, "cosine": 1.0, "cell_box_px": 0.0, "cell_score_abs": 0.0,
}  # fmt: skip


@pytest.mark.parametrize(
    ("precision", "change", "holds"),
    [
        ("fp32", {}, True),
        ("fp32", {"score_abs": 1e-3, "box_px": 0.5, "cell_score_abs": 1e-3, "cell_box_px": 0.5}, True),
        ("fp32", {"score_abs": 1.01e-3}, False), ("fp32", {"box_px": 0.51}, False),
        ("fp32", {"cell_score_abs": 1.01e-3}, False), ("fp32", {"cell_box_px": 0.51}, False),
        ("fp32", {"cell_score_abs": None, "cell_box_px": None, "cosine": None}, True),
        ("fp32", {"matched": 99.0}, True), ("fp32", {"matched": 98.9}, False),
        ("fp32", {"flips": 2}, True), ("fp32", {"flips": 3}, False),
        ("fp32", {"detections": 200, "flips": 4}, True), ("fp32", {"detections": 200, "flips": 5}, False),
        ("fp32", {"detections": 1, "flips": 2}, True), ("fp32", {"detections": 1, "flips": 3}, False),
        ("fp16", {"matched": 98.0}, True), ("fp16", {"matched": 97.9, "missing": 1, "extra": 1}, False),
        ("fp16", {"matched": 50.0, "missing": 1}, True), ("fp16", {"matched": 50.0, "extra": 1}, True),
        ("fp16", {"cosine": 0.9975}, True), ("fp16", {"cosine": 0.9974}, False), ("fp16", {"cosine": None}, True),
        ("bf16", {"matched": 90.0, "cosine": 0.9}, True), ("bf16", {"matched": 89.9, "missing": 2}, False),
        ("bf16", {"cosine": 0.89}, False), ("int8", {"matched": 50.0, "cosine": 0.1}, True), ("int8", {"matched": 49.9}, False),
    ],
)  # fmt: skip
def test_where_the_limits_of_a_detector_lie(precision, change, holds):
    assert verdict(precision, {**GOOD, **change})[1] is holds


def test_a_quantised_detector_is_held_to_what_was_measured():
    """Twice the share without a partner, and five points; the cosine twice as far from 1."""
    measured = {"matched": 90.0, "cosine": 0.98}
    assert (
        verdict("int8", {**GOOD, "matched": 75.0}, measured)[1]
        and not verdict("int8", {**GOOD, "matched": 74.9}, measured)[1]
    )
    limit, _ = verdict("int8", GOOD, measured)
    assert limit.startswith("75 % matched, cosine of scores >= ")
    least = float(limit.rsplit(" ", 1)[1])
    assert 0.9 < least < 0.98 and not verdict("int8", {**GOOD, "cosine": least - 1e-3}, measured)[1]
    assert verdict("int8", GOOD, {"matched": 60.0})[0] == "50 % matched"


def test_agreement_of_numbers_by_hand():
    expected = np.array([[3.0, 4.0], [1.0, 0.0]], np.float32)
    found = np.array([[4.0, 3.0], [1.0, 0.0]], np.float32)
    row = agreement("logits", expected, found, "fp32")
    assert (row.cases, row.max_abs, row.cosine, row.top1, row.passed) == (2, 1.0, pytest.approx(24 / 25), 0.5, False)
    assert agreement("logits", expected, expected, "fp32").passed
    assert not agreement("logits", expected, found[:1], "fp32").passed
    assert not agreement("logits", expected[:0], expected[:0], "fp32").passed
    maps = agreement("map", np.arange(24.0).reshape(2, 3, 4), np.arange(24.0).reshape(2, 3, 4) + 0.5, "fp32")
    assert maps.max_abs == 0.5 and maps.top1 == 1.0 and "max abs 5.0e-01" in maps.told
    assert of_numbers("fp32", 1e-3, 1.0, 1.0)[1] is of_numbers("fp32", 1e-2, 10.0, 1.0)[1]
    assert not of_numbers("fp16", 0.0, 1.0, 0.9)[1] and of_numbers("fp16", 9.0, 1.0, 1.0)[1]


def test_matching_takes_the_best_overlap_first_and_counts_both_sides():
    boxes = np.array([[0, 0, 10, 10], [2, 0, 12, 10], [50, 50, 60, 60]], float)
    expected = Kept(boxes, np.array([0.9, 0.8, 0.7]), np.array([0, 0, 1]))
    found = Kept(boxes[[1, 0, 2]] + 0.5, np.array([0.85, 0.9, 0.7]), np.array([0, 0, 2]))
    one = match(expected, found, 0.1, threshold=0.3)
    assert one.pairs.tolist() == [[0, 1], [1, 0]] and (one.missing, one.extra) == (1, 1)
    assert one.share == pytest.approx(100 * 4 / 6) and one.box_px == 0.5 and one.score_abs == pytest.approx(0.05)
    near = match(replace_scores(expected, 0.4), replace_scores(found, 0.41), 0.1, threshold=0.3)
    assert (near.missing, near.extra) == (0, 1), "0.4 is within a tenth of the threshold, 0.41 is not"
    empty = Kept(np.zeros((0, 4)), np.zeros(0), np.zeros(0, int))
    assert match(empty, empty, 0.1).share == 100.0 and match(expected, empty, 0.1).share == 0.0


def replace_scores(kept: Kept, score: float) -> Kept:
    return kept._replace(scores=np.full(len(kept.scores), score))


def test_rows_past_the_count_of_a_graph_are_nothing():
    results = {
        "num_detections": np.array([[1], [2]]), "detection_boxes": np.ones((2, 2, 4)),
        "detection_scores": np.array([[0.9, 0.8], [0.7, 0.6]]), "detection_classes": np.array([[1, 2], [3, 4]]),
    }  # fmt: skip
    joined = DetectionTask().joined(results)
    assert joined[:, :, 5].tolist() == [[1, -1], [3, 4]] and joined[0, 1].tolist() == [0, 0, 0, 0, 0, -1]
    assert joined.dtype == np.float32 and joined.shape == (2, 2, 6)
    plain = DetectionTask().joined({"boxes": np.ones((1, 3, 4)), "scores": np.zeros((1, 3, 2))})
    assert plain.shape == (1, 3, 6) and plain[0, 0].tolist() == [1, 1, 1, 1, 0, 0]
    parts = DetectionTask().separated(plain)
    assert parts["boxes"].shape == (1, 3, 4) and parts["scores"].shape == (1, 3, 2)


@pytest.mark.parametrize(("low", "high", "median"), [(501, 501, 1), (501, 500, 1), (500, 501, 100), (502, 500, 1)])
def test_the_median_of_more_than_are_kept_is_the_middle_one(low, high, median):
    """Of an even number the lower one."""
    running = RunningMedian()
    for value in [1.0] * low + [100.0] * high:
        running.add(value)
    assert low + high > EXACT and running.value == pytest.approx(median, rel=0.006)


@pytest.mark.parametrize(
    ("height", "width", "line", "letters"),
    [(1000, 1000, 4, 16), (260, 260, 1, 8), (130, 130, 1, 8), (2000, 500, 4, 16), (4000, 4000, 15, 64)],
)
def test_a_pen_grows_with_the_side_of_the_picture(height, width, line, letters):
    """Lines of a 260th, letters of a 62nd and never below 8 pixels; strokes and margins in proportion."""
    pen = Pen.of(height, width)
    scale = letters / 22
    assert pen.line_px == line and pen.scale == pytest.approx(scale)
    assert pen.stroke_px == max(1, round(1.7 * scale)) and pen.margin_px == max(1, round(4 * scale))
    assert pen.field_px == pen.rise_px + pen.drop_px + pen.margin_px
    assert letters <= pen.rise_px <= letters * 1.3 + 2 * pen.stroke_px and 0 < pen.drop_px < pen.rise_px
    wide = pen.width_px("person 93 %")
    assert pen.fitting(("person 93 %", "person"), wide) == "person 93 %"
    assert pen.fitting(("person 93 %", "person"), wide - 1) == "person"
    cut = pen.fitting(("person",), pen.width_px("person") - 1)
    assert cut == "perso." or (cut.endswith(".") and "person".startswith(cut[:-1]))
    assert pen.width_px(cut) < pen.width_px("person") and pen.fitting(("person",), 1) == ""


def test_a_video_without_a_rate_has_25_frames_a_second(tmp_path):
    for fps, expected in ((None, 25.0), (0.0, 25.0), (12.5, 12.5)):
        assert VideoFile(tmp_path / "a.avi", fps).fps == expected


@pytest.mark.parametrize(("hours", "gone"), [(23.9, False), (24.1, True)])
def test_what_older_versions_left_is_removed_after_a_day(tmp_path, hours, gone):
    left = tmp_path / ".net.edge.abcd1234.partial"
    left.mkdir()
    (left / "model.onnx").write_bytes(b"half")
    when = time.time() - hours * 3600
    os.utime(left, (when, when))
    sweep(tmp_path)
    assert left.exists() is not gone


def test_an_avif_is_turned_only_where_it_says_so():
    avif = b"\0\0\0\x20ftypavif" + bytes(40)
    assert _checked(avif, "a.avif").size is None
    for turn in (b"irot", b"imir"):
        with pytest.raises(Exception, match="must be turned to be seen"):
            _checked(avif + turn + bytes(20), "a.avif")
        _checked(b"BM" + bytes(60) + turn + bytes(20), "a.bmp")  # the letters alone mean nothing


def test_white_of_a_tiff_is_what_a_tag_of_it_says():
    for found, bits in (
        ({HIGHEST: (1023,)}, 10), ({HIGHEST: (255, 4095, 255)}, 12), ({HIGHEST_OF_TYPE: (4095, 0, 0), HIGHEST: (1023,)}, 12),
        ({HIGHEST_OF_TYPE: (1000,), HIGHEST: (1023,)}, 10), ({HIGHEST: (254,)}, 0), ({HIGHEST: (255,)}, 8), ({HIGHEST: (65535,)}, 16),
        ({HIGHEST: (131071,)}, 0), ({}, 0),
    ):  # fmt: skip
        assert depth_of_tags(found) == bits, found


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("kind", ["<f4", ">f8", "<i8", ">u2", "|b1", "<c8", "<U3", "<M8[s]"])
def test_which_arrays_a_golden_file_may_hold(kind, order):
    array = np.asarray(np.arange(6).reshape(2, 3).astype("i8").astype(kind), order=order)
    file = io.BytesIO()
    np.save(file, array)
    if np.dtype(kind).kind in "fiub":
        found = _array("a", file.getvalue())
        np.testing.assert_array_equal(found, array)
        assert found.dtype == array.dtype.newbyteorder("=") and found.dtype.isnative
        return
    with pytest.raises(ValueError, match="no numbers"):
        _array("a", file.getvalue())


def test_long_words_lose_their_beginning_and_long_sentences_their_end():
    assert shortened("abcdef", 6) == "abcdef" and shortened("abcdefg", 6) == "…cdefg"
    assert shortened("abc defg", 6, end=False) == "abc d…" and shortened("abcd  efg", 6, end=False) == "abcd…"


def test_the_page_of_a_picture_tells_the_largest_difference_of_a_box():
    rows = [
        {"label": "cat", "score_judge": 0.9, "score_bundle": 0.9, "box_px": px, "box": [1, 2, 3, 4]}
        for px in (0.25, 1.75, 0.5)
    ] + [{"label": "dog", "score_judge": 0.4, "score_bundle": None, "box_px": 9.0, "box": [1, 2, 3, 4]}]
    page = str(pictures({"pictures": [{"name": "a", "file": "", "rows": rows}]}))
    words = page.split("</h3>")[1].split("<details")[0]
    assert "1.8" in words or "1.75" in words, words
    assert "missing in the bundle" in page and "4 boxes, best first" in page
    none = str(pictures({"pictures": [{"name": "a", "file": "", "rows": []}]}))
    assert "No detections, neither" in none and str(pictures(None)) == ""


def test_rules_are_compared_by_what_they_keep():
    """A list in the graph that ends full ends at its own lowest score."""
    few = replace(RULE, max_detections=1)
    judge = cells([*LEFT, 0.9, 0.0], [*RIGHT, 0.8, 0.0])
    rows = np.array([[[*LEFT, 0.9, 0]]], np.float32)
    found = compare(judge, rows, few, True)
    assert (found["detections"], found["missing"], found["extra"], found["cosine"]) == (1, 0, 0, None)
