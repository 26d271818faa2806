"""A target in one file of one's own: an older ONNX Runtime on an appliance, whose graphs are those of opset 19, without int8."""

from __future__ import annotations

from dataclasses import replace

from edgesmith import register_target
from edgesmith.exporter.plan.engines import ENGINES
from edgesmith.exporter.plan.targets import Target

APPLIANCE = Target(
    "appliance",
    replace(ENGINES["onnxruntime"], order="openvino"),  # without the operators of com.microsoft that newer ones have
    "ONNX Runtime 1.14 on our appliance",
    precisions=("fp32", "fp16"),
    opset=19,
    max_opset=19,
    missing={"int8": "our appliance has no integer instructions"},
)


def add() -> None:
    """What ``[project.entry-points."edgesmith"] box = "target_toy:add"`` would name in a package that is installed."""
    register_target(APPLIANCE)
