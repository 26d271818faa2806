"""Folders with a table of what their pictures show, as imagefolder has them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgesmith.calibration.pictures.described import open_described
from edgesmith.calibration.pictures.sources import open_source
from edgesmith.runtime.errors import UserMistake
from edgesmith.runtime.pictures.file import write_image
from edgesmith.runtime.pictures.preprocess import ImageContract

LABELS = ("cat", "dog")
CSV = "file_name,label\na.png,dog\nin/b.png,0\n"
JSONL = '{"file_name": "a.png", "label": 1}\n\n{"file_name": "in/b.png", "label": "Cat"}\n'


def folder(root: Path, name: str, text: str, pictures=("a.png", "in/b.png")) -> Path:
    for one in pictures:
        (root / one).parent.mkdir(parents=True, exist_ok=True)
        write_image(root / one, np.zeros((8, 8, 3), np.uint8))
    (root / name).write_text(text)
    return root


@pytest.mark.parametrize(("name", "text"), [("metadata.csv", CSV), ("metadata.jsonl", JSONL)])
def test_labels_are_those_of_the_table_and_not_of_the_folders(tmp_path: Path, name: str, text: str):
    opened = open_source(str(folder(tmp_path, name, text)), ImageContract(size=(8, 8)), LABELS, 2, 0, 0)
    assert (opened.pool.names, list(opened.pool.labels)) == (["a.png", "in/b.png"], [1, 0])
    assert opened.pool.item(1).path == str(tmp_path / "in" / "b.png") and opened.notes == (f"labels of {name}",)


def test_each_part_has_a_table_of_its_own(tmp_path: Path):
    folder(tmp_path / "train", "metadata.csv", CSV)
    folder(tmp_path / "validation", "metadata.jsonl", JSONL.splitlines()[0], ["a.png"])
    opened = open_described(tmp_path, LABELS)
    assert (
        len(opened.pool.names) == 2 and opened.validation.names == ["a.png"] and list(opened.validation.labels) == [1]
    )
    only = open_described(folder(tmp_path / "other" / "test", "metadata.csv", CSV).parent, LABELS)
    assert len(only.pool.names) == 2 and only.notes == ("labels of test/metadata.csv",)


def test_a_folder_without_a_table_is_none_of_them(tmp_path: Path):
    assert open_described(tmp_path, LABELS) is None


def test_a_table_without_labels_still_names_pictures(tmp_path: Path):
    opened = open_described(folder(tmp_path, "metadata.csv", "file_name\na.png\n"), LABELS)
    assert opened.pool.names == ["a.png"] and opened.pool.labels is None


def test_where_the_classes_are_not_known_labels_only_balance_the_draw(tmp_path: Path):
    opened = open_described(folder(tmp_path, "metadata.csv", CSV), ())
    assert opened.pool.labels is None and list(opened.pool.groups) == ["dog", "0"]


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("metadata.csv", "picture,label\na.png,cat\n", "does not name its pictures(.|\n)*picture, label"),
        ("metadata.csv", "file_name,x,y\na.png,1,2\n", "which column is the class"),
        ("metadata.csv", "file_name,label\ngone.png,cat\n", "1 of 1 pictures(.|\n)*gone.png"),
        ("metadata.csv", "file_name,label\na.png,cow\n", "row 1 is no class of the model(.|\n)*cow"),
        ("metadata.csv", "file_name,label\na.png\n", "row 1 is no class of the model"),
        ("metadata.csv", "", "does not name its pictures(.|\n)*no row"),
        ("metadata.jsonl", "{", "no table of pictures"),
        ("metadata.jsonl", "[1]", "a row that is no object"),
        ("metadata.jsonl", '{"file_name": "a.png", "label": 7}', "row 1 is no class of the model"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path: Path, name: str, text: str, says: str):
    with pytest.raises(UserMistake, match=says):
        open_described(folder(tmp_path, name, text), LABELS)
