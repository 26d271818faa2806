"""Quantised files with odd numbers in them: what can be measured is, and nothing breaks or warns."""

from __future__ import annotations

import math

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper, numpy_helper
from quantised_graphs import FLOAT, IMAGES, OPERATORS, QDQ, network

from edgesmith.calibration.judge.accuracy import sqnr_db
from edgesmith.calibration.judge.evaluation import any_batch
from edgesmith.calibration.report.file_figures import measure_places
from edgesmith.calibration.report.quantised_file import LARGEST_K, read_places
from edgesmith.runtime.errors import UserMistake


def with_weight(body: str, **arrays: object) -> onnx.ModelProto:
    """The network with some of its constants replaced."""
    model = network(body)
    for tensor in model.graph.initializer:
        if tensor.name in arrays:
            tensor.CopyFrom(numpy_helper.from_array(np.asarray(arrays[tensor.name]), tensor.name))
    return model


def measured(proto: onnx.ModelProto) -> dict[str, dict]:
    model, places = read_places(ir.from_proto(proto))
    rows = measure_places(model, places, IMAGES, ir.from_proto(network(FLOAT)))
    return {row["node"]: row for row in rows}


@pytest.mark.parametrize(("body", "name"), [(QDQ, "w1_scale"), (QDQ, "s1"), (OPERATORS, "w1_scale")])
def test_an_empty_scale_is_no_scale(body: str, name: str):
    model, places = read_places(ir.from_proto(with_weight(body, **{name: np.zeros(0, np.float32)})))
    rows = measure_places(model, places)
    assert len(rows) == len(places) > 0
    first = places[0].weight if name == "w1_scale" else places[0].activations[0]
    assert first is not None and first.scale is None


@pytest.mark.parametrize("number", [np.nan, np.inf, 3e38])
def test_values_that_are_not_finite_have_no_statistics(number: float):
    rows = measured(with_weight(QDQ, s1=np.float32(number)))
    assert set(rows) == {"/up", "/logits"} and rows["/logits"]["reasons"] == []


def test_a_scale_of_texts_is_no_scale():
    _, places = read_places(ir.from_proto(with_weight(QDQ, s1=np.array("one"), w1_scale=np.array(["a"] * 16))))
    assert places[0].activations[0].scale is None and places[0].weight is not None and places[0].weight.scale is None


def test_weights_beyond_float32_are_not_those_of_the_reference():
    row = measured(with_weight(QDQ, w2_scale=np.full(4, 3e38, np.float32)))["/logits"]
    assert "not that of the reference" in row["why"] and "weight_sqnr_db" not in row


def test_nodes_of_one_name_have_places_of_their_own():
    proto = network(QDQ)
    for node in proto.graph.node:
        node.name = "same"
    _, places = read_places(ir.from_proto(proto))
    assert len({place.node for place in places}) == len(places) == 2


def test_a_rounding_of_another_domain_is_none():
    proto = network(QDQ)
    for node in proto.graph.node:
        node.domain = "theirs"
    assert read_places(ir.from_proto(proto))[1] == ()


def test_blocks_too_wide_to_be_multiplied_out_are_not_compared():
    wide = LARGEST_K + 32
    node = helper.make_node(
        "MatMulNBits", ["x", "c", "s"], ["y"], "/n", domain="com.microsoft", K=wide, N=1, block_size=32
    )
    value = helper.make_tensor_value_info
    graph = helper.make_graph([node], "g", [value("x", 1, [1, wide])], [value("y", 1, [1, 1])], [
        numpy_helper.from_array(np.zeros((1, wide // 32, 16), np.uint8), "c"),
        numpy_helper.from_array(np.ones((1, wide // 32), np.float32), "s"),
    ])  # fmt: skip
    model, (place,) = read_places(ir.from_proto(helper.make_model(graph)))
    assert place.weight is not None and place.weight.after == "" and len(list(model.graph)) == 1


@pytest.mark.parametrize(
    ("signal", "noise", "expected"),
    [
        (1e-150, 1e150, -6000.0),
        (np.inf, 1.0, -math.inf),
        (1.0, np.nan, -math.inf),
        (1.0, 0.0, math.inf),
        (2.0, 2e-3, 60.0),
    ],
)
def test_any_two_numbers_have_a_distance(signal: float, noise: float, expected: float):
    assert sqnr_db(np.array([signal]), np.array([signal + noise])) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("answer = ReduceSum<keepdims = 0>(logits)", "shape \\(\\) to"),
        ("answer = Shape(logits)", "shape \\(2,\\) to"),
        ("answer = SequenceConstruct(logits)", "answer: list"),
        ("answer = Cast<to = 8>(logits)", "answer: object"),
    ],
)
def test_an_answer_that_is_not_one_for_each_picture_is_refused(more: str, words: str):
    proto = network(FLOAT.replace("}", f"  {more} }}"))
    proto.graph.output[0].CopyFrom(onnx.ValueInfoProto(name="answer"))
    with pytest.raises(UserMistake, match=words):
        any_batch(ir.from_proto(proto))(IMAGES)
