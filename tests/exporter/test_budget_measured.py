"""A budget is measured on pictures that did not calibrate, whatever their number and kind, or the export ends with 2."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from command_line import edgesmith as command
from digit_pictures import WEIGHTS, arrays, export, write_folder

from edgesmith.calibration.budget.hold import Quantised
from edgesmith.exporter.plan.plan import make_plan
from edgesmith.exporter.precision.quantise import hold_budget
from edgesmith.models.fixtures.digits import digits
from edgesmith.models.fixtures.scenes import write_scenes
from edgesmith.runtime.bundle.bundle import open_bundle
from edgesmith.runtime.errors import UserMistake

pytestmark = pytest.mark.usefixtures("each_graph_traced_once")
VIT, VAN, DAMO = "vit_ggem_mnist", "van_mnist", "damo_yolo_scenes"


def flat(path: Path, count: int) -> Path:
    """Pictures without classes."""
    path.mkdir()
    for number, picture in enumerate(digits("train")[0][:count]):
        cv2.imwrite(str(path / f"{number}.png"), picture)
    return path


def listed(path: Path, count: int) -> Path:
    flat(path, count)
    lines = [f"{number}.png {label}" for number, label in enumerate(digits("train")[1][:count])]
    (path / "list.txt").write_text("\n".join(lines))
    return path / "list.txt"


def npz(path: Path, count: int) -> Path:
    np.savez(path.with_suffix(".npz"), **{name: arrays(count)[name] for name in ("images", "labels")})
    return path.with_suffix(".npz")


def pairs(path: Path, count: int) -> Any:
    pictures, labels = digits("train")
    return ((picture, int(label)) for picture, label in zip(pictures[:count], labels[:count], strict=True))


SOURCES = {"folder of classes": write_folder, "flat folder": flat, "list": listed, "npz": npz, "iterable": pairs}
SOURCES["array"] = lambda path, count: digits("train")[0][:count]


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("count", [2, 31, 100, 128])
def test_half_of_a_small_set_judges(source: str, count: int, tmp_path: Path):
    plan = make_plan(VIT, data=SOURCES[source](tmp_path / "d", count), precision="int8", max_drop=0.0001)
    assert plan.calibration is not None and plan.calibration.data is not None
    calibrate, judge = plan.calibration.data.calibration, plan.calibration.data.held_out
    assert (len(calibrate), len(judge)) == (count - count // 2, count // 2)
    contents = [{one.digest for one in part.items} for part in (calibrate, judge)]
    assert len(contents[0] | contents[1]) == count, "no picture on both sides"


@pytest.mark.parametrize("precision, target", [("int8", "cpu"), ("int8", "rtx"), ("int8", "openvino"), ("int4", "cpu"),
    ("int4", "jetpack6"), ("fp8", "rtx"), ("nvfp4", "rtx"), ("auto", "cpu"), ("mixed", "rtx")])  # fmt: skip
def test_one_picture_can_hold_no_budget(precision: str, target: str, tmp_path: Path):
    for count, copies in ((1, 1), (1, 40)):
        data = list(digits("train")[0][:count]) * copies
        with pytest.raises(UserMistake, match="budget cannot be measured") as caught:
            make_plan(VIT, data=data, precision=precision, target=target, max_drop=50.0)
        assert caught.value.exit_code == 2
    with pytest.raises(UserMistake, match="--eval-images 0"):
        make_plan(VIT, data=flat(tmp_path / "d", 60), precision=precision, target=target, max_drop=50.0, eval_images=0)


def test_held_out_pictures_that_are_copies_of_the_others_judge_nothing(tmp_path: Path):
    known = arrays(40, 1)
    same = {**known, "val_images": known["images"][:20], "val_labels": known["labels"][:20]}
    with pytest.raises(UserMistake, match="budget cannot be measured(.|\n)*the same contents"):
        make_plan(VIT, data=same, precision="int8", max_drop=50.0)


def test_without_a_budget_a_few_pictures_all_calibrate_and_a_note_says_what_was_not_measured(tmp_path: Path):
    plan = make_plan(VIT, data=flat(tmp_path / "d", 20), precision="int8")
    assert plan.calibration is not None and plan.calibration.data is not None
    assert (len(plan.calibration.data.calibration), len(plan.calibration.data.held_out)) == (20, 0)
    assert any("Accuracy cannot be measured" in note for note in plan.calibration.data.notes)


@pytest.mark.parametrize("measured", [{}, {"met": True}, {"figures": object()}])
def test_what_was_not_measured_holds_no_budget(measured: dict[str, Any], tmp_path: Path):
    plan = make_plan(VIT, data=flat(tmp_path / "d", 60), precision="int8", max_drop=50.0)
    unknown = Quantised(SimpleNamespace(), {}, **measured)  # type: ignore[arg-type]
    with pytest.raises(UserMistake, match="cannot be measured"):
        hold_budget(plan, unknown, SimpleNamespace())  # type: ignore[arg-type]
    hold_budget(make_plan(VIT, precision="int8"), unknown, SimpleNamespace())  # type: ignore[arg-type]


@pytest.mark.slow
def test_the_command_measures_tells_and_writes_both_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """100 pictures in class folders, all of which calibrated and none judged: 0.0001 points held."""
    monkeypatch.chdir(tmp_path)
    photos = write_folder(tmp_path / "photos", 100)
    words = ("export", "--model", VIT, "--weights", str(WEIGHTS / f"{VIT}.safetensors"), "--precision", "int8",
             "--data", str(photos), "--calib-cache", "cache", "--int8-form", "static")  # fmt: skip
    answer = command(*words, "--max-drop", "0.0001", "--out", "a.edge")
    assert answer.code == 0, answer.err
    told = open_bundle(tmp_path / "a.edge").manifest["quantisation"]
    assert (told["data"]["images"], told["data"]["held_out"]) == (50, 50)
    assert told["accuracy"]["n"] == 50 and told["accuracy"]["metric"] == "top1"
    assert told["budget"]["met"] and told["accuracy"]["drop"]["points"] <= 0
    said = "".join(answer.out.split())
    assert "50picturescalibrate,50othersjudge" in said and "stepsof2.00points" in said, answer.out
    answer = command("quant-report", "a.edge", "--data", str(photos), "--weights", words[4], "--json")
    assert answer.code == 0, answer.err
    again = json.loads(answer.out)["quantisation"]["accuracy"]
    assert again["n"] == 50 and again["reference"]["value"] == told["accuracy"]["reference"]["value"]
    answer = command(*words, "--max-drop", "50", "--out", "b.edge")  # the statistics come from the cache now
    assert answer.code == 0 and "from the cache" in answer.err + answer.out, answer.err
    assert open_bundle(tmp_path / "b.edge").manifest["quantisation"]["budget"]["met"]
    answer = command(*words[:7], "--data", str(min(photos.rglob("*.png"))), "--max-drop", "50", "--out", "c.edge")
    assert answer.code == 2 and "budget cannot be measured" in answer.err and not (tmp_path / "c.edge").exists()


@pytest.mark.slow
@pytest.mark.parametrize("precision, target", [("int8", "cpu"), ("int8", "openvino"), ("int8", "jetpack6"),
    ("int4", "cpu"), ("int4", "jetpack6"), ("fp8", "jetpack7"), ("nvfp4", "jetpack7"), ("auto", "cpu")])  # fmt: skip
@pytest.mark.parametrize("model", [VIT, VAN])
def test_every_precision_is_judged_by_others(model: str, precision: str, target: str, tmp_path: Path):
    if (model, precision, target) == (VAN, "int4", "cpu"):
        with pytest.raises(UserMistake, match="No weight of this model takes int4"):  # it is convolutions
            export(model, tmp_path / "m.edge", data=flat(tmp_path / "d", 64), precision=precision, max_drop=40.0)
        return
    arch = {"gpu_arch": "sm110"} if target == "jetpack7" else {}
    result = export(
        model,
        tmp_path / "m.edge",
        data=flat(tmp_path / "d", 64),
        precision=precision,
        target=target,
        max_drop=40.0,
        **arch,
    )
    told = open_bundle(result.path).manifest["quantisation"]
    if told:  # "auto" may choose floating point
        assert (
            told["accuracy"]["n"] == 32 and told["accuracy"]["metric"] == "agreement" and told["budget"]["met"] is True
        )
        assert (told["data"]["images"], told["data"]["held_out"]) == (32, 32)


@pytest.mark.slow
def test_scenes_are_halved_too(tmp_path: Path):
    """100 annotated scenes: all calibrated, and 0.0001 points held."""
    file = write_scenes(tmp_path / "scenes", 40, "calibration")
    result = export(DAMO, tmp_path / "m.edge", data=str(file), precision="int8", max_drop=60.0)
    told = open_bundle(result.path).manifest["quantisation"]
    assert told["accuracy"]["metric"] == "mAP" and told["accuracy"]["n"] == 20 and told["budget"]["met"] is True
    assert Counter([told["data"]["images"], told["data"]["held_out"]]) == {20: 2}
