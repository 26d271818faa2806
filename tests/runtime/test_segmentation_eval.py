"""Mean IoU on a folder of pictures and masks: by hand, and what is wrong with a folder."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from segmentation_bundle import QUARTERS, painted, write_pair, write_segmentation_bundle

from edgesmith.runtime.commands.cli import main
from edgesmith.runtime.commands.evaluation.evaluate import evaluate, show
from edgesmith.runtime.errors import UserMistake
from edgesmith.runtime.tasks.evaluation import Asked
from edgesmith.runtime.tasks.segmentation.evaluate import Counts, counts_of, figures


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_segmentation_bundle(tmp_path / "s.edge")


def test_what_is_as_the_masks_say_has_a_mean_of_100(bundle: Path, tmp_path: Path):
    write_pair(tmp_path / "set", "town/a", QUARTERS, QUARTERS)
    (row,) = evaluate([bundle], tmp_path / "set")["rows"]
    assert (row["miou"], row["pixel_accuracy"], row["pictures"], row["pixels"]) == (100.0, 100.0, 1, 1024)
    assert {name: told["iou"] for name, told in row["per_class"].items()} == dict.fromkeys(
        ("red", "green", "blue"), 100.0
    )


def test_figures_by_hand(bundle: Path, tmp_path: Path):
    """Of 1024 pixels 256 are red, 512 green, 256 blue; the mask calls all blue ones red, and does not judge the upper half.

    Upper half left out: 256 blue pixels, said red; 256 green ones, said green. IoU: red 0 of 256, green 256 of 256, blue 0 of 256.
    """
    said = np.where(QUARTERS == 2, 0, QUARTERS)
    said[:16] = 255
    write_pair(tmp_path / "set", "a", QUARTERS, said)
    result = evaluate([bundle], tmp_path / "set")
    (row,) = result["rows"]
    assert row["miou"] == pytest.approx(100 / 3) and row["pixel_accuracy"] == 50.0 and row["pixels"] == 512
    assert [told["iou"] for told in row["per_class"].values()] == [0.0, 100.0, 0.0]
    assert any("255 are no class" in note for note in result["notes"])
    text = show(result, per_class=True)
    assert "33.33" in text and "IoU s.edge" in text and "mean over 3 classes" in text


def test_a_class_that_neither_mask_nor_network_has_is_no_part_of_the_mean(bundle: Path, tmp_path: Path):
    write_pair(tmp_path / "set", "a", np.zeros((32, 32), int), np.zeros((32, 32), int))
    (row,) = evaluate([bundle], tmp_path / "set")["rows"]
    assert (row["miou"], row["classes"]) == (100.0, 1) and row["per_class"]["blue"]["iou"] is None


def test_another_value_may_be_no_class_and_classes_may_count_from_one(bundle: Path, tmp_path: Path):
    write_pair(tmp_path / "set", "a", QUARTERS, QUARTERS + 1)
    with pytest.raises(UserMistake, match="a class that the network does not have(.|\n)*--reduce-labels"):
        evaluate([bundle], tmp_path / "set")
    (row,) = evaluate([bundle], tmp_path / "set", Asked(reduce_labels=True))["rows"]
    assert row["miou"] == 100.0
    (row,) = evaluate([bundle], tmp_path / "set", Asked(reduce_labels=True, ignore_label=1))["rows"]
    assert row["miou"] == 100.0 and row["pixels"] == 768, "the red quarter does not count"
    (row,) = evaluate([bundle], tmp_path / "set", Asked(ignore_label=3))["rows"]
    assert row["pixels"] == 768


def test_the_picture_is_judged_in_its_own_pixels_and_what_is_not_seen_is_wrong(tmp_path: Path):
    bundle = write_segmentation_bundle(tmp_path / "s.edge", contract={"fit": "crop"})
    wide = np.zeros((32, 64), int)
    write_pair(tmp_path / "set", "a", wide, wide)
    result = evaluate([bundle], tmp_path / "set")
    (row,) = result["rows"]
    assert row["pixel_accuracy"] == 50.0 and row["unseen"] == 50.0 and row["miou"] == 50.0
    assert any("50.0 % of the pixels are outside" in note for note in result["notes"])


def test_counts_are_added_over_pictures():
    """A class with one pixel in one picture and 99 in another: the pixels count, not the pictures."""
    one = counts_of(np.array([[0]]), np.array([[1]], np.uint8), 2)
    two = counts_of(np.zeros((9, 11), np.int64), np.zeros((9, 11), np.uint8), 2)
    counts = Counts(*(np.stack(pair) for pair in zip(one, two, strict=True)))
    np.testing.assert_allclose(counts.ious(), [99 / 100, 0.0])
    assert figures(counts, 0, ["a", "a"])["per_class"].keys() == {"a (0)", "a (1)"}


def test_nothing_that_counts_is_told():
    nothing = counts_of(np.full((2, 2), -1), np.zeros((2, 2), np.uint8), 2)
    with pytest.raises(UserMistake, match="No pixel of the masks counts"):
        figures(Counts(*(part[None] for part in nothing)), 0, ["a", "b"])


def wrong_size(folder: Path) -> None:
    write_pair(folder, "a", QUARTERS, QUARTERS[:30])


def beyond(folder: Path) -> None:
    write_pair(folder, "a", QUARTERS, QUARTERS + 7)


def without(folder: Path) -> None:
    write_pair(folder, "a", QUARTERS, QUARTERS)
    (folder / "masks" / "a.png").rename(folder / "masks" / "b.png")


def other_folders(folder: Path) -> None:
    (folder / "pictures").mkdir(parents=True)


def empty(folder: Path) -> None:
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()


def colours(folder: Path) -> None:
    write_pair(folder, "a", QUARTERS, QUARTERS)
    cv2.imwrite(str(folder / "masks" / "a.png"), painted(QUARTERS))


def damaged(folder: Path) -> None:
    write_pair(folder, "a", QUARTERS, QUARTERS)
    (folder / "images" / "a.png").write_bytes(b"no picture")


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (wrong_size, "not of the size of its picture(.|\n)*32 x 30(.|\n)*32 x 32"),
        (beyond, "does not have(.|\n)*the value 9(.|\n)*0 to 2(.|\n)*--ignore-label 9"),
        (without, "1 of 1 pictures have no mask(.|\n)*a.png"),
        (other_folders, "no pictures with masks(.|\n)*in it pictures"),
        (empty, "no picture in"),
        (colours, "no mask of classes(.|\n)*RGB"),
        (damaged, "a.png"),
        (lambda folder: None, "no pictures with masks(.|\n)*nothing at that path"),
    ],
)
def test_a_folder_that_cannot_be_used_is_told_before_anything_runs(
    bundle: Path, tmp_path: Path, spoil, says: str, capsys
):
    spoil(tmp_path / "set")
    with pytest.raises(SystemExit) as left:
        main(["eval", str(bundle), "--data", str(tmp_path / "set")])
    told = capsys.readouterr()
    assert left.value.code == 2 and not told.out
    import re

    assert re.search(says, told.err), told.err
    assert len(told.err.splitlines()) <= 24


def test_masks_and_pictures_may_lie_apart(bundle: Path, tmp_path: Path, capsys):
    write_pair(tmp_path / "set", "a", QUARTERS, QUARTERS)
    write_pair(tmp_path / "set", "b", QUARTERS, QUARTERS)
    (tmp_path / "set" / "images" / "b.png").unlink()
    words = [
        "eval",
        str(bundle),
        "--data",
        str(tmp_path / "set" / "masks"),
        "--images",
        str(tmp_path / "set" / "images"),
    ]
    with pytest.raises(SystemExit) as left:
        main([*words, "--json"])
    told = json.loads(capsys.readouterr().out)
    assert left.value.code == 0 and told["rows"][0]["miou"] == 100.0
    assert "1 masks without a picture are not used" in told["notes"]


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (Asked(score=0.5), "--score belongs to a detector"),
        (Asked(agnostic_nms=True), "--agnostic-nms belongs"),
        (Asked(ignore_label=-1), "out of range"),
    ],
)
def test_settings_of_others_are_refused(bundle: Path, tmp_path: Path, asked: Asked, says: str):
    write_pair(tmp_path / "set", "a", QUARTERS, QUARTERS)
    with pytest.raises(UserMistake, match=says):
        evaluate([bundle], tmp_path / "set", asked)
    with pytest.raises(UserMistake, match="--save belongs to a detector(.|\n)*run --masks"):
        evaluate([bundle], tmp_path / "set", save=tmp_path / "x.json")
