"""Suppression inside the graph is the suppression of the runtime, bit by bit; TensorRT's plugin is checked as text."""

from __future__ import annotations

import damo_yolo_reference as reference
import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openvino_here import openvino_or_skip

from edgesmith.exporter.run.nouns import Shapes
from edgesmith.exporter.tasks.detection.efficient_nms import DOMAIN
from edgesmith.exporter.tasks.detection.nms_graph import append_nms
from edgesmith.exporter.trace.trace import trace
from edgesmith.runtime.errors import EdgesmithError, UserMistake
from edgesmith.runtime.tasks.detection.detection import DetectionRule, keep, kept_rows
from edgesmith.runtime.tasks.detection.task import NMS_OUTPUTS, DetectionTask
from edgesmith.runtime.tasks.known import joined

RULE = DetectionRule("graph", score=0.05, iou=0.7, max_detections=500)


def detector(batch="batch", cells="cells", classes=3, opset=20):
    """A graph that hands out what it is given."""
    make = onnx.helper.make_tensor_value_info
    shapes = {"boxes": [batch, cells, 4], "scores": [batch, cells, classes]}
    nodes = [onnx.helper.make_node("Identity", [f"given_{name}"], [name], name=name) for name in shapes]
    inputs, outputs = ([make(start + name, 1, shape) for name, shape in shapes.items()] for start in ("given_", ""))
    graph = onnx.helper.make_graph(nodes, "detector", inputs, outputs)
    return ir.from_proto(
        onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=10)
    )


def session(model):
    import onnxruntime

    proto = ir.to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    return onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])


def answers(opened, boxes, scores):
    names = [value.name for value in opened.get_outputs()]
    return dict(zip(names, opened.run(None, {"given_boxes": boxes, "given_scores": scores}), strict=True))


def check(results, boxes, scores, rule):
    """Every picture of the batch against the runtime."""
    assert {name: value.dtype for name, value in results.items()} == dict(
        zip(NMS_OUTPUTS, (np.int32, np.float32, np.float32, np.int32), strict=True)
    )
    rows = joined(results)
    for index, answer in enumerate(np.concatenate([boxes, scores], axis=-1)):
        expected, found = keep(answer, rule), kept_rows(rows[index], rule)
        for one, other in zip(expected, found, strict=True):
            np.testing.assert_array_equal(one, other)
        number = int(results["num_detections"][index, 0])
        assert number == len(expected.scores)
        assert all(not results[name][index, number:].any() for name in NMS_OUTPUTS[1:])


def crowd(seed, batch, cells, classes, levels=0):
    """Boxes that overlap, some turned inside out; ``levels`` makes many scores equal."""
    rng = np.random.default_rng(seed)
    centre, size = rng.uniform(0, 60, (batch, cells, 2)), rng.uniform(2, 40, (batch, cells, 2))
    boxes = np.concatenate([centre - size / 2, centre + size / 2], axis=-1).astype(np.float32)
    boxes[:, ::7] = boxes[:, ::7, [2, 1, 0, 3]]
    scores = rng.uniform(0, 0.4, (batch, cells, classes)).astype(np.float32)
    return boxes, np.round(scores * levels) / np.float32(levels) if levels else scores


OPEN = {}


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    batch=st.integers(1, 3),
    cells=st.integers(1, 80),
    levels=st.sampled_from([0, 8]),
    iou=st.sampled_from([0.3, 0.7]),
    limit=st.sampled_from([5, 300]),
)
def test_any_boxes_as_in_the_runtime(seed, batch, cells, levels, iou, limit):
    """Open batch and cells, fewer pairs than detections asked for, and equal scores included."""
    rule = DetectionRule("graph", 0.05, iou, limit)
    if rule not in OPEN:
        OPEN[rule] = session(append_nms(detector(), rule, "onnxruntime"))
    boxes, scores = crowd(seed, batch, cells, 3, levels)
    check(answers(OPEN[rule], boxes, scores), boxes, scores, rule)


