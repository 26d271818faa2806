"""The face of an ONNX file says what it is exported as; the rest of it is not looked at here."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper
from onnx_files import beside, classifier, two_inputs

from edgesmith.models.registry import find
from edgesmith.runtime.errors import UserMistake


def face(
    path: Path, inputs: list[tuple[str, int, list[int | str]]], outputs: list[tuple[str, int, list[int | str]]]
) -> str:
    """A file of an Identity with this face, whatever the sizes."""
    node = helper.make_node("Identity", [inputs[0][0]], [outputs[0][0]])
    sides = [[helper.make_tensor_value_info(*one) for one in side] for side in (inputs, outputs)]
    onnx.save(helper.make_model(helper.make_graph([node], "net", *sides)), path)
    return str(path)


def test_one_picture_in_and_one_row_out_is_a_classifier(tmp_path: Path):
    spec = find(str(classifier(tmp_path / "net.onnx")))
    assert (spec.task, spec.num_classes, spec.contract.size) == ("classification", 5, (16, 16))
    assert spec.fixed_size and not spec.dynamic_size and spec.convolutional
    assert spec.file is not None and spec.file.batch is None and spec.file.opset == 17
    assert spec.parameters == 216 + 8 + 5 * 8 + 576 - 8 + 40 + 5


def test_open_sides_are_224_until_somebody_says_otherwise(tmp_path: Path):
    path = face(tmp_path / "a.onnx", [("x", TensorProto.FLOAT, [1, 3, "h", "w"])], [("y", TensorProto.FLOAT, [1, 7])])
    spec = find(path)
    assert spec.contract.size == (224, 224) and spec.dynamic_size and spec.file is not None and spec.file.batch == 1


@pytest.mark.parametrize(
    ("inputs", "outputs"),
    [
        ([("x", TensorProto.FLOAT, ["n", 3, 8, 8])], [("y", TensorProto.FLOAT, ["n", 7, 8, 8])]),
        ([("x", TensorProto.FLOAT, ["n", 3, 8, 8])], [("y", TensorProto.FLOAT, ["n", "c"])]),
        ([("x", TensorProto.FLOAT, ["n", 3, 8, 8])], [("y", TensorProto.INT64, ["n", 7])]),
        ([("x", TensorProto.FLOAT, ["n", 8, 8])], [("y", TensorProto.FLOAT, ["n", 7])]),
        ([("x", TensorProto.INT64, ["n", 3, 8, 8])], [("y", TensorProto.FLOAT, ["n", 7])]),
    ],
    ids=["a map", "classes without a number", "whole numbers", "no picture", "picture of whole numbers"],
)
def test_everything_else_is_tensors(inputs: list, outputs: list, tmp_path: Path):
    assert find(face(tmp_path / "a.onnx", inputs, outputs)).task == "tensors"


def test_two_inputs_are_tensors_and_weights_beside_are_counted(tmp_path: Path):
    assert find(str(two_inputs(tmp_path / "two.onnx"))).task == "tensors"
    whole = classifier(tmp_path / "net.onnx")
    assert find(str(beside(whole, tmp_path / "apart.onnx"))).parameters == find(str(whole)).parameters


def test_arguments_of_a_builder_are_refused(tmp_path: Path):
    with pytest.raises(UserMistake, match="takes no arguments"):
        find(str(classifier(tmp_path / "net.onnx")), {"width": 3})
