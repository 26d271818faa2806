"""The report of a detector: pictures beside it, boxes that match, parity with detection columns, thresholds in words."""

import re
from html import unescape

import pytest

from edgesmith.runtime.bundle.report import write_report

ROW = {"stage": "rewritten", "runner": "ONNX Runtime", "inputs": "pictures", "shape": [1, 3, 416, 416], "count": 6, "score_abs": 2.4e-6,
       "box_px": 0.0031, "matched": 1.0, "missing": 0, "extra": 0, "detections": 214, "limit": "100 % of the boxes within 0.5 px", "passed": True}  # fmt: skip
FULL = {
    "name": "street",
    "model": "damo_yolo_nano_small",
    "task": "detection",
    "target": "cpu",
    "precision": "fp32",
    "detection": {"nms": "runtime", "score": 0.03, "iou": 0.65, "max_detections": 500},
    "parity": [
        ROW,
        {**ROW, "stage": "int8", "matched": 0.975, "missing": 3, "extra": 2, "box_px": 1.25, "passed": False},
        {**ROW, "stage": "bundle", "inputs": "seeded", "detections": 0, "matched": 0.0},
    ],
    "detection_report": {
        "pictures": [
            {"file": "pictures/1.jpg", "name": "coffee", "size": [1600, 640], "judge": 2, "bundle": 2, "missing": 1, "extra": 1,
             "rows": [
                 {"label": "cup", "score_judge": 0.91234, "score_bundle": 0.91101, "box": [10.2, 20.6, 200.0, 180.4], "box_px": 0.3817},
                 {"label": "spoon", "score_judge": 0.4, "score_bundle": None, "box": [1, 2, 3, 4], "box_px": None},
                 {"label": "knife", "score_judge": None, "score_bundle": 0.3, "box": [5, 6, 7, 8], "box_px": None},
             ]},
            {"file": "pictures/2.jpg", "name": "sky", "rows": [], "missing": 0, "extra": 0},
        ],
        "map": None,
    },
    "benchmark": {
        "clock": "wall", "rounds": 3, "baseline": "PyTorch eager (deploy form)",
        "end_to_end": {"total_ms": 21.5, "preprocess_ms": 1.5, "infer_ms": 19.0, "postprocess_ms": 1.0, "boxes": 12, "picture": "coffee", "rounds": 3},
        "rows": [{"name": "Edgesmith, onnxruntime, fp32", "median_ms": 19.0, "p90_ms": 20.0, "p99_ms": 21.0, "min_ms": 18.0,
                  "throughput_per_s": 52.0, "ratio": 0.9, "ratio_low": 0.8, "ratio_high": 1.0, "max_abs": 2e-6, "matched": 0.99}],
    },
}  # fmt: skip


def words(html):
    """The text of the page, without its style."""
    body = html.partition("<body>")[2]
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", body)).split())


@pytest.mark.parametrize(
    "said",
    [
        "97.5% of the detections match", "1.2 px largest box difference",
        "rewritten 6 pictures holds 100.0% 214 0 0 2.4e-06 < 0.01 100 % of the boxes within 0.5 px",
        "int8 6 pictures FAILS 97.5% 214 3 2 2.4e-06 1.2",
        "2 detections of PyTorch, 2 of the bundle; 1 missing, 1 extra ; corners differ by up to 0.38 px of the picture",
        "cup 0.9123 0.9110 0.38 10, 21, 200, 180", "spoon 0.4000 missing in the bundle 1, 2, 3, 4", "knife missing in PyTorch 0.3000",
        "sky No detections, neither in PyTorch nor in the bundle.",
        "overlapping boxes removed in the runtime, after the graph", "score threshold 0.03", "IoU threshold 0.65", "most boxes a picture 500",
        "edgesmith run street.edge photo.jpg --save boxes.jpg",
        "From picture to boxes: 21.5 ms (preprocess 1.5 ms, infer 19 ms, postprocess 1 ms), coffee, 12 boxes", "2.0e-06 99.0%",
    ],
)  # fmt: skip
def test_the_report_shows_the_figures_of_a_detector(said):
    assert said in words(write_report(FULL))


def test_pictures_are_files_of_the_bundle_and_are_told_in_words():
    html = write_report(FULL)
    assert re.findall(r'<img src="([^"]+)"', html) == ["pictures/1.jpg", "pictures/2.jpg"]
    assert 'alt="coffee: PyTorch on the left, this bundle on the right" width="1600" height="640"' in html
    assert "img { display: block; max-width: 100%" in html, "no wider than the screen"


@pytest.mark.parametrize("file", ["https://host/1.jpg", "../1.jpg", "javascript:alert(1)", 'pictures/1.jpg" onload="x'])
def test_no_picture_comes_from_elsewhere(file):
    one = {**FULL["detection_report"]["pictures"][0], "file": file}
    html = write_report({**FULL, "detection_report": {"pictures": [one]}})
    assert "<img" not in html and "href" not in html


def test_accuracy_is_shown_where_it_was_measured():
    assert "mAP" not in words(write_report(FULL))
    figures = {"map": 41.23, "map50": 60.0, "small": None, "low": 38.0, "high": 44.4, "pictures": 100,
               "per_class": {"cup": {"map": 50.0, "map50": 71.0, "boxes": 12}, "spoon": {"map": None, "map50": None, "boxes": 0}}}  # fmt: skip
    text = words(write_report({**FULL, "detection_report": {"pictures": [], "map": figures}}))
    assert "41.2 mAP" in text and "mAP at IoU 0.50 60.0" in text and "mAP of small boxes" not in text
    assert "38.0 to 44.4" in text and "pictures 100" in text and "cup 50.0 71.0 12" in text and "spoon - - 0" in text


def test_a_detector_without_suppression_says_so():
    text = words(write_report({**FULL, "detection": {"nms": "none", "score": 0.03, "iou": 0.65}}))
    assert "none: every box above the score threshold is handed out" in text and "IoU threshold" not in text


def test_a_detector_of_which_nothing_is_known_still_makes_a_page():
    text = words(write_report({"name": "d", "task": "detection", "parity": [{"score_abs": "inf", "passed": False}]}))
    assert "FAILS" in text and "detections match" not in text


def test_nothing_in_the_manifest_becomes_markup():
    def poison(value):
        if isinstance(value, dict):
            return {key: poison(item) for key, item in value.items()}
        if isinstance(value, list):
            return [poison(item) for item in value]
        return value + "<script>alert('x')</script>\"&" if isinstance(value, str) else value

    html = write_report({**poison(FULL), "task": "detection"})
    assert "<script" not in html and "&lt;script&gt;" in html and "<img" not in html