@pytest.mark.parametrize("opset", [16, 18, 20, 23])
def test_every_opset_of_the_targets(opset):
    model = append_nms(detector(2, 40, 3, opset), RULE, "onnxruntime")
    assert model.graph.opset_imports[""] == opset
    boxes, scores = crowd(1, 2, 40, 3)
    check(answers(session(model), boxes, scores), boxes, scores, RULE)


def test_openvino_keeps_the_same_detections():
    boxes, scores = crowd(2, 2, 300, 3)
    core = openvino_or_skip().Core()
    model = core.read_model(ir.to_proto(append_nms(detector(2, 300), RULE, "openvino")).SerializeToString())
    results = core.compile_model(model, "CPU")({"given_boxes": boxes, "given_scores": scores})
    check({name: results[name] for name in NMS_OUTPUTS}, boxes, scores, RULE)


def ties(seed, cells, classes=2):
    """Boxes with whole corners, so that overlaps are ratios of small whole numbers: many are the threshold itself."""
    rng = np.random.default_rng(seed)
    low = rng.integers(0, 8, (1, cells, 2)) * 2
    boxes = np.concatenate([low, low + rng.integers(1, 7, (1, cells, 2)) * 2], axis=-1).astype(np.float32)
    return boxes, rng.uniform(0.1, 0.9, (1, cells, classes)).astype(np.float32)


THRESHOLDS = [0.0, 0.25, 1 / 3, 0.4, 0.5, 0.6, 2 / 3, 0.7, 0.75, 0.8, 1.0]


@pytest.mark.parametrize("iou", THRESHOLDS)
@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_an_overlap_at_the_threshold_is_kept_by_every_engine(engine, iou):
    """Two boxes whose overlap is the threshold, and 200 with many such pairs: the rule is "more than", in float32."""
    rule = DetectionRule("graph", 0.05, iou, 300)
    model = append_nms(detector(1, "cells", 2), rule, engine)
    if engine == "openvino":
        core = openvino_or_skip().Core()
        compiled = core.compile_model(core.read_model(ir.to_proto(model).SerializeToString()), "CPU")

        def run(boxes, scores):
            found = compiled({"given_boxes": boxes, "given_scores": scores})
            return {name: found[name] for name in NMS_OUTPUTS}
    else:
        opened = session(model)

        def run(boxes, scores):
            return answers(opened, boxes, scores)

    for seed in range(3):
        boxes, scores = ties(seed, 200)
        check(run(boxes, scores), boxes, scores, rule)


def test_a_pair_at_the_threshold_stays_on_openvino():
    """IoU 1/2 exactly: boxes of 2 and 1 units, one in the other; both stay at 0.5, one goes a step below."""
    boxes = np.float32([[[0, 0, 2, 1], [0, 0, 1, 1]]])
    scores = np.float32([[[0.9], [0.8]]])
    core = openvino_or_skip().Core()
    for iou, kept in ((0.5, 2), (np.nextafter(np.float32(0.5), np.float32(0)), 1)):
        model = append_nms(detector(1, 2, 1), DetectionRule("graph", 0.05, float(iou), 5), "openvino")
        compiled = core.compile_model(core.read_model(ir.to_proto(model).SerializeToString()), "CPU")
        found = compiled({"given_boxes": boxes, "given_scores": scores})
        assert found["num_detections"].item() == kept


def test_nothing_found_is_nothing():
    boxes, scores = crowd(3, 2, 30, 3)
    results = answers(session(append_nms(detector(), RULE, "onnxruntime")), boxes, scores * 0)
    assert results["num_detections"].tolist() == [[0], [0]] and not results["detection_scores"].any()


def test_the_cap_is_of_a_picture_and_not_of_a_class():
    """The authors' export keeps 100 boxes a class."""
    boxes = np.arange(40, dtype=np.float32)[None, :, None] * 100 + np.float32([0, 0, 10, 10])
    scores = np.full((1, 40, 3), 0.5, np.float32)
    results = answers(
        session(append_nms(detector(), DetectionRule("graph", 0.05, 0.7, 10), "onnxruntime")), boxes, scores
    )
    assert results["num_detections"].item() == 10 and results["detection_boxes"].shape == (1, 10, 4)


