"""Weights in a file beside the graph: those of its own folder are read, and what is missing is told with its bytes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from command_line import edgesmith
from foreign_graphs import beside, picture_file
from onnx.reference import ReferenceEvaluator
from quantised_graphs import FLOAT, IMAGES, QDQ, network

from edgesmith.exporter.commands.inspect.compare import compare
from edgesmith.exporter.run.foreign.read import read_foreign_graph
from edgesmith.graph.run import run_values
from edgesmith.runtime.errors import UserMistake

IMAGE = np.random.default_rng(0).standard_normal((1, 3, 8, 8), dtype=np.float32)


def doubled(path: Path) -> Path:
    """The file with its filters times two."""
    model = onnx.load(path)
    (filters,) = model.graph.initializer
    filters.CopyFrom(onnx.numpy_helper.from_array(2 * onnx.numpy_helper.to_array(filters), "filters"))
    onnx.save(model, path.with_name("doubled.onnx"))
    return path.with_name("doubled.onnx")


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Two files of one name in two folders, each with a ``model.onnx.data`` of its own; a third one is where we stand."""
    plain = picture_file(tmp_path / "plain.onnx", batch=1)
    first = beside(plain, tmp_path / "one" / "model.onnx")
    second = beside(doubled(plain), tmp_path / "two" / "model.onnx")
    wrong = beside(plain, tmp_path / "here" / "model.onnx").with_name("model.onnx.data")
    wrong.write_bytes(np.full(wrong.stat().st_size // 4, 7, np.float32).tobytes())
    monkeypatch.chdir(wrong.parent)
    return first, second


def test_each_graph_has_the_weights_of_its_own_folder(folders: tuple[Path, Path]):
    one, two = (run_values(read_foreign_graph(path), {"images": IMAGE}, None)["logits"] for path in folders)
    plain = onnx.load(folders[0].parents[1] / "plain.onnx")
    expected = ReferenceEvaluator(plain).run(None, {"images": IMAGE})[0]
    np.testing.assert_allclose(one, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(two, 2 * expected, rtol=1e-4, atol=1e-5)


def test_compare_finds_the_node_between_two_of_them(folders: tuple[Path, Path]):
    found = compare(*map(str, folders))
    assert not found["agree"] and found["first_difference"].startswith("Conv made"), found["first_difference"]
    assert compare(str(folders[0]), str(folders[0].parents[1] / "plain.onnx"))["agree"]


def test_quant_report_reads_it_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name, body in (("float", FLOAT), ("qdq", QDQ)):
        onnx.save(network(body), tmp_path / f"{name}.onnx")
    path = beside(tmp_path / "qdq.onnx", tmp_path / "two" / "model.onnx")
    reference = beside(tmp_path / "float.onnx", tmp_path / "one" / "model.onnx")
    np.savez(tmp_path / "images.npz", images=IMAGES)
    monkeypatch.chdir(tmp_path)
    words = ("--ref", str(reference), "--data", "images.npz", "--json")
    inline = edgesmith("quant-report", "qdq.onnx", *words)
    answer = edgesmith("quant-report", str(path), *words)
    assert answer.code == 0, answer.err
    told, plain = (json.loads(one.out)["quantisation"] for one in (answer, inline))
    assert told["accuracy"] == plain["accuracy"] and told["nodes"] == plain["nodes"]
    data = path.with_name("model.onnx.data").stat().st_size
    assert told["sizes"]["quantised"] == path.stat().st_size + data


def damaged(path: Path, way: str) -> Path:
    data = path.with_name("model.onnx.data")
    if way == "cut":
        data.write_bytes(data.read_bytes()[:100])
    elif way == "gone":
        data.unlink()
    else:
        model = onnx.load(path, load_external_data=False)
        next(one for one in model.graph.initializer[0].external_data if one.key == "location").value = way
        path.write_bytes(model.SerializeToString())
    return path


WAYS = {
    "cut": "model.onnx.data: it has 100 bytes, 432 are expected: it is cut off",
    "gone": "model.onnx.data: there is no such file, 432 bytes are expected",
    "../plain.onnx": "../plain.onnx: it lies outside the folder of the file",
    "/etc/hostname": "/etc/hostname: it lies outside the folder of the file",
}


@pytest.mark.parametrize("way", WAYS)
def test_inspect_says_which_file_is_wrong_and_shows_the_rest(folders: tuple[Path, Path], way: str):
    answer = edgesmith("inspect", str(damaged(folders[0], way)))
    assert answer.code == 0, answer.err
    assert WAYS[way].replace(": it", ": WRONG: it", 1).replace(": there", ": WRONG: there") in answer.out
    assert "1 Conv" in answer.out


@pytest.mark.parametrize("way", WAYS)
def test_commands_that_run_it_refuse(folders: tuple[Path, Path], way: str):
    with pytest.raises(UserMistake, match="weights of model.onnx are not beside it") as caught:
        compare(str(damaged(folders[0], way)), str(folders[1]))
    assert WAYS[way] in str(caught.value)


def test_inspect_lists_whole_files(folders: tuple[Path, Path]):
    answer = edgesmith("inspect", str(folders[0]))
    assert "beside  model.onnx.data: 432 bytes" in answer.out and "WRONG" not in answer.out


def test_an_onnxruntime_that_cannot_be_told_the_folder_gets_the_weights_themselves(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
):
    expected = run_values(read_foreign_graph(folders[1]), {"images": IMAGE}, None)["logits"]
    monkeypatch.setattr("edgesmith.graph.run.TAKES_FOLDER", (99, 0))
    found = run_values(read_foreign_graph(folders[1]), {"images": IMAGE}, None)["logits"]
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(("length", "words"), [("4", "is said to lie in 4 bytes, not 432"), (None, "432 are expected")])
def test_a_tensor_that_says_another_length_or_none_is_held_to_its_shape(
    folders: tuple[Path, Path], length: str | None, words: str
):
    path = damaged(folders[0], "cut")
    model = onnx.load(path, load_external_data=False)
    kept = [one for one in model.graph.initializer[0].external_data if one.key != "length"]
    del model.graph.initializer[0].external_data[:]
    model.graph.initializer[0].external_data.extend(kept)
    if length:
        model.graph.initializer[0].external_data.add(key="length", value=length)
    path.write_bytes(model.SerializeToString())
    with pytest.raises(UserMistake, match=words):
        read_foreign_graph(path)
