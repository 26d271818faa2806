"""What TensorRT-RTX makes of the seven detectors: kernels launched, fp16, sm89, batch 1, boxes and scores decoded inside.

The engines are built without a GPU through the stages of an export: trace, rewrite, type, build, X-ray. Counts do not depend
on the weights; benchmarks/detector_rewrites.md has them before and after the rewrites.
"""

from __future__ import annotations

import pytest

from edgesmith.exporter.engine.rtx import build_rtx_engine, installed
from edgesmith.exporter.engine.xray import XRay, read_engine
from edgesmith.exporter.patterns.rewrite import rewrite
from edgesmith.exporter.precision.casts import to_precision
from edgesmith.exporter.run.nouns import Shapes
from edgesmith.exporter.trace.trace import trace
from edgesmith.models import create
from edgesmith.models.registry import find
from edgesmith.runtime.tasks.detection.task import DetectionTask

pytestmark = pytest.mark.skipif(not installed(), reason="TensorRT-RTX is not installed: pip install 'edgesmith[rtx]'")


def xray_of(name: str, size: tuple[int, int]) -> XRay:
    """The X-ray of the default export of a detector for RTX."""
    module = create(name, weights="random")
    exported = trace(module, Shapes.fixed(1, 3, *size), name=name, outputs=DetectionTask.outputs)
    graph = rewrite(exported, "rtx")
    assert "BatchNormalization" not in graph.nodes_after
    xray = read_engine(build_rtx_engine(to_precision(graph.model, "fp16").model, "sm89"))
    assert xray.recognised == 1.0, f"steps the X-ray does not know: {xray.unknown}"
    return xray


@pytest.mark.parametrize(
    ("variant", "most_kernels"),
    [
        ("tiny", 88),
        ("nano_small", 107),
    ],
)
def test_kernels_of_a_small_picture(variant, most_kernels):
    assert xray_of(f"damo_yolo_{variant}", (128, 128)).kernels <= most_kernels


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variant", "most_kernels"),
    [
        ("tiny", 88),  # plain export: 120
        ("small", 100),  # 135
        ("medium", 134),  # 176
        ("large", 164),  # 221
        ("nano_small", 107),  # 115
        ("nano_medium", 110),  # 118
        ("nano_large", 113),  # 121
    ],
)
def test_kernels_at_the_size_of_the_authors(variant, most_kernels):
    name = f"damo_yolo_{variant}"
    assert xray_of(name, find(name).contract.size).kernels <= most_kernels
