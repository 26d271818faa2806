"""``eval --report`` on a device: pages of detectors and segmenters, and the drawings that all pages share."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from command_line import on_device
from floor import workstation

from edgesmith.runtime.report.evaluation.page import write_page
from edgesmith.runtime.report.evaluation.pictures import gallery
from edgesmith.runtime.report.evaluation.plots import curves, matrix
from edgesmith.runtime.report.page import Html


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@workstation
def test_a_segmenter_has_its_classes_and_what_it_takes_for_what(tmp_path):
    from segmentation_bundle import QUARTERS, write_pair, write_segmentation_bundle

    write_segmentation_bundle(tmp_path / "s.edge")
    write_pair(tmp_path / "set", "a", QUARTERS, np.where(QUARTERS == 2, 0, QUARTERS))
    found = on_device("eval", "s.edge", "--data", "set", "--report", "page.html", "--json")
    assert found.code == 0, found.err
    (row,) = json.loads(found.out)["rows"]
    assert row["confusion"]["counts"] == [[256, 0, 256], [0, 512, 0], [0, 0, 0]]
    text = Path("page.html").read_text()
    assert "red → blue: 256 of 512" in text and f"{row['miou']:.2f}" in text and "IoU %" in text


@workstation
def test_pixels_that_are_not_seen_are_found_as_nothing(tmp_path):
    from segmentation_bundle import write_pair, write_segmentation_bundle

    write_segmentation_bundle(tmp_path / "s.edge", contract={"fit": "crop"})
    wide = np.zeros((32, 64), int)
    write_pair(tmp_path / "set", "a", wide, wide)
    (row,) = json.loads(on_device("eval", "s.edge", "--data", "set", "--json").out)["rows"]
    assert row["confusion"]["found"][-1] == "nothing" and row["confusion"]["counts"][0] == [1024, 0, 0, 1024]


@workstation
def test_a_detector_has_its_curves_and_classes(tmp_path):
    from coco_patches import write_patches
    from detection_bundle import write_detection_bundle

    write_detection_bundle(tmp_path / "colours.edge", batch="batch")
    write_patches(tmp_path, missed=3)
    found = on_device("eval", "colours.edge", "--data", "coco.json", "--report", "page.html", "--json")
    assert found.code == 0, found.err
    (row,) = json.loads(found.out)["rows"]
    text = Path("page.html").read_text()
    assert f"colours.edge, AP {row['map50']:.1f}" in text and text.count("<polyline") == 3
    assert "AP50" in text and "green" in text
    again = on_device("eval", "colours.edge", "--data", "coco.json", "--report", "page.html")
    assert again.code == 2 and "--overwrite" in again.err


def test_every_figure_of_a_row_is_in_the_table_of_the_page():
    rows = [
        {"name": "a", "precision": "fp32", "top1": 90.125, "pictures": 1200, "per_class": {}},
        {"name": "b<i>", "precision": "int8", "why_not": "no engine"},
    ]
    text = write_page({"task": "any", "data": "d", "notes": ["so & so"], "rows": rows}, Html(""))
    assert "90.12" in text and "1,200" in text and "no engine" in text and "per class" not in text
    assert "b&lt;i&gt;" in text and "so &amp; so" in text


def svg(drawing: Html) -> ElementTree.Element:
    return ElementTree.fromstring(drawing[drawing.index("<svg") : drawing.index("</svg>") + 6])


def test_a_curve_goes_where_its_points_are():
    found = svg(curves({"a": [(0, 0), (1, 1)]}, "x", "y", "said"))
    assert found.find("polyline").get("points") == "40,270 300,10"
    assert len(found.findall("circle")) == 2


def test_a_matrix_has_a_cell_for_each_pair_and_escapes_names():
    found = svg(matrix(["<a>", "b"], ["<a>", "b", "nothing"], [[3, 1, 0], [0, 0, 2000]], "said"))
    assert [one.text for one in found.iter("title")][:2] == ["<a> → <a>: 3 of 4", "<a> → b: 1 of 4"]
    assert len(found.findall("g")) == 6
    assert "2000" not in [one.text for one in found.iter("text")], "too long for its cell"


def test_a_picture_that_is_gone_is_told_by_its_words():
    text = gallery([("gone.png", "cat 99 %, is dog")])
    assert "not to be read any more" in text and "cat 99 %, is dog" in text and not gallery([])
