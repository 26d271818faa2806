"""The first node where two graphs part, in graphs of several outputs, whole numbers and detections that vary in number."""

import numpy as np
import onnx_ir as ir
import pytest

from edgesmith.exporter.bundle.jump import first_jump

DETECTOR = """
<ir_version: 10, opset_import: ["" : 18]>
detector (float[1, 4, 8] x) => (float[1, 4, 4] boxes, float[1, 4, 4] scores, int64[1, 4] classes)
<int64[2] parts = {4, 4}, float reach = {REACH}, float gain = {GAIN}, int64 shift = {SHIFT}>
{
  sides, logits = Split<axis = 2>(x, parts)
  boxes = Mul(sides, reach)
  scaled = Mul(logits, gain)
  scores = Sigmoid(scaled)
  best = ArgMax<axis = 2, keepdims = 0>(scores)
  classes = Add(best, shift)
}
"""


def graph(reach=1.0, gain=1.0, shift=0):
    return ir.from_onnx_text(
        DETECTOR.replace("REACH", str(reach)).replace("GAIN", str(gain)).replace("SHIFT", str(shift))
    )


def numbers():
    return np.random.default_rng(0).standard_normal((1, 4, 8), dtype=np.float32)


@pytest.mark.parametrize(
    ("change", "value"), [({"reach": 1.01}, "boxes"), ({"gain": 1.01}, "scaled"), ({"shift": 1}, "classes")]
)
def test_the_node_is_found_in_every_output(change, value):
    jump = first_jump(graph(), graph(**change), numbers())
    assert jump is not None and jump.value == value and jump.after > 1e-3


def test_equal_graphs_have_no_jump():
    jump = first_jump(graph(), graph(), numbers())
    assert jump is None or jump.after == 0


def test_whole_numbers_inside_the_graph_are_not_compared():
    """Ties may be sorted either way; only what is handed out counts."""
    inside = DETECTOR.replace(", int64[1, 4] classes", "").replace("  classes = Add(best, shift)\n", "")
    inside = inside.replace("GAIN", "1.0").replace("SHIFT", "0").replace("REACH", "1.0")
    jump = first_jump(ir.from_onnx_text(inside), ir.from_onnx_text(inside.replace("ArgMax", "ArgMin")), numbers())
    assert jump is None or jump.after == 0


NMS = """
<ir_version: 10, opset_import: ["" : 18]>
nms (float[1, 6, 4] boxes) => (float[N, 4] kept, int64[N, 3] places)
<float[1, 1, 6] scores = {SCORES}, int64 most = {10}, float iou = {0.5}, float least = {0.3}, int64[1] box = {2}, int64[1] axis = {1},
 int64[1] first = {0}>
{
  places = NonMaxSuppression(boxes, scores, most, iou, least)
  index = Gather<axis = 1>(places, box)
  flat = Squeeze(index, axis)
  only = Squeeze(boxes, first)
  kept = Gather<axis = 0>(only, flat)
}
"""


def test_another_number_of_detections_does_not_break_it():
    boxes = np.array([[[x, 0, x + 4, 4] for x in range(0, 60, 10)]], np.float32)
    left, right, none = (
        ir.from_onnx_text(NMS.replace("SCORES", scores))
        for scores in ("0.9, 0.8, 0.7, 0.6, 0.5, 0.4", "0.9, 0.8, 0.7, 0.6, 0.5, 0.1", "0.1, 0.1, 0.1, 0.1, 0.1, 0.1")
    )
    assert first_jump(left, right, boxes) is None or first_jump(left, right, boxes).after == 0
    assert first_jump(none, none, boxes) is None or first_jump(none, none, boxes).after == 0
