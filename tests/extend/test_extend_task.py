"""A task from outside the package, in one file (task_toy.py): exported, tested on the device, quantised, compared, measured."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from command_line import edgesmith as command
from extend.task_toy import TASK, Segmentation, Segments, add

import edgesmith
from edgesmith.calibration.judge.known import JUDGES
from edgesmith.exporter.tasks.known import EXPORTS
from edgesmith.runtime.errors import UserMistake
from edgesmith.runtime.tasks.known import TASKS

PICTURE = np.random.default_rng(0).integers(0, 256, (48, 40, 3), np.uint8)


@pytest.fixture(autouse=True)
def toy(own_tables: None, monkeypatch: pytest.MonkeyPatch) -> None:
    for table in (TASKS, EXPORTS, JUDGES):
        monkeypatch.setattr(table, "_things", dict(table._things))
    add()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Small pictures of random patches, enough to calibrate and to judge."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(48):
        patches = np.random.default_rng(number).integers(0, 256, (5, 5, 3), np.uint8)
        cv2.imwrite(str(folder / f"{number}.png"), cv2.resize(patches, (40, 40), interpolation=cv2.INTER_NEAREST))
    return folder


def test_it_is_exported_to_a_bundle_that_runs_and_tests_itself(tmp_path: Path):
    add()  # a second time changes nothing
    result = edgesmith.export("toy_segmenter", out=tmp_path / "toy.edge")
    assert all(row.passed for row in result.parity)
    told = result.bundle.manifest
    assert told["task"] == "parsing" and told["outputs"][0]["shape"] == [1, 5, 8, 8] and "detection" not in told
    with edgesmith.load(result.path) as session:
        answer = session(PICTURE)
        assert isinstance(answer, Segments) and answer.classes.shape == (8, 8)
        assert all(row.passed for row in session.self_test())
    assert "road" in command("run", str(result.path), str(picture(tmp_path))).out


def test_a_quantised_one_is_judged_as_its_own_judge_says(tmp_path: Path, photos: Path):
    result = edgesmith.export(
        "toy_segmenter", precision="int8", data=photos, calib_images=16, eval_images=32, max_drop=50.0,
        out=tmp_path / "toy.edge",
    )  # fmt: skip
    accuracy = result.quantisation["accuracy"]
    assert accuracy["reference"]["metric"] == "same places" and accuracy["reference"]["value"] == 100.0
    assert 50 < accuracy["agreement"] <= 100 and result.quantisation["budget"]["met"]


def test_compare_and_bench_take_a_task_from_outside(tmp_path: Path):
    path = str(edgesmith.export("toy_segmenter", out=tmp_path / "toy.edge").path)
    assert edgesmith.compare(path, f"{path}/model.onnx")["agree"], "the file is known by the names of its outputs"
    (row,) = edgesmith.bench(path, against="none", rounds=2, memory=False)["rows"]
    assert row["max_abs"] == 0.0


def test_flags_of_other_tasks_are_refused():
    with pytest.raises(UserMistake, match="--score belongs to a detector") as caught:
        edgesmith.export("toy_segmenter", score=0.5)
    assert "toy_segmenter is made for parsing" in str(caught.value)


def test_a_task_of_ours_is_not_replaced():
    class Other(Segmentation):
        name = "detection"

    with pytest.raises(UserMistake, match="There is a task detection already"):
        edgesmith.register_task(Other())
    assert edgesmith.register_task(TASK) is TASK


def picture(folder: Path) -> Path:
    cv2.imwrite(str(folder / "photo.png"), PICTURE)
    return folder / "photo.png"
