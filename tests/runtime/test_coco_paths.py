"""Every entry of an annotation file finds its own picture, or the file is refused: never another picture of the same name."""

import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgesmith.calibration.pictures.coco import open_coco
from edgesmith.runtime.coco.annotations import read_coco
from edgesmith.runtime.errors import UserMistake

LABELS = ("thing",)
CAMERAS = ("cam0/000001.png", "cam0/000002.png", "cam1/000001.png", "cam1/000002.png")


def fill(folder: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(cv2.imencode(".png", np.full((20, 30, 3), number, np.uint8))[1].tobytes())
    return folder


def annotate(folder: Path, *names: str) -> Path:
    found = {
        "images": [{"id": n, "file_name": name, "width": 30, "height": 20} for n, name in enumerate(names)],
        "categories": [{"id": 1, "name": "thing"}],
        "annotations": [
            {"id": n + 1, "image_id": n, "category_id": 1, "bbox": [1, 2, 9, 9]} for n in range(len(names))
        ],
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "coco.json").write_text(json.dumps(found))
    return folder / "coco.json"


def paths(file: Path, images: Path | None, below: Path) -> list[str]:
    return [os.path.relpath(path, below) for path in read_coco(file, images, LABELS).paths]


@pytest.mark.parametrize(
    "reader", [lambda *a: read_coco(*a, LABELS), lambda *a: open_coco(*a, LABELS)], ids=["eval", "calibrate"]
)
def test_a_folder_that_holds_the_pictures_of_one_camera_is_not_taken_for_both(tmp_path, reader):
    """mAP 15.6 instead of 52.4: both cameras' boxes were judged on the pictures of cam0."""
    fill(tmp_path, *CAMERAS)
    with pytest.raises(UserMistake, match="missing") as caught:
        reader(annotate(tmp_path, *CAMERAS), tmp_path / "cam0")
    assert "cam0/000001.png" in caught.value.found and f"--images {tmp_path}, below which" in str(caught.value)
    assert paths(tmp_path / "coco.json", tmp_path, tmp_path) == list(CAMERAS)
    assert paths(tmp_path / "coco.json", None, tmp_path) == list(CAMERAS)


def test_the_pictures_of_another_camera_are_refused_where_its_own_are_there(tmp_path):
    fill(tmp_path, *CAMERAS)
    file = annotate(tmp_path / "elsewhere", *CAMERAS[2:])
    with pytest.raises(UserMistake, match="is not the folder") as caught:
        read_coco(file, tmp_path / "cam0", LABELS)
    assert f"cam1/000001.png is in {tmp_path}" in caught.value.found and f"--images {tmp_path}" in str(caught.value)
    assert paths(file, tmp_path / "cam1", tmp_path) == list(CAMERAS[2:]), "the folder that the names begin with"


@pytest.mark.parametrize("limit", [None, 1])
def test_a_draw_of_one_cameras_pictures_finds_no_other_ones(tmp_path, limit):
    """Names are judged over the whole set, whatever is drawn from it."""
    fill(tmp_path, "cam0/000001.png")
    with pytest.raises(UserMistake):
        read_coco(annotate(tmp_path / "x", *CAMERAS), tmp_path / "cam0", LABELS, limit)


@pytest.mark.parametrize(
    "root", ["/data/old/", "C:\\data\\old\\", "\\\\server\\share\\", "http://host/a/", "../../data/"]
)
def test_folders_that_all_names_begin_with_may_be_those_of_another_machine(tmp_path, root):
    """One beginning is left away of all names, so that two of them stay two."""
    fill(tmp_path / "new", *CAMERAS)
    slash = "\\" if "\\" in root else "/"
    file = annotate(tmp_path, *(root + name.replace("/", slash) for name in CAMERAS))
    assert paths(file, tmp_path / "new", tmp_path / "new") == list(CAMERAS)
    assert any("file names begin with" in note for note in read_coco(file, tmp_path / "new", LABELS).notes)


def test_a_given_folder_is_taken_where_the_names_are_absolute_and_exist(tmp_path):
    fill(tmp_path / "old", *CAMERAS)
    fill(tmp_path / "new", *CAMERAS)
    file = annotate(tmp_path, *(str(tmp_path / "old" / name) for name in CAMERAS))
    assert paths(file, tmp_path / "new", tmp_path / "new") == list(CAMERAS)
    assert paths(file, None, tmp_path / "old") == list(CAMERAS), "without a folder as they are"
    (tmp_path / "new" / CAMERAS[3]).unlink()
    with pytest.raises(UserMistake, match="1 of 4 pictures .* are missing"):
        read_coco(file, tmp_path / "new", LABELS)


def test_backslashes_are_folders_and_may_be_letters(tmp_path):
    fill(tmp_path, *CAMERAS)
    file = annotate(tmp_path, *(name.replace("/", "\\") for name in CAMERAS))
    assert paths(file, tmp_path, tmp_path) == list(CAMERAS)
    fill(tmp_path / "letters", "a\\b.png")
    assert paths(annotate(tmp_path, "a\\b.png"), tmp_path / "letters", tmp_path / "letters") == ["a\\b.png"]


@pytest.mark.parametrize("other", ["./a.png", "x/../a.png", "x\\..\\a.png", "link.png", "linked/a.png", "hard.png"])
def test_two_entries_that_lead_to_one_file_are_an_error_that_names_both(tmp_path, other):
    fill(tmp_path, "a.png", "x/b.png")
    (tmp_path / "link.png").symlink_to(tmp_path / "a.png")
    (tmp_path / "linked").symlink_to(tmp_path)
    (tmp_path / "hard.png").hardlink_to(tmp_path / "a.png")
    with pytest.raises(UserMistake, match="are one file") as caught:
        read_coco(annotate(tmp_path, "a.png", "x/b.png", other), tmp_path, LABELS)
    assert "a.png (id 0) and " + other in caught.value.found.replace("\\\\", "\\")


def test_a_link_is_a_picture_where_nothing_else_leads_to_its_file(tmp_path):
    fill(tmp_path, "store/xyz.png", "b.png")
    (tmp_path / "a.png").symlink_to(tmp_path / "store" / "xyz.png")
    assert paths(annotate(tmp_path, "a.png", "b.png"), tmp_path, tmp_path) == ["a.png", "b.png"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("A.PNG", r"A.PNG \(there is 'a.png'\)"),
        ("a.png ", r"'a.png ' \(there is 'a.png'\)"),
        ("b.png", "b.png: not in"),
        ("x" * 5000 + ".png", "not in"),
        ("a.png\0", "not in"),
        ("..", "not in"),
        ("x/a.png", "x/a.png: not in"),
        ("http://host/b.png?size=9", "not in"),
    ],
)
def test_a_name_that_is_nearly_that_of_a_file_is_missing(tmp_path, name, words):
    fill(tmp_path, "a.png", "c.png")
    with pytest.raises(UserMistake, match=words):
        read_coco(annotate(tmp_path / "here", "c.png", name), tmp_path, LABELS)


def test_pictures_of_a_flat_folder_whose_names_begin_with_another_are_told(tmp_path):
    fill(tmp_path / "photos", "1.png", "2.png")
    read = read_coco(annotate(tmp_path, "obj_train_data/1.png", "obj_train_data/2.png"), tmp_path / "photos", LABELS)
    assert len(read) == 2
    assert read.notes[0].startswith("file names begin with obj_train_data: what stands behind it is looked for in")
