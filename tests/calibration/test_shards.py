"""Datasets of Hugging Face on disk: Parquet and Arrow tables with pictures inside; what does not hold is told."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgesmith.calibration.pictures.shards import open_shards
from edgesmith.calibration.pictures.sources import open_source
from edgesmith.runtime.errors import UserMistake
from edgesmith.runtime.pictures.file import read_image
from edgesmith.runtime.pictures.preprocess import ImageContract

LABELS = ("red", "green", "blue")
NAMES = ["blue", "red", "green"]  # of the dataset, in an order of its own


def test_without_pyarrow_it_is_said_what_is_missing(tmp_path: Path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "train-0.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserMistake, match="no module pyarrow(.|\n)*edgesmith\\[hf\\]"):
        open_source(str(tmp_path), ImageContract(size=(8, 8)), LABELS, 1, 0, 0)


def test_other_folders_are_none_of_them(tmp_path: Path):
    (tmp_path / "state.json").write_text("{}")
    assert open_shards(tmp_path, LABELS) is None


@pytest.mark.parametrize(
    ("state", "says"),
    [
        ("{", "state.json is damaged"),
        ('{"_data_files": [{}]}', "state.json is damaged"),
        ('{"_data_files": [], "_indices_data_files": [{"filename": "i.arrow"}]}', "flatten_indices"),
        ('{"_data_files": []}', "holds no picture"),
    ],
)
def test_states_that_cannot_be_used(tmp_path: Path, state: str, says: str):
    (tmp_path / "state.json").write_text(state)
    (tmp_path / "dataset_info.json").write_text("{}")
    with pytest.raises(UserMistake, match=says):
        open_shards(tmp_path, LABELS)


def table(numbers: list[int], names: list[str] | None = None, picture: str = "Image"):
    """Pictures of one colour each, the place of which in ``LABELS`` is that of their name."""
    pa = pytest.importorskip("pyarrow", reason="pyarrow is not in the environment of the tests")
    rows = []
    for number in numbers:
        pixels = np.zeros((6, 6, 3), np.uint8)
        pixels[..., LABELS.index(NAMES[number])] = 200
        rows.append({"bytes": cv2.imencode(".png", pixels[..., ::-1])[1].tobytes(), "path": "a.png"})
    made = pa.table({"image": pa.array(rows, pa.struct({"bytes": pa.binary(), "path": pa.string()})), "label": numbers})
    features = {"image": {"_type": picture}, "label": {"_type": "ClassLabel", "names": names or NAMES}}
    return made.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})


def colours(pool) -> list[int]:
    return [int(read_image(pool.item(index).path)[0, 0].argmax()) for index in range(len(pool.names))]


def test_shards_of_parquet_are_one_part_each_name(tmp_path: Path):
    made = table([0, 1, 2, 0])
    from pyarrow import parquet

    (tmp_path / "data").mkdir()
    parquet.write_table(made, tmp_path / "data" / "train-00000-of-00002.parquet", row_group_size=3)
    parquet.write_table(table([1]), tmp_path / "data" / "train-00001-of-00002.parquet")
    parquet.write_table(table([2, 2]), tmp_path / "data" / "test-00000-of-00001.parquet")
    opened = open_source(str(tmp_path), ImageContract(size=(8, 8)), LABELS, 1, 0, 0)
    assert list(opened.pool.labels) == colours(opened.pool) == [2, 0, 1, 2, 0]
    assert list(opened.validation.labels) == colours(opened.validation) == [1, 1]
    assert opened.notes == ("test: 2 pictures of a dataset",)


def test_what_save_to_disk_writes(tmp_path: Path):
    made = table([1, 2])
    import pyarrow as pa

    with (
        pa.OSFile(str(tmp_path / "data-00000-of-00001.arrow"), "wb") as file,
        pa.ipc.new_stream(file, made.schema) as to,
    ):
        to.write_table(made)
    (tmp_path / "dataset_info.json").write_text("{}")
    (tmp_path / "state.json").write_text(json.dumps({"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}))
    opened = open_shards(tmp_path, LABELS)
    assert list(opened.pool.labels) == colours(opened.pool) == [0, 1] and opened.validation is None


def test_classes_of_other_names_are_taken_in_their_order_where_there_are_as_many(tmp_path: Path):
    made = table([0, 2], names=["eins", "zwei", "drei"])
    from pyarrow import parquet

    parquet.write_table(made, tmp_path / "all.parquet")
    opened = open_shards(tmp_path, LABELS)
    assert list(opened.pool.labels) == [0, 2] and "taken in their order: eins = red" in opened.notes[0]
    with pytest.raises(UserMistake, match="no class of the model(.|\n)*eins"):
        open_shards(tmp_path, LABELS[:2])
    parquet.write_table(table([0], names=["blue", "zwei", "drei"]), tmp_path / "all.parquet")
    with pytest.raises(UserMistake, match="no class of the model(.|\n)*zwei"):  # blue is the last class of the model
        open_shards(tmp_path, LABELS)


def test_tables_that_cannot_be_used(tmp_path: Path):
    made = table([0]).drop_columns(["image"])
    from pyarrow import parquet

    parquet.write_table(made, tmp_path / "all.parquet")
    with pytest.raises(UserMistake, match="holds no pictures(.|\n)*columns label"):
        open_shards(tmp_path, LABELS)
    (tmp_path / "all.parquet").write_bytes(b"PAR1 but cut off")
    with pytest.raises(UserMistake, match="cannot read .*all.parquet"):
        open_shards(tmp_path, LABELS)
