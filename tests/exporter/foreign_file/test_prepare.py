"""What is done to a file before it is read: each step is held to the file's own answers, and one that changes them is left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx_files import classifier, two_inputs

from edgesmith.exporter.run.feeds import apart, seeded_feeds
from edgesmith.exporter.trace.file import prepare
from edgesmith.runtime.errors import UserMistake

INPUTS = [["pixels", "float32", [2, 3, 16, 16]]]
LARGEST = [["pixels", "float32", [8, 3, 16, 16]]]


@pytest.fixture(autouse=True)
def _in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare, "limit_memory", lambda more: None)


def prepared(path: Path, opset: int = 0) -> tuple[onnx.ModelProto, dict[str, Any]]:
    shapes = {"pixels": ["batch", 3, 16, 16]}
    out = path.with_name("out.onnx")
    told = prepare.prepare(
        {
            "path": str(path),
            "memory": 0,
            "inputs": INPUTS,
            "largest": LARGEST,
            "shapes": shapes,
            "opset": opset,
            "out": str(out),
        }
    )
    return onnx.load(out), told


def wrong(model: onnx.ModelProto) -> onnx.ModelProto:
    """A simplifier that loses the last offsets."""
    other = onnx.ModelProto()
    other.CopyFrom(model)
    offsets = next(one for one in other.graph.initializer if one.name == "offsets")
    offsets.CopyFrom(onnx.numpy_helper.from_array(np.zeros(5, np.float32), "offsets"))
    return other


def test_shapes_are_known_and_the_norm_is_gone(tmp_path: Path):
    model, told = prepared(classifier(tmp_path / "net.onnx"))
    assert "BatchNormalization" not in {node.op_type for node in model.graph.node}
    assert {node.output[0] for node in model.graph.node} <= {
        one.name for one in (*model.graph.value_info, *model.graph.output)
    }
    assert told["outputs"] == [["scores", "float32", [2, 5]]]


def test_a_simplifier_that_changes_the_numbers_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(prepare, "_slim", wrong)
    path = classifier(tmp_path / "net.onnx")
    model, told = prepared(path)
    assert any("onnxslim changes the numbers" in note for note in told["notes"])
    assert "BatchNormalization" in {node.op_type for node in model.graph.node}
    feeds = seeded_feeds([("pixels", "float32", (2, 3, 16, 16))])
    assert apart(prepare._run(path, feeds), prepare._run(model, feeds)) == 0.0


def test_a_simplifier_that_is_right_for_the_usual_size_only_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def two_only(model: onnx.ModelProto) -> onnx.ModelProto:
        node = next(node for node in model.graph.node if node.op_type == "Flatten")
        model.graph.initializer.append(onnx.helper.make_tensor("two", onnx.TensorProto.INT64, [2], [2, 8]))
        node.CopyFrom(onnx.helper.make_node("Reshape", [node.input[0], "two"], list(node.output)))
        return model

    monkeypatch.setattr(prepare, "_slim", lambda model: two_only(onnx.ModelProto.FromString(model.SerializeToString())))
    model, told = prepared(classifier(tmp_path / "net.onnx"))
    assert any("onnxslim stops at this file" in note for note in told["notes"])
    assert "Reshape" not in {node.op_type for node in model.graph.node}


def test_a_converter_that_changes_the_numbers_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(prepare, "_convert", lambda model, have, opset: wrong(model))
    with pytest.raises(UserMistake, match="cannot be written in another opset"):
        prepared(classifier(tmp_path / "net.onnx", opset=11), opset=13)


def test_a_file_that_is_new_enough_keeps_its_opset(tmp_path: Path):
    model, told = prepared(classifier(tmp_path / "net.onnx", opset=17), opset=13)
    assert model.opset_import[0].version == 17 and not any("raised" in note for note in told["notes"])


def test_numbers_for_any_type_are_the_same_for_the_same_seed(tmp_path: Path):
    bounds = [
        ("a", "float16", (2,)),
        ("b", "int64", (50,)),
        ("c", "bool", (3,)),
        ("d", "uint8", (50,)),
        ("e", "float64", ()),
    ]
    one, two = seeded_feeds(bounds), seeded_feeds(bounds)
    assert all(one[name].dtype == dtype and one[name].shape == tuple(shape) for name, dtype, shape in bounds)
    assert apart(one, two) == 0.0 and set(one["b"]) == {0, 1} and one["c"].all() and one["d"].max() > 1


@pytest.mark.parametrize(
    "other",
    [{}, {"y": np.zeros(3, np.float32)}, {"y": np.array([np.nan, 1], np.float32)}],
    ids=["missing", "another shape", "NaN"],
)
def test_what_cannot_be_compared_is_infinitely_far_apart(other: dict[str, np.ndarray]):
    assert apart({"y": np.ones(2, np.float32)}, other) == float("inf")


def test_two_inputs_keep_their_order(tmp_path: Path):
    path = two_inputs(tmp_path / "two.onnx")
    asked = {"path": str(path), "memory": 0, "opset": 0, "out": str(tmp_path / "out.onnx"),
             "inputs": [["ids", "int64", [1, 4]], ["weights", "float32", [1, 4]]], "largest": [],
             "shapes": {"ids": ["n", 4], "weights": ["n", 4]}}  # fmt: skip
    prepare.prepare(asked)
    assert [one.name for one in onnx.load(tmp_path / "out.onnx").graph.input] == ["ids", "weights"]