def test_corners_are_right_and_centre_and_size_would_be_wrong():
    """The authors' export reads corners as centre and size: [10, 20, 30, 60] becomes [-5, -10, 25, 50]."""
    boxes = np.float32([[[10, 20, 30, 60], [31, 20, 51, 60], [100, 100, 300, 300]]])
    scores = np.float32([[[0.9], [0.8], [0.7]]])
    rule = DetectionRule("graph", 0.05, 0.3, 5)
    ours = append_nms(detector(classes=1), rule, "onnxruntime")
    check(answers(session(ours), boxes, scores), boxes, scores, rule)
    assert answers(session(ours), boxes, scores)["num_detections"].item() == 3  # the first two do not touch
    suppress = next(node for node in ours.graph if node.op_type == "NonMaxSuppression")
    suppress.attributes["center_point_box"] = ir.AttrInt64("center_point_box", 1)
    theirs = answers(session(ours), boxes, scores)
    assert theirs["num_detections"].item() == 2  # 30 and 51 wide around 10 and 31, they overlap


@pytest.fixture(scope="module")
def traced():
    return trace(reference.model("nano_small"), Shapes.fixed(2, 3, 320, 416), outputs=DetectionTask.outputs)


def test_suppression_in_the_graph_keeps_what_the_authors_keep(traced):
    """The reference weights on the authors' pictures: as many detections as their suppression keeps, and the same."""
    rule = DetectionRule("graph", 0.03, 0.65, 500)
    facts = reference.facts("nano_small")["cases"]["b2_320x416"]
    images = {"images": reference.picture(**facts["input"])}
    boxes, scores = session(traced.model).run(None, images)
    inside = session(append_nms(traced.model, rule, "onnxruntime"))
    results = dict(zip([value.name for value in inside.get_outputs()], inside.run(None, images), strict=True))
    check(results, boxes, scores, rule)
    assert results["num_detections"].ravel().tolist() == [picture["count"] for picture in facts["nms"]]


def test_the_graph_given_is_not_touched(traced):
    before = ir.to_proto(traced.model).SerializeToString()
    append_nms(traced.model, RULE, "tensorrt")
    assert ir.to_proto(traced.model).SerializeToString() == before


def test_tensorrt_gets_its_plugin():
    model = append_nms(detector(), RULE, "tensorrt")
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto)
    node = proto.graph.node[-1]
    assert (node.op_type, list(node.input), list(node.output)) == (
        "EfficientNMS_TRT",
        ["boxes", "scores"],
        list(NMS_OUTPUTS),
    )
    assert node.domain == DOMAIN in {entry.domain for entry in proto.opset_import}
    attributes = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
    whole = {
        "max_output_boxes": 500,
        "background_class": -1,
        "score_activation": 0,
        "class_agnostic": 0,
        "box_coding": 0,
    }
    assert {name: attributes.pop(name) for name in whole} == whole
    assert attributes.pop("plugin_version") == b"1"
    assert attributes == {"score_threshold": pytest.approx(0.05), "iou_threshold": pytest.approx(0.7)}
    kinds = {each.name: each.type for each in node.attribute}
    assert {kinds[name] for name in whole} == {onnx.AttributeProto.INT}  # the authors' are lists of one
    shapes = [
        [size.dim_param or size.dim_value for size in value.type.tensor_type.shape.dim] for value in proto.graph.output
    ]
    assert shapes == [["batch", 1], ["batch", 500, 4], ["batch", 500], ["batch", 500]]


def test_tensorrt_rtx_is_refused_in_words():
    with pytest.raises(UserMistake, match="Suppression cannot be part of this engine") as refused:
        append_nms(detector(), RULE, "tensorrt_rtx")
    assert "no kernel" in refused.value.because and "--nms runtime" in refused.value.attempt


def test_a_graph_in_another_type_is_refused():
    model = detector()
    model.graph.outputs[0].type = ir.TensorType(ir.DataType.FLOAT16)
    with pytest.raises(EdgesmithError, match="cannot be put into this graph"):
        append_nms(model, RULE, "onnxruntime")
