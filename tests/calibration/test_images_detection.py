"""Pictures for a detector: annotated ones keep what should be found, folders are no classes."""

import json
import shutil

import cv2
import numpy as np
import pytest

from edgesmith.calibration.pictures.coco import open_coco
from edgesmith.calibration.pictures.images import open_data
from edgesmith.runtime.errors import UserMistake
from edgesmith.runtime.pictures.preprocess import ImageContract

CONTRACT = ImageContract(size=(8, 8), crop_fraction=1.0, fit="stretch")
LABELS = ("cat", "dog")


def pictures(folder, count: int, name: str = "{:03d}.png"):
    """Pictures 20 high and 20 + number wide, each with one box as wide as its number + 1."""
    for number in range(count):
        path = folder / name.format(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.RandomState(number).randint(0, 256, (20, 20 + number, 3)).astype(np.uint8)
        cv2.imwrite(str(path), pixels)
    return folder


def annotated(folder, count: int = 60, name: str = "{:03d}.png"):
    pictures(folder / "images", count, name)
    found = {
        "images": [{"id": 7 * n, "file_name": name.format(n), "width": 20 + n, "height": 20} for n in range(count)],
        "categories": [{"id": 3, "name": "dog"}, {"id": 90, "name": "cat"}],
        "annotations": [
            {"id": n, "image_id": 7 * n, "category_id": (3, 90)[n % 2], "bbox": [1, 2, n + 1, 5]} for n in range(count)
        ],
    }
    (folder / "coco.json").write_text(json.dumps(found))
    return folder / "coco.json"


def test_held_out_pictures_keep_what_should_be_found(tmp_path):
    data = open_data(annotated(tmp_path), CONTRACT, labels=LABELS, count=20, truths=open_coco)
    assert len(data.calibration) == 20 and len(data.held_out) == 40 and data.held_out.labels is None
    assert data.calibration.kind == "coco" and not {*data.calibration.names} & {*data.held_out.names}
    for part in (data.calibration, data.held_out):
        for name, truth in zip(part.names, part.truths, strict=True):
            number = int(name.rsplit("/", 1)[-1].split(".")[0])
            assert truth.image_size == (20, 20 + number) and truth.boxes.tolist() == [[1, 2, number + 2, 7]]
            assert truth.classes.tolist() == [1 - number % 2], "by name: dog 3 is class 1, cat 90 is class 0"
    assert next(data.held_out.batches(3)).shape == (3, 3, 8, 8)
    assert data.notes == (f"pictures of {tmp_path / 'images'}",)


def test_the_draw_does_not_depend_on_the_place(tmp_path):
    file = annotated(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    first = open_data(file, CONTRACT, labels=LABELS, count=20, truths=open_coco)
    second = open_data(tmp_path / "b" / "coco.json", CONTRACT, labels=LABELS, count=20, truths=open_coco)
    given = open_data(file, CONTRACT, labels=LABELS, count=20, truths=open_coco, images=tmp_path / "b" / "images")
    assert first.calibration.digest == second.calibration.digest == given.calibration.digest
    assert first.held_out.digest == second.held_out.digest and given.notes == ()


def test_a_broken_picture_takes_its_annotations_with_it(tmp_path):
    file = annotated(tmp_path)
    path = tmp_path / "images" / "005.png"
    path.write_bytes(path.read_bytes()[:-20])
    data = open_data(file, CONTRACT, labels=LABELS, count=20, truths=open_coco)
    assert len(data.calibration) + len(data.held_out) == 59 and len(data.skipped) == 1
    for part in (data.calibration, data.held_out):
        assert all(
            truth.image_size[1] == 20 + int(name[-7:-4]) for name, truth in zip(part.names, part.truths, strict=True)
        )


def test_folders_are_no_classes(tmp_path):
    root = pictures(tmp_path, 30, "{:03d}.png")
    pictures(tmp_path / "cat", 20)
    data = open_data(root, CONTRACT, labels=LABELS, count=16, truths=open_coco)
    assert (
        data.calibration.labels is None is data.held_out.labels
        and data.calibration.truths is None is data.held_out.truths
    )
    assert not any("class" in note for note in data.notes)
    classes = open_data(tmp_path / "cat", CONTRACT, labels=LABELS, count=16)
    assert classes.calibration.truths is None


def test_labels_of_a_list_are_not_those_of_a_detector(tmp_path):
    pictures(tmp_path, 20)
    (tmp_path / "list.txt").write_text("\n".join(f"{n:03d}.png {n % 2}" for n in range(20)))
    assert (
        open_data(tmp_path / "list.txt", CONTRACT, labels=LABELS, truths=open_coco, count=16).calibration.labels is None
    )


@pytest.mark.parametrize(
    ("data", "more", "words"),
    [
        ("coco.json", {}, "does not detect"),
        ("images", {"images": "images", "truths": open_coco}, "without the annotations"),
        ("coco.json", {"images": "gone", "truths": open_coco}, "there are no pictures in gone"),
        ("coco.json", {"labels": ("a", "b", "c"), "truths": open_coco}, "not the classes of the model"),
        ("gone.json", {"truths": open_coco}, "cannot read the annotations"),
        ("table.csv", {"truths": open_coco}, "COCO .json"),
    ],
)
def test_pictures_that_cannot_be_used_are_refused_in_words(tmp_path, monkeypatch, data, more, words):
    annotated(tmp_path, 3)
    (tmp_path / "table.csv").write_text("a")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserMistake, match=words):
        open_data(data, CONTRACT, **{"labels": LABELS, **more})
