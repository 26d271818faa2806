"""The commands that look at what was exported, with a bundle of several graphs: what they measure, and what they compare."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from command_line import edgesmith
from grounding_bundle import SQUARE, WIDE, screenshot, write_grounding_bundle

from edgesmith.exporter.tasks.grounding.bench import FIRST, FURTHER
from edgesmith.exporter.tasks.grounding.pictures import clicked, drawable
from edgesmith.exporter.tasks.grounding.plan import Bucket
from edgesmith.runtime.bundle.bundle import open_bundle


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_grounding_bundle(tmp_path_factory.mktemp("looked-at") / "colours.edge", sizes=(WIDE, SQUARE))


def test_bench_tells_the_first_instruction_and_each_further_one_of_every_size(place: Path):
    told = edgesmith("bench", str(place), "--rounds", "3", "--no-memory", "--json")
    assert told.code == 0, told.err
    rows = json.loads(told.out)["rows"]
    assert [row["name"] for row in rows] == [
        f"Edgesmith, {size}, {step}" for size in ("224x140", "112x112") for step in (FIRST, FURTHER)
    ]
    assert (
        [row.get("max_abs", -1) <= 1e-3 for row in rows] == [True] * 4
        and "max_abs" in rows[0]
        and "max_abs" not in rows[2]
    )
    assert open_bundle(place).manifest["benchmark"]["baseline"] == rows[0]["name"]
    assert FURTHER in (place / "report.html").read_text()


def test_the_table_of_bench_is_for_people(place: Path):
    told = edgesmith("bench", str(place), "--rounds", "2")
    assert told.code == 0 and FURTHER in told.out and "peak MB" in told.out


def test_a_bundle_clicks_where_itself_does(place: Path):
    told = edgesmith("compare", str(place), str(place), "--json")
    rows = json.loads(told.out)["rows"]
    assert told.code == 0 and [row["output"] for row in rows] == ["clicks, 224x140", "clicks, 112x112"]
    assert all(row["passed"] and row["same_patch"] == 1 and row["point_px"] == 0 and row["count"] == 2 for row in rows)


def test_one_that_clicks_elsewhere_is_told_with_how_far(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import grounding_bundle

    monkeypatch.setitem(grounding_bundle.COLOURS, "red", grounding_bundle.COLOURS["green"])
    other = write_grounding_bundle(tmp_path / "mixed.edge", sizes=(WIDE,))
    told = edgesmith("compare", str(place), str(other))
    assert told.code == 1 and "FAILS" in told.out and "the same patch in 50%" in told.out
    assert "112x112" in told.out  # which only one of them has


def test_pictures_of_ones_own_are_compared_too(place: Path, tmp_path: Path):
    shots = tmp_path / "shots"
    shots.mkdir()
    cv2.imwrite(str(shots / "desk.png"), screenshot(SQUARE, red=(1, 1)))
    told = edgesmith("compare", str(place), str(place), "--data", str(shots), "--json")
    rows = json.loads(told.out)["rows"]
    assert told.code == 0 and rows[-1]["inputs"] == "desk.png" and rows[-1]["output"] == "clicks, 112x112"


def test_bundles_of_other_words_are_not_compared(place: Path, tmp_path: Path):
    def alter(manifest: dict[str, Any]) -> None:
        manifest["grounding"]["template"]["after"] = [7, 6]

    other = write_grounding_bundle(tmp_path / "other.edge", sizes=(WIDE,), change=alter)
    told = edgesmith("compare", str(place), str(other))
    assert told.code == 2 and "do not read the same words" in told.err and "another prompt" in told.err


def test_the_picture_of_the_report_has_both_points_in_its_own_pixels():
    bucket = Bucket((224, 140), (140, 224))
    judge, bundle = np.zeros((1, 40)), np.zeros((1, 40))
    judge[0, 0] = bundle[0, 1] = 1  # the second patch of the first row instead of the first
    files, entry = clicked(screenshot(WIDE), ["open"], judge, bundle, bucket)
    (told,) = entry["grounding_report"]["pictures"]
    (row,) = told["rows"]
    assert row["judge"] == pytest.approx([14, 14]) and row["bundle"] == pytest.approx([42, 14])
    assert row["apart_px"] == pytest.approx(28) and told["size"] == [672, 420] and list(files) == [told["file"]]
    assert not drawable(np.full((1, 40), np.nan)) and not drawable(np.zeros((1, 40))) and drawable(judge)
