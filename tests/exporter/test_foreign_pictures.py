"""Files that read pictures of other types, layouts and channels are compared and measured as any other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from foreign_graphs import picture_file
from onnx import numpy_helper

from edgesmith.exporter.commands.inspect.compare import compare
from edgesmith.exporter.commands.inspect.foreign.graphs import read_picture_graph
from edgesmith.exporter.commands.inspect.foreign.pictures import prepared, raw
from edgesmith.graph.run import run_values
from edgesmith.runtime.errors import UserMistake
from edgesmith.runtime.pictures.contract import ImageContract

KINDS = ["float16", "double", "uint8", "int8", "int32", "bfloat16"]
IMAGES = np.random.default_rng(0).integers(0, 256, (2, 3, 8, 8)).astype(np.float32)


def answers(path: Path, images: np.ndarray = IMAGES) -> np.ndarray:
    foreign = read_picture_graph(path)
    (name,) = (str(value.name) for value in foreign.model.graph.inputs)
    return run_values(foreign.model, {name: images}, None)["logits"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_arrives_in_the_declared_type(tmp_path: Path, kind: str):
    expected = answers(picture_file(tmp_path / "float.onnx"), IMAGES - (128 if kind == "int8" else 0))
    found = answers(picture_file(tmp_path / "other.onnx", kind))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3)  # 0 to 255 are exact in all of them


def test_channels_last_are_moved_there(tmp_path: Path):
    expected = answers(picture_file(tmp_path / "first.onnx"))
    np.testing.assert_array_equal(answers(picture_file(tmp_path / "last.onnx", last=True)), expected)


def test_one_channel_is_the_mean_of_the_three(tmp_path: Path):
    grey = np.repeat(IMAGES.mean(axis=1, keepdims=True), 3, axis=1)
    one = picture_file(tmp_path / "one.onnx", channels=1)
    three = picture_file(tmp_path / "three.onnx", channels=3)
    only = grey * np.array([1, 0, 0], np.float32).reshape(1, 3, 1, 1)
    np.testing.assert_allclose(answers(one), answers(three, only), rtol=1e-4, atol=1e-3)


def test_a_fourth_channel_is_the_mean_of_the_three(tmp_path: Path):
    found = read_picture_graph(picture_file(tmp_path / "four.onnx", channels=4))
    name = str(found.model.graph.inputs[0].name)
    inner = run_values(found.model, {name: IMAGES}, ["given"])["given"]
    np.testing.assert_allclose(inner[:, :3], IMAGES)
    np.testing.assert_allclose(inner[:, 3], IMAGES.mean(axis=1), rtol=1e-5)
    assert "fourth channel" in found.takes.told


def test_raw_pictures_prepared_are_those_of_the_contract():
    contract = ImageContract(size=(8, 8))
    assert raw(contract).scale == 1 and raw(contract).mean == (0, 0, 0)
    expected = (IMAGES / 255 - np.reshape(contract.mean, (1, 3, 1, 1))) / np.reshape(contract.std, (1, 3, 1, 1))
    np.testing.assert_allclose(prepared(IMAGES, contract), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["float16", "uint8"])
@pytest.mark.parametrize("last", [False, True])
def test_compare_gives_both_the_same_pictures(tmp_path: Path, kind: str, last: bool):
    one = picture_file(tmp_path / "a.onnx", kind, batch=1)
    two = picture_file(tmp_path / "b.onnx", kind, last, batch=1)
    found = compare(str(one), str(two))
    assert found["agree"], found["rows"]
    assert any("b.onnx gets its pictures as " + kind in note for note in found["notes"])


def test_a_file_of_bytes_beside_one_of_prepared_floats(tmp_path: Path):
    """The graph of bytes prepares its own, as ImageNet's mean and std would."""
    inside = "scaled = Div(given, c255)\n  moved = Sub(scaled, mean_)\n  first = Div(moved, std_)"
    path = picture_file(tmp_path / "bytes.onnx", "uint8", batch=1, inside=inside)
    model, contract = onnx.load(path), ImageContract(size=(8, 8))
    for name, values in (("c255", [255.0]), ("mean_", contract.mean), ("std_", contract.std)):
        array = np.asarray(values, np.float32).reshape(1, -1, 1, 1)
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    onnx.save(model, path)
    found = compare(str(picture_file(tmp_path / "float.onnx", batch=1)), str(path))
    assert found["agree"], found["rows"]


@pytest.mark.parametrize("kind", ["float16", "bfloat16", "int8"])
def test_the_node_that_differs_is_found_in_such_a_file(tmp_path: Path, kind: str):
    one = picture_file(tmp_path / "a.onnx", kind, batch=1)
    two = picture_file(tmp_path / "b.onnx", kind, batch=1, inside="first = Neg(given)")
    found = compare(str(one), str(two))
    assert not found["agree"] and "first" in found["first_difference"], found["first_difference"]


def test_an_input_that_is_no_picture_is_told_as_it_is(tmp_path: Path):
    with pytest.raises(UserMistake, match="does not take pictures") as caught:
        read_picture_graph(picture_file(tmp_path / "a.onnx", channels=2))
    assert "images float B x 2 x 8 x 8" in str(caught.value)


def test_types_of_a_bfloat16_graph_are_inferred_elsewhere_before_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Inference is native code, and the file may be anybody's."""
    from edgesmith.exporter.commands.inspect.foreign import graphs

    def refused(path: Path) -> None:
        raise UserMistake("It ended the other process", found=path.name)

    path = picture_file(tmp_path / "bf16.onnx", "bfloat16")
    monkeypatch.setattr(graphs, "try_graph", refused)
    with pytest.raises(UserMistake, match="ended the other process"):
        read_picture_graph(path)
    read_picture_graph(path, tried=True)
    read_picture_graph(picture_file(tmp_path / "float.onnx"))  # nothing is inferred
