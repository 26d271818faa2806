"""Arrays by name on the device: what is compared and how, what a file of inputs may be, names that no file could have."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgesmith.runtime.bundle.golden import golden_bytes, member_names, read_golden
from edgesmith.runtime.commands.running.arrays import read_arrays
from edgesmith.runtime.errors import UserMistake
from edgesmith.runtime.tasks.tensors import TensorsTask, compare


def bundle(*names: str) -> Any:
    return SimpleNamespace(name="net", inputs=[SimpleNamespace(name=name) for name in names])


def test_whole_numbers_have_to_be_the_same_in_fp32():
    same = compare("best", [np.array([1, 2])], [np.array([1, 2])], "fp32")
    other = compare("best", [np.array([1, 2])], [np.array([1, 3])], "fp32")
    assert same.passed and not other.passed and other.limit == "the same numbers"


def test_each_run_is_one_vector_whatever_its_shape():
    a, b = np.float32(3.0), np.ones((2, 3), np.float32)
    assert compare("a", [a[...]], [a[...]], "fp32").passed
    row = compare("b", [b, 2 * b], [b, 2 * b + 1e-6], "fp32")
    assert row.passed and row.cases == 2
    assert not compare("b", [b], [b + 0.01], "fp32").passed


def test_another_shape_fails_in_words():
    row = compare("a", [np.zeros((2, 3))], [np.zeros((3, 2))], "fp32")
    assert not row.passed and "(3, 2), not (2, 3)" in row.limit


def test_golden_cases_are_runs_of_their_own():
    seen: list[dict[str, np.ndarray]] = []

    def run(feeds: Any) -> dict[str, np.ndarray]:
        seen.append(dict(feeds))
        return {"y": feeds["x"] * 2}

    scalars = TensorsTask().golden_runs(run, {"x": np.array([4.0, 5.0])})
    assert all(isinstance(one["x"], np.ndarray) and one["x"].shape == () for one in seen) and scalars[1]["y"] == 10
    seen.clear()
    found = TensorsTask().golden_runs(run, {"x": np.arange(6.0).reshape(2, 3)})
    assert [one["x"].tolist() for one in seen] == [[0, 1, 2], [3, 4, 5]]
    assert found[1]["y"].tolist() == [6, 8, 10]


def test_a_name_that_no_file_could_have_is_in_a_golden_file_all_the_same(tmp_path: Path):
    arrays = {"in:0": np.ones((2, 3), np.float32)}, {"/model/out": np.zeros((2, 1), np.float32)}
    (tmp_path / "golden.npz").write_bytes(golden_bytes(*arrays))
    read = read_golden(tmp_path / "golden.npz", ["in:0"], ["/model/out"])
    assert list(read.inputs) == ["in:0"] and read.outputs["/model/out"].shape == (2, 1)
    called = member_names(["logits", "/model/out", "X", "x"])
    assert called["logits"] == "logits" and "/" not in called["/model/out"]
    assert len({name.lower() for name in called.values()}) == 4  # two that a file system may take for one


def test_files_of_inputs(tmp_path: Path):
    np.savez(tmp_path / "a.npz", ids=np.arange(3), mask=np.ones(3))
    assert set(read_arrays(str(tmp_path / "a.npz"), bundle("ids", "mask"))) == {"ids", "mask"}
    np.save(tmp_path / "b.npy", np.arange(4))
    assert read_arrays(str(tmp_path / "b.npy"), bundle("x"))["x"].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.npz", None, "nothing at that path"),
        ("a.txt", b"1 2 3", "ends in .txt"),
        ("a.npz", b"PK\x03\x04 cut", "cannot read arrays"),
        ("a.npy", b"", "cannot read arrays"),
    ],
)
def test_what_holds_no_arrays_is_told(tmp_path: Path, name: str, content: bytes | None, says: str):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserMistake, match="takes arrays|cannot read arrays") as caught:
        read_arrays(str(tmp_path / name), bundle("ids", "mask"))
    assert says in str(caught.value) and "ids, mask" in str(caught.value)


def test_one_array_for_two_inputs_is_told(tmp_path: Path):
    np.save(tmp_path / "b.npy", np.arange(4))
    with pytest.raises(UserMistake, match="cannot read arrays") as caught:
        read_arrays(str(tmp_path / "b.npy"), bundle("ids", "mask"))
    assert "one array for 2 inputs" in str(caught.value)


def test_objects_are_not_unpickled(tmp_path: Path):
    np.savez(tmp_path / "a.npz", ids=np.array([{}], object))
    with pytest.raises(UserMistake, match="cannot read arrays"):
        read_arrays(str(tmp_path / "a.npz"), bundle("ids"))
