"""The decoding of boxes in 16-bit graphs: found by what it computes, kept in float32, measured in cells."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from graph_asserts import parse

from edgesmith.exporter.patterns.boxes.box_distances import DistancesByReduction, DistancesOnMaps
from edgesmith.exporter.precision.casts import to_precision
from edgesmith.exporter.precision.decoding import decode_tail, measured
from edgesmith.exporter.precision.islands import choose_islands, run_rounded
from edgesmith.runtime.tasks.detection.verdict import ROUNDED

HEAD = """
<ir_version: 10, opset_import: ["" : 20]>
head (float[BATCH, 12, 20, 20] sides, float[BATCH, 5, 20, 20] classes) => (float[BATCH, 400, 4] boxes, float[BATCH, 400, 5] scores)
<int64[3] flat = {0, 0, -1}, int64[4] bins = {0, -1, 4, 3}, float[3] cells = {0, 1, 2}, float gain = {2.0}>
{
  [grow] g = Mul(sides, gain)
  a = Reshape(g, flat)
  at = Transpose<perm = [0, 2, 1]>(a)
  s = Reshape(at, bins)
  [share] p = Softmax<axis = -1>(s)
  [mean] d = MatMul(p, cells)
  [reach] m = Mul(d, strides)
  [place] boxes = Add(points, m)
  c = Reshape(classes, flat)
  ct = Transpose<perm = [0, 2, 1]>(c)
  [score] scores = Sigmoid(ct)
}
"""


def head(batch="2", cells=32):
    """A head of one level with ``cells`` pixels a cell, so that the picture is 20 * cells wide."""
    y, x = np.mgrid[0:20, 0:20].reshape(2, -1) * np.float32(cells)
    points = np.stack([x, y, x, y], axis=-1).astype(np.float32) + np.float32(0.3)
    strides = np.tile(np.float32([-cells, -cells, cells, cells]), (400, 1))
    proto = onnx.parser.parse_model(HEAD.replace("BATCH", batch))
    for name, array in (("points", points), ("strides", strides)):
        proto.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    return ir.from_proto(onnx.shape_inference.infer_shapes(proto))


def feeds(batch=2):
    rng = np.random.default_rng(0)
    kinds = {"sides": 12, "classes": 5}
    return {name: rng.standard_normal((batch, count, 20, 20), np.float32) for name, count in kinds.items()}


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
@pytest.mark.parametrize("step", [None, DistancesByReduction, DistancesOnMaps])
def test_boxes_and_scores_have_the_steps_of_float32(precision, step):
    model = head()
    if step is not None:
        assert step().run(model).count == 1
    typed = to_precision(model, precision)
    onnx.checker.check_model(ir.to_proto(typed.model), full_check=True)
    islands = {row["node"]: row["why"] for row in typed.islands}
    assert all("decoding of boxes" in why for why in islands.values()) and {"reach", "place", "score"} <= set(islands)
    assert "grow" not in islands  # what the network says keeps its 16 bits
    truth, found = (run_rounded(graph, feeds(), None) for graph in (model, typed.model))
    # what is left is the rounding of the logits: 2 in fp16 has steps of 0.002, in bf16 of 0.016; a cell has 32 pixels
    limit = {"fp16": 0.06, "bf16": 0.5}[precision]
    assert np.abs(truth["boxes"] - found["boxes"]).max() < limit
    # the points are 0.3 past whole numbers: 640.3 would become 640.5 in fp16 and 640 in bf16
    assert found["boxes"].dtype == np.float32 and truth["boxes"].max() > 600


def test_without_the_island_coordinates_are_half_pixels(monkeypatch):
    """The test above can fail: this is what it would see."""
    from edgesmith.exporter.precision import casts as precision

    monkeypatch.setattr(precision, "decode_tail", lambda graph: set())
    truth, found = (run_rounded(graph, feeds(), None) for graph in (head(), to_precision(head(), "fp16").model))
    assert np.abs(truth["boxes"] - found["boxes"]).max() > 0.2


def test_points_of_open_sizes_are_computed_in_float32():
    """Range gives 0, 1, ... cells; from 256 on bf16 would skip every second one."""
    text = """
