"""The engines that a bundle can be for, one row each: what a device asks of them, and the names that everybody uses.

What only an export asks of an engine stands in exporter/plan/engines.py.
"""

from __future__ import annotations

from dataclasses import dataclass

ONNXRUNTIME, OPENVINO, TENSORRT_RTX, TENSORRT = "onnxruntime", "openvino", "tensorrt_rtx", "tensorrt"
NMS = "NonMaxSuppression"


@dataclass(frozen=True)
class OnDevice:
    """One engine as the runtime knows it."""

    name: str  # of its Python library, and of the backend that users ask for
    module: str  # of runtime/backends
    targets: tuple[str, ...]  # whose bundles it runs unless another is asked for (TensorRT: those of every jetpack too)
    on_cpu: bool = False
    nms: str = NMS  # the node that suppresses boxes in its graph; "" where it has none
    keeps_at_threshold: bool = True  # whether that node keeps a box whose overlap is the threshold itself, as ours does
    bodies: bool = True  # whether it runs a fused op from the body in the graph, where no plugin takes it
    plugins: bool = False  # whether the plugins of the kernel pack can be put into it
    stand_in: str = ""  # the engine that takes its place on a device where it cannot be had, loudly
    triton: str = ""  # the backend of Triton that runs its bundles; "" where Triton has none
    triton_file: str = ""  # what that backend loads


ENGINES: dict[str, OnDevice] = {
    engine.name: engine
    for engine in (
        OnDevice(ONNXRUNTIME, "onnxruntime", ("cpu",), on_cpu=True, triton="onnxruntime", triton_file="model.onnx"),
        OnDevice(
            OPENVINO,
            "openvino",
            ("openvino",),
            on_cpu=True,
            keeps_at_threshold=False,
            bodies=False,
            triton="openvino",
            triton_file="model.onnx",
        ),
        OnDevice(
            TENSORRT,
            "tensorrt",
            ("tensorrt",),
            nms="EfficientNMS_TRT",
            plugins=True,
            triton="tensorrt",
            triton_file="model.plan",
            stand_in=ONNXRUNTIME,
        ),
        OnDevice(TENSORRT_RTX, "tensorrt", ("rtx",), nms="", stand_in=ONNXRUNTIME),
    )
}
