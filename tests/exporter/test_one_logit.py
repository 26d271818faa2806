"""One logit from the plan to the budget: two names, two folders, answers that can be wrong."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from command_line import edgesmith as command
from extend.conftest import own_tables  # noqa: F401 a fixture
from extend.model_toy import add
from numbered_pictures import Numbered, answers
from one_logit_bundle import one_logit, picture

import edgesmith
from edgesmith.calibration.judge.accuracy import AGREEMENT, TOP1, difference, measure
from edgesmith.calibration.judge.classification import judge_logits
from edgesmith.exporter.plan.plan import make_plan
from edgesmith.exporter.tasks.rows import agreement
from edgesmith.models import create
from edgesmith.runtime.errors import UserMistake


@pytest.fixture
def toy(own_tables: None) -> None:  # noqa: F811
    add()


LOGITS = np.array([[2.0], [-1.0], [0.5], [-3.0], [1.0], [-0.2], [4.0], [-2.0]], np.float32)
TRUTH = np.array([1, 0, 1, 0, 1, 0, 1, 1])  # the last is wrong


def test_top1_is_that_of_the_sign():
    assert measure(TOP1, LOGITS, TRUTH).value == 87.5
    assert measure(TOP1, -LOGITS, TRUTH).value == 12.5
    assert measure(AGREEMENT, LOGITS * 0.1, LOGITS).value == 100.0


def test_a_graph_that_flips_signs_loses_and_one_that_says_nothing_too():
    flipped = LOGITS * np.float32([[1], [1], [-1], [1], [-1], [1], [1], [1]])
    drop = difference(AGREEMENT, LOGITS, flipped, LOGITS)
    assert (drop.points, drop.lost, drop.won) == (25.0, 2, 0)
    assert difference(TOP1, LOGITS, np.zeros_like(LOGITS), TRUTH).points == 50.0, "zero is class 0 for all"


def test_the_evaluation_tells_signs_and_the_error_of_the_logit():
    evaluation = judge_logits(Numbered(8), answers(LOGITS), TRUTH)
    off = LOGITS.copy()
    off[0] -= 1.5  # 0.5: the same answer, another certainty; the logits' root mean square is 2.1
    found = evaluation.evaluate(answers(off))
    assert (found.drop.points, found.agreement) == (0.0, 100.0)
    assert found.cosine == pytest.approx(1 - 1.5**2 / (2 * 4.41125))
    assert not any("one class" in note or "is right on" in note for note in evaluation.notes(0.5))
    one_sided = judge_logits(Numbered(8), answers(abs(LOGITS)))
    assert any("of class 1" in note for note in one_sided.notes())


def test_labels_the_other_way_round_are_noticed():
    assert any("is right on 12.5 %" in note for note in judge_logits(Numbered(8), answers(-LOGITS), TRUTH).notes())


@pytest.mark.parametrize("precision", ["int8", "fp16", "bf16"])
def test_parity_of_one_logit_can_fail(precision: str):
    """A graph that gives a fifth of each logit had the cosine 1; one of 4 signs wrong has a top-1 of 75 %."""
    row = agreement("bundle", "x", "pictures", (8, 3, 1, 1), LOGITS, LOGITS * np.float32(0.2), precision)
    assert not row.passed and row.top1 == row.top5 == 1.0
    wrong = agreement(
        "bundle", "x", "pictures", (4, 3, 1, 1), LOGITS[:4], LOGITS[:4] * [[-1], [1], [1], [1]], precision
    )
    assert not wrong.passed and wrong.top1 == 0.75
    assert agreement("bundle", "x", "pictures", (8, 3, 1, 1), LOGITS, LOGITS + np.float32(1e-3), precision).passed


@pytest.mark.usefixtures("toy")
@pytest.mark.parametrize(
    ("names", "asked", "labels"),
    [
        (None, 1, ("class 0", "class 1")),
        ("dog\n", None, ("not dog", "dog")),
        ("dog\n", 1, ("not dog", "dog")),
        ("cat\ndog\n", 1, ("cat", "dog")),
    ],
)
def test_a_plan_names_both_classes_of_one_output(tmp_path: Path, names: str | None, asked: int | None, labels):
    file = tmp_path / "names.txt"
    if names:
        file.write_text(names)
    plan = make_plan("toy", num_classes=asked, labels=file if names else None, out=tmp_path / "toy.edge")
    assert (plan.labels, plan.num_classes) == (labels, 1)


@pytest.mark.usefixtures("toy")
def test_two_names_are_two_outputs_unless_one_is_asked_for_and_three_do_not_fit_one(tmp_path: Path):
    file = tmp_path / "names.txt"
    file.write_text("cat\ndog\n")
    assert make_plan("toy", labels=file, out=tmp_path / "toy.edge").num_classes == 2
    file.write_text("cat\ndog\nemu\n")
    with pytest.raises(UserMistake, match="do not go together"):
        make_plan("toy", labels=file, num_classes=1, out=tmp_path / "toy.edge")


def test_a_detector_of_one_class_keeps_its_one_name(tmp_path: Path):
    plan = make_plan("damo_yolo", num_classes=1, out=tmp_path / "one.edge")
    assert len(plan.labels) == plan.num_classes == 1


@pytest.mark.parametrize("labels", [["blue", "red"], ["red"]])
def test_two_folders_evaluate_it(tmp_path: Path, labels: list[str]):
    """Of 6 red pictures one is blue; a folder of the other class may be called what it is, or ``not`` the one name."""
    bundle = one_logit(tmp_path / "one.edge", labels)
    for name, count, colours in (("red", 5, (0.7, 0.2)), ("not red" if labels == ["red"] else "blue", 4, (0.2, 0.7))):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for index in range(count):
            cv2.imwrite(str(tmp_path / "photos" / name / f"{index}.png"), picture(*colours)[..., ::-1])
    cv2.imwrite(str(tmp_path / "photos" / "red" / "wrong.png"), picture(0.1, 0.3)[..., ::-1])
    found = command("eval", str(bundle), "--data", str(tmp_path / "photos"), "--json")
    assert found.code == 0, found.err
    (row,) = json.loads(found.out)["rows"]
    assert (row["top1"], row["top5"], row["pictures"]) == (90.0, 100.0, 10)


@pytest.mark.slow
@pytest.mark.usefixtures("toy")
def test_two_folders_judge_it_from_export_to_eval(tmp_path: Path):
    """Bright is class 1: the head's bias puts the border between. Of 20 dark pictures 4 lie in the other folder."""
    module = create("toy", num_classes=1, seed=3)
    photos = tmp_path / "photos"
    for name, level, count in (("bright", 220, 24), ("dark", 30, 20), ("bright", 31, 4)):
        (photos / name).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            pixels = np.clip(np.random.default_rng(index).normal(level, 6, (32, 32, 3)), 0, 255)
            cv2.imwrite(str(photos / name / f"{level}-{index}.png"), pixels.astype(np.uint8))
    with torch.inference_mode():
        level = [module(torch.full((1, 3, 32, 32), (value / 255 - 0.45) / 0.225)).item() for value in (30, 220)]
        module.head.weight *= 4 / (level[1] - level[0])
        module.head.bias.zero_()
        module.head.bias -= (
            sum(module(torch.full((1, 3, 32, 32), (v / 255 - 0.45) / 0.225)).item() for v in (30, 220)) / 2
        )
    torch.save({f"net.{name}": value for name, value in module.state_dict().items()}, tmp_path / "toy.pth")
    (tmp_path / "names.txt").write_text("dark\nbright\n")
    result = edgesmith.export(
        "toy", tmp_path / "toy.pth", num_classes=1, labels=tmp_path / "names.txt", precision="int8", target="openvino", data=photos,
        calib_images=16, max_drop=50, out=tmp_path / "toy.edge",
    )  # fmt: skip
    told = json.loads((tmp_path / "toy.edge" / "manifest.json").read_text())
    assert told["num_classes"] == 1 and json.loads((tmp_path / "toy.edge" / "labels.json").read_text()) == [
        "dark",
        "bright",
    ]
    accuracy = told["quantisation"]["accuracy"]
    assert accuracy["metric"] == "top1" and 60 < accuracy["reference"]["value"] < 100, "4 of 48 are in the wrong folder"
    assert all(row.passed for row in result.parity)
    with edgesmith.load(result.path) as session:
        assert all(row.passed for row in session.self_test())
    found = command("eval", str(result.path), "--data", str(photos), "--weights", str(tmp_path / "toy.pth"), "--json")
    assert found.code == 0, found.err
    rows = json.loads(found.out)["rows"]
    assert [row["top1"] for row in rows] == pytest.approx([100 * 44 / 48] * 2) and rows[0]["top5"] == 100.0
