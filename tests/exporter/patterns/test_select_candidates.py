"""The best cells chosen before decoding: one level of 40 x 40 cells, four sides of three bins, five classes."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from graph_asserts import assert_told, op_types

from edgesmith.exporter.patterns.boxes import select_candidates as module
from edgesmith.exporter.patterns.boxes.box_distances import DistancesByReduction, DistancesOnMaps
from edgesmith.exporter.patterns.boxes.merge_levels import MergeLevels
from edgesmith.exporter.patterns.boxes.select_candidates import SelectCandidates, select_candidates
from edgesmith.exporter.precision.casts import to_precision
from edgesmith.runtime.tasks.detection.detection import DetectionRule, keep

HEAD = """
<ir_version: 10, opset_import: ["" : 20]>
head (float[BATCH, 12, CELLS] fine, float[BATCH, 12, 80] coarse, float[BATCH, 5, CELLS] near, float[BATCH, 5, 80] far)
  => (float[BATCH, ALL, 4] boxes, float[BATCH, ALL, 5] scores)
<int64[4] bins = {0, -1, 4, 3}, float[3] cells = {0, 1, 2}>
{
  a = Transpose<perm = [0, 2, 1]>(fine)
  b = Transpose<perm = [0, 2, 1]>(coarse)
  ab = Concat<axis = 1>(a, b)
  s = Reshape(ab, bins)
  p = Softmax<axis = -1>(s)
  d = MatMul(p, cells)
  m = Mul(d, reach)
  boxes = Add(points, m)
  n = Transpose<perm = [0, 2, 1]>(near)
  f = Transpose<perm = [0, 2, 1]>(far)
  logits = Concat<axis = 1>(n, f)
  scores = Sigmoid(logits)
}
"""
RULE = DetectionRule("runtime", score=0.05, iou=0.7, max_detections=500)
FORMS = [[], [DistancesByReduction], [MergeLevels, DistancesByReduction], [DistancesOnMaps]]


def head(batch="2", cells=1600, passes=()):
    total = cells + 80
    proto = onnx.parser.parse_model(
        HEAD.replace("BATCH", batch).replace("CELLS", str(cells)).replace("ALL", str(total))
    )
    rng = np.random.default_rng(1)
    corners = rng.integers(0, 60, (total, 2)).astype(np.float32) * 8
    for name, array in (
        ("points", np.concatenate([corners, corners], axis=1)),
        ("reach", np.tile(np.float32([-16, -16, 16, 16]), (total, 1))),
    ):
        proto.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    model = ir.from_proto(onnx.shape_inference.infer_shapes(proto))
    for step in passes:
        assert step().run(model).count
    return model


def feeds(batch=2, cells=1600, shift=-5.0):
    rng = np.random.default_rng(0)
    shapes = {"fine": (12, cells), "coarse": (12, 80), "near": (5, cells), "far": (5, 80)}
    given = {name: rng.standard_normal((batch, *shape)).astype(np.float32) for name, shape in shapes.items()}
    return {**given, **{name: given[name] * 1.2 + np.float32(shift) for name in ("near", "far")}}


def run(model, given):
    import onnxruntime

    proto = ir.to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    opened = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.concatenate(opened.run(["boxes", "scores"], given), axis=-1)


def same(one, other):
    """Detections are the same up to the last bit of a sum of three."""
    np.testing.assert_array_equal(one.classes, other.classes)
    np.testing.assert_allclose(one.scores, other.scores, rtol=1e-6)
    np.testing.assert_allclose(one.boxes, other.boxes, atol=1e-4)


@pytest.mark.parametrize("batch", ["2", "batch"])
@pytest.mark.parametrize("passes", FORMS, ids=["exported", "sum", "one transpose", "maps"])
def test_the_detections_are_those_of_all_cells(batch, passes):
    model, given = head(batch, passes=passes), feeds()
    before = run(model, given)
    assert 100 < (before[..., 4:].max(axis=-1) > RULE.score).sum(axis=1).max() <= module.CANDIDATES
    assert SelectCandidates().run(model).count == 1
    assert_told(model)
    after = run(model, given)
    assert after.shape == (2, 1000, 9) and op_types(model).count("TopK") == 1
    assert op_types(model).count("Softmax") == 1 and op_types(model).count("Sigmoid") == 1
    best = after[..., 4:].max(axis=-1)
    assert (np.diff(best, axis=1) <= 1e-7).all(), "the best cell comes first"
    for old, new in zip(before, after, strict=True):
        assert len(keep(old, RULE).scores) > 50
        same(keep(old, RULE), keep(new, RULE))
    assert SelectCandidates().run(model).count == 0


def test_more_cells_than_are_chosen_lose_weak_detections_only(monkeypatch):
    """Above the best score of the last cell taken nothing changes: suppression asks only better boxes."""
    monkeypatch.setattr(module, "CANDIDATES", 60)
    rule = DetectionRule("runtime", score=0.05, iou=0.7, max_detections=5000)
    model, given = head(), feeds()
    before = run(model, given)
    assert SelectCandidates().run(model).count == 1
    assert_told(model)
    after = run(model, given)
    for old, new in zip(before, after, strict=True):
        last = new[:, 4:].max(axis=-1).min()
        assert (old[:, 4:].max(axis=-1) > rule.score).sum() > 60
        strict = DetectionRule("runtime", score=float(last), iou=rule.iou, max_detections=5000)
        assert len(keep(new, strict).scores) > 30
        same(keep(old, strict), keep(new, strict))
        assert len(keep(new, rule).scores) < len(keep(old, rule).scores)  # and these are lost


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_candidates_are_selected_in_a_typed_graph_too(precision):
    from edgesmith.exporter.precision.emulate import emulate

    typed = to_precision(head(passes=[MergeLevels, DistancesByReduction]), precision).model
    before = run(emulate(typed, precision), feeds())
    assert SelectCandidates().run(typed).count == 1
    assert_told(typed)
    onnx.checker.check_model(ir.to_proto(typed), full_check=True)
    after = run(emulate(typed, precision), feeds())
    # 16-bit logits tie, and TopK and keep() may then name another first: compare them as sets
    for old, new in zip(before, after, strict=True):
        rows = {tuple(row) for row in np.round(keep(old, RULE).boxes, 2).tolist()}
        found = {tuple(row) for row in np.round(keep(new, RULE).boxes, 2).tolist()}
        assert len(rows ^ found) <= 0.02 * len(rows)


def test_open_sizes_take_no_more_than_there_are():
    """N is known at run time only: 480 cells are fewer than 1000."""
    model = head()
    given = feeds(cells=400)
    for value in model.graph.inputs:
        if value.shape[2] == 1600:
            value.shape = ir.Shape([2, value.shape[1], "n"])
    for value in (*model.graph.outputs, *(made for node in model.graph for made in node.outputs)):
        if value.shape is not None:
            value.shape = ir.Shape(["n" if size in (1600, 1680) else size for size in value.shape])
    for name in ("points", "reach"):
        array = model.graph.initializers[name].const_value.numpy()[:480]
        model.graph.initializers[name].const_value = ir.tensor(array, name=name)
        model.graph.initializers[name].shape = ir.Shape(array.shape)
    before = run(model, given)
    assert SelectCandidates().run(model).count == 1
    assert_told(model)
    after = run(model, given)
    assert after.shape == before.shape == (2, 480, 9)
    for old, new in zip(before, after, strict=True):
        same(keep(old, RULE), keep(new, RULE))


def test_in_the_opset_of_tensorrt_8():
    model, given = head(), feeds()
    model.graph.opset_imports[""] = 16
    before = run(model, given)
    assert SelectCandidates().run(model).count == 1
    assert_told(model)
    for old, new in zip(before, run(model, given), strict=True):
        same(keep(old, RULE), keep(new, RULE))


def refusal(model):
    before = op_types(model)
    record = SelectCandidates().run(model)
    assert record.count == 0 and op_types(model) == before
    return " ".join(refused.why for refused in record.refused)


def test_refuses_when_there_are_no_more_cells_than_candidates():
    assert "480 cells are no more than the 1000" in refusal(head(cells=400))


def test_refuses_logits_that_are_read_elsewhere():
    model = head()
    logits = next(node for node in model.graph if node.op_type == "Sigmoid").inputs[0]
    extra = ir.node("Relu", [logits])
    model.graph.append(extra)
    probe = ir.node("Identity", [extra.outputs[0]])
    model.graph.append(probe)
    assert "other uses" in refusal(model)


def test_a_classifier_stays_as_it_is_without_a_word():
    text = '<ir_version: 10, opset_import: ["" : 20]> g (float[2, 3] x) => (float[2, 3] y) { y = Sigmoid(x) }'
    assert refusal(ir.from_proto(onnx.parser.parse_model(text))) == ""


@pytest.mark.parametrize(
    ("nms", "engine", "chosen"),
    [
        ("runtime", "onnxruntime", True),
        ("runtime", "tensorrt_rtx", True),
        ("graph", "openvino", True),
        ("graph", "tensorrt", False),
        ("none", "onnxruntime", False),
    ],
)
def test_candidates_are_chosen_for_all_suppression_but_that_of_tensorrt(nms, engine, chosen):
    model = head()
    found = select_candidates(model, DetectionRule(nms, 0.05, 0.7), engine)
    assert ("TopK" in op_types(found)) is chosen and "TopK" not in op_types(model)
