"""Whole detectors with decoding inside: at other sizes than the traced one, and as TensorRT-RTX builds them."""

from __future__ import annotations

import damo_yolo_reference as reference
import numpy as np
import onnx_ir as ir
import pytest

from edgesmith.exporter.patterns.boxes.select_candidates import SelectCandidates
from edgesmith.exporter.patterns.rewrite import rewrite
from edgesmith.exporter.precision.casts import to_precision
from edgesmith.exporter.run.nouns import Shapes
from edgesmith.exporter.trace.trace import trace
from edgesmith.models.families.damo_yolo.network import LAYOUTS, DamoYolo, deployed
from edgesmith.runtime.tasks.detection.detection import DetectionRule, keep
from edgesmith.runtime.tasks.detection.task import DetectionTask
from edgesmith.runtime.tasks.known import joined

MINE = ("MergeLevels", "DistancesByReduction")
RULE = DetectionRule("runtime", score=0.03, iou=0.65, max_detections=500)


def run(model, images):
    import onnxruntime

    opened = onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString(), providers=["CPUExecutionProvider"])
    names = [value.name for value in opened.get_outputs()]
    return dict(zip(names, opened.run(None, {"images": images}), strict=True))


def priors(model):
    """Float constants of the graph that are points or strides of cells: (N, 4)."""
    values = model.graph.initializers.values()
    return [value for value in values if value.shape is not None and len(value.shape) == 2 and value.shape[1] == 4]


@pytest.fixture(scope="module")
def open_sizes():
    module = reference.model("nano_small")
    shapes = Shapes((1, 3, 256, 256), (2, 3, 416, 416), (4, 3, 640, 640))
    return module, trace(module, shapes, outputs=DetectionTask.outputs)


@pytest.mark.parametrize("order", ["cpu", "rtx"])
@pytest.mark.parametrize("shape", [(1, 3, 256, 320), (3, 3, 320, 416)])
def test_open_sizes_have_their_own_priors(open_sizes, order, shape):
    import torch

    module, exported = open_sizes
    images = reference.picture(5, list(shape))
    with torch.inference_mode():
        expected = dict(
            zip(DetectionTask.outputs, (part.numpy() for part in module(torch.from_numpy(images))), strict=True)
        )
    model = rewrite(exported, order).model
    found = run(model, images)
    # boxes: a tenth of the authors' tolerance between two exact forms; a wrong prior is 8 pixels
    np.testing.assert_allclose(found["boxes"], expected["boxes"], atol=0.05)
    np.testing.assert_allclose(found["scores"], expected["scores"], atol=1e-4)
    assert SelectCandidates().run(model).count == 1
    for old, new in zip(joined(expected), joined(run(model, images)), strict=True):
        one, other = keep(old, RULE), keep(new, RULE)
        assert len(one.scores) > 10 and abs(len(one.scores) - len(other.scores)) <= 0.02 * len(one.scores)


@pytest.fixture(scope="module")
def fixed_size():
    return trace(reference.model("nano_small"), Shapes.fixed(1, 3, 256, 256), outputs=DetectionTask.outputs)


@pytest.mark.parametrize("order", ["cpu", "openvino", "rtx", "tensorrt"])
def test_a_fixed_size_has_constant_priors(fixed_size, order):
    model = rewrite(fixed_size, order).model
    assert [tuple(value.shape) for value in priors(model)] == [(1344, 4)] * 2
    assert {node.op_type for node in model.graph} & {"Range", "Expand", "Shape"} == set()


@pytest.mark.slow
@pytest.mark.parametrize("variant", list(LAYOUTS))
def test_tensorrt_rtx_decodes_in_two_kernels(variant):
    pytest.importorskip("tensorrt_rtx")
    from edgesmith.exporter.engine.rtx import build_rtx
    from edgesmith.exporter.engine.xray import read_engine

    side = 416 if LAYOUTS[variant].nano else 640
    module = deployed(DamoYolo(LAYOUTS[variant]).eval())
    exported = trace(module, Shapes.fixed(1, 3, side, side), outputs=DetectionTask.outputs)
    seen = {}
    for name, skip in (("before", MINE), ("after", ())):
        typed = to_precision(rewrite(exported, "rtx", skip=skip).model, "fp16")
        seen[name] = read_engine(build_rtx(typed.model).data)
    assert all("decoding" in row["why"] for row in typed.islands) and len(typed.islands) >= 5
    assert SelectCandidates().run(typed.model).count == 1
    seen["candidates"] = read_engine(build_rtx(typed.model).data)
    assert seen["before"].kernels - seen["after"].kernels >= 4, {name: each.kernels for name, each in seen.items()}
    # the largest logit and TopK; the rest of the choice melts into what follows
    assert seen["candidates"].kernels <= seen["after"].kernels + 2