<ir_version: 10, opset_import: ["" : 20]>
head (float[1, N, 12] sides, float[1, N, 5] classes) => (float[1, N, 4] boxes, float[1, N, 5] scores)
<int64[4] bins = {0, -1, 4, 3}, float[3] cells = {0, 1, 2}, int64 one = {1}, int64 none = {0}, int64[1] last = {1}, float eight = {8}>
{
  shape = Shape<start = 1, end = 2>(sides)
  count = Squeeze(shape)
  [range] n = Range(none, count, one)
  f = Cast<to = 1>(n)
  [pixels] x = Mul(f, eight)
  [column] points = Unsqueeze(x, last)
  s = Reshape(sides, bins)
  p = Softmax<axis = -1>(s)
  d = MatMul(p, cells)
  boxes = Add(points, d)
  scores = Sigmoid(classes)
}
"""
    model = parse(text)
    typed = to_precision(model, "bf16")
    assert {"pixels", "column"} <= {row["node"] for row in typed.islands}
    given = {"sides": np.zeros((1, 600, 12), np.float32), "classes": np.zeros((1, 600, 5), np.float32)}
    assert np.array_equal(run_rounded(typed.model, given, None)["boxes"][0, :, 0], np.arange(600) * 8 + 1)


def test_a_classifier_has_no_decoding():
    text = """
<ir_version: 10, opset_import: ["" : 20]>
g (float[2, 3, 4] x, float[4, 4] w) => (float[2, 3, 4] y, float[2, 3, 4] z)
{ p = Softmax(x) q = MatMul(p, w) y = Sigmoid(q) z = Relu(q) }
"""
    model = parse(text)
    assert decode_tail(model.graph) == set() and measured(model.graph) == ["y", "z"]


def test_an_expectation_inside_a_network_is_no_decoding():
    """Soft-argmax and then more layers: the network goes on in 16 bits."""
    text = """
<ir_version: 10, opset_import: ["" : 20]>
g (float[2, 3, 4] x) => (float[2, 3, 2] y)
<float[4] steps = {0, 1, 2, 3}, int64[1] last = {2}>
{ p = Softmax(x) d = MatMul(p, steps) u = Unsqueeze(d, last) r = Relu(u) y = Concat<axis = 2>(r, u) }
"""
    assert decode_tail(parse(text).graph) == set()


def test_a_detector_is_compared_in_cells():
    """Sides that lose everything in 16 bits: beside points of 600 pixels the boxes would still agree to 0.9999."""
    model = head()
    assert measured(model.graph) == ["scores", "d"]
    far = head()
    grow = next(node for node in far.graph if node.name == "grow")
    shifted = ir.node("Add", [grow.inputs[0], far.graph.initializers["gain"]], name="shift")
    back = ir.node("Sub", [shifted.outputs[0], far.graph.initializers["gain"]], name="back")
    far.graph.initializers["gain"].const_value = ir.tensor(np.float32(32768.0), name="gain")
    far.graph.insert_before(grow, [shifted, back])
    grow.replace_input_with(0, back.outputs[0])
    grow.replace_input_with(1, _two(far))
    found = choose_islands(far, feeds())
    assert found.limit == ROUNDED["fp16"]["cosine"]  # what parity asks of a detector
    assert found.cosine_before < found.limit <= found.cosine_after
    assert {"shift", "back"} & set(found.names)
    assert not {"share", "mean", "reach", "place", "score"} & set(found.names)  # float32 without being chosen


def _two(model):
    value = ir.Value(name="two", shape=ir.Shape([]), type=ir.TensorType(ir.DataType.FLOAT))
    value.const_value = ir.tensor(np.float32(2.0), name="two")
    model.graph.register_initializer(value)
    return value
