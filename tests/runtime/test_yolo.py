"""A YOLO data.yaml is judged as its COCO twin is; what is wrong with one is told in words."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edgesmith.runtime.coco.annotations import read_coco
from edgesmith.runtime.coco.yolo import labels_of
from edgesmith.runtime.errors import UserMistake
from edgesmith.runtime.pictures.file import write_image

pytest.importorskip("yaml", reason="PyYAML comes with the extra eval")
NAMES = ["red", "green", "blue"]


def write_set(folder: Path, labels: dict[str, str | None], settings: str = "") -> Path:
    """Pictures of 40 x 20 with the lines of their label files, None for no file; the yaml is returned."""
    for name, lines in labels.items():
        picture = folder / "images" / "val" / f"{name}.png"
        picture.parent.mkdir(parents=True, exist_ok=True)
        write_image(picture, np.zeros((20, 40, 3), np.uint8))
        if lines is not None:
            place = folder / "labels" / "val" / f"{name}.txt"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(lines)
    (folder / "data.yaml").write_text(settings or "val: images/val\nnames: {0: red, 1: green, 2: blue}\n")
    return folder / "data.yaml"


def test_boxes_are_shares_of_their_picture(tmp_path: Path):
    found = read_coco(write_set(tmp_path, {"a": "2 0.5 0.5 0.25 0.5\n", "b": "0 0 0 0.5 0 0.25 1\n"}), labels=NAMES)
    np.testing.assert_allclose(found.truths[0].boxes, [[15, 5, 25, 15]])
    np.testing.assert_allclose(found.truths[1].boxes, [[0, 0, 20, 20]])
    assert [truth.classes.tolist() for truth in found.truths] == [[2], [0]]
    assert found.ids == (str(Path("images", "val", "a.png")), str(Path("images", "val", "b.png")))
    assert "val: 2 pictures" in found.notes and "1 labels are outlines: their extremes are taken" in found.notes


def test_a_picture_without_a_label_file_has_no_object_and_that_is_told(tmp_path: Path):
    found = read_coco(write_set(tmp_path, {"a": "0 0.5 0.5 1 1", "b": None, "c": ""}), labels=NAMES)
    assert [len(truth) for truth in found.truths] == [1, 0, 0]
    assert any(note.startswith("1 pictures have no label file, and so no object: ") for note in found.notes)


@pytest.mark.parametrize(
    "settings",
    [
        "path: .\nval: images/val\nnames: [red, green, blue]\n",
        "train: gone\nval: [images/val]\nnames: [red, green, blue]\n",
        "test: list.txt\nnames: [red, green, blue]\n",
    ],
)
def test_forms_of_the_settings(tmp_path: Path, settings: str):
    (tmp_path / "list.txt").write_text("images/val/a.png\n")
    assert len(read_coco(write_set(tmp_path, {"a": "1 0.5 0.5 1 1"}, settings), labels=NAMES)) == 1


def test_labels_stand_beside_pictures_that_lie_in_no_folder_images():
    assert labels_of(Path("set/pictures/a.jpg")) == Path("set/pictures/a.txt")
    assert labels_of(Path("images/set/images/val/a.b.jpg")) == Path("images/set/labels/val/a.b.txt")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("0 20 10 10 10", "line 2: this is no box(.|\n)*pixels"),
        ("0 0.5 0.5 0.1 0.1 0.9", "an answer with its score"),
        ("3 0.5 0.5 0.1 0.1", "the classes are 0 to 2"),
        ("0.5 0.5 0.5 0.1 0.1", "the classes are 0 to 2"),
        ("red 0.5 0.5 0.1 0.1", "line 2: this is no box"),
        ("0 nan 0.5 0.1 0.1", "line 2: this is no box"),
    ],
)
def test_a_line_that_is_no_box_is_told_with_its_number(tmp_path: Path, line: str, says: str):
    file = write_set(tmp_path, {"a": f"1 0.5 0.5 1 1\n{line}\n"})
    with pytest.raises(UserMistake, match=says):
        read_coco(file, labels=NAMES)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ("val: [", "no YAML"),
        ("- a\n", "is no YOLO set(.|\n)*list"),
        ("val: images/val\n", "names: None"),
        ("val: images/val\nnames: {a: 0}\n", "names: {'a': 0}"),
        ("names: [red]\n", "keys names"),
        ("val: gone\nnames: [red]\n", "val: gone, nothing at"),
        ("val: labels\nnames: [red]\n", "without a picture"),
        ("val: list.txt\nnames: [red]\n", "no such file"),
        ("val: images/val\nnames: [apple, pear]\n", "categories are not the classes of the model"),
    ],
)
def test_settings_that_cannot_be_used(tmp_path: Path, settings: str, says: str):
    (tmp_path / "list.txt").write_text("gone.png\n")
    with pytest.raises(UserMistake, match=says):
        read_coco(write_set(tmp_path, {"a": "0 0.5 0.5 1 1"}, settings), labels=NAMES)


def test_a_set_without_any_label_file_is_no_set(tmp_path: Path):
    with pytest.raises(UserMistake, match="no label file .*a.txt"):
        read_coco(write_set(tmp_path, {"a": None, "b": None}), labels=NAMES)


def test_it_is_judged_as_its_coco_twin(tmp_path: Path, monkeypatch):
    """The same pictures and boxes in both forms: the same figures."""
    pytest.importorskip("onnx")
    from coco_patches import write_patches
    from command_line import on_device
    from detection_bundle import write_detection_bundle

    monkeypatch.chdir(tmp_path)
    write_detection_bundle(tmp_path / "colours.edge", batch="batch")
    told = json.loads(write_patches(tmp_path, missed=4).read_text())
    (tmp_path / "labels").mkdir()
    classes = {one["id"]: index for index, one in enumerate(told["categories"])}
    for one in told["images"]:
        side = one["width"]
        rows = [(classes[a["category_id"]], a["bbox"]) for a in told["annotations"] if a["image_id"] == one["id"]]
        text = "".join(
            f"{k} {(x + w / 2) / side} {(y + h / 2) / side} {w / side} {h / side}\n" for k, (x, y, w, h) in rows
        )
        (tmp_path / "labels" / (one["file_name"][:-4] + ".txt")).write_text(text)
    (tmp_path / "data.yaml").write_text("val: images\nnames: [RED, Green, blue]\n")
    found = [on_device("eval", "colours.edge", "--data", data, "--json") for data in ("coco.json", "data.yaml")]
    assert found[1].code == 0, found[1].err
    one, two = (json.loads(answer.out)["rows"][0] for answer in found)
    assert two["map"] == pytest.approx(one["map"]) and 0 < one["map"] < 100
    assert {key: two["per_class"][key]["boxes"] for key in two["per_class"]} == {"red": 12, "green": 4, "blue": 12}
    refused = on_device("eval", "colours.edge", "--data", "data.yaml", "--images", "images")
    assert refused.code == 2 and "names its pictures itself" in refused.err
