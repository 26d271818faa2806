"""The engines, one row each: what an export asks of one; what a device asks too stands in runtime/bundle/engines.py."""

from __future__ import annotations

from dataclasses import dataclass

from ...runtime.bundle.engines import ENGINES as ON_DEVICE
from ...runtime.bundle.engines import ONNXRUNTIME, OPENVINO, TENSORRT, TENSORRT_RTX, OnDevice

OPSETS = range(16, 24)  # that can be asked for
USUAL_OPSET = 20  # real Attention nodes (23) gain nothing, and in float32 TensorRT-RTX does not build them


@dataclass(frozen=True)
class Engine:
    """One engine as an export sees it."""

    here: OnDevice
    words: str  # for people
    order: str  # of the rewrites that win on it
    extra: str  # of our package that brings its library
    distributions: tuple[str, ...]  # that hold the library; any of them will do
    forms: tuple[str, ...] = ("qdq",)  # of int8 that it has kernels for, its own first; "qdq" is legal everywhere
    no_other_form: str = (
        "it needs symmetric Q/DQ with fixed scales; dynamic and u8 are forms of CPU kernels"  # why, in words
    )
    form_of_weights: str = "weights"  # that 4-bit weights are written in
    domains: frozenset[str] = frozenset()  # operators besides ONNX's own that it knows
    integer_kernels: bool = False  # it takes Q/DQ apart itself: judged as it runs, not as the graph is written
    compiled: bool = False  # an engine file goes into the bundle, for a chip that is named
    scales_behind: tuple[str, ...] = ("MatMul",)  # products whose channel scales go behind them; others are taken along

    @property
    def name(self) -> str:
        return self.here.name

    @property
    def runs_here(self) -> bool:
        """Whether the machine of an export can run and time it."""
        return self.here.on_cpu

    def __str__(self) -> str:
        return self.name


ENGINES: dict[str, Engine] = {
    engine.name: engine
    for engine in (
        Engine(
            ON_DEVICE[ONNXRUNTIME],
            "ONNX Runtime",
            order="cpu",
            extra="cpu",
            distributions=("onnxruntime", "onnxruntime-gpu"),
            forms=("qdq", "dynamic", "u8"),
            form_of_weights="nbits",
            domains=frozenset({"com.microsoft"}),
            integer_kernels=True,
        ),
        Engine(
            ON_DEVICE[OPENVINO],
            "OpenVINO",
            order="openvino",
            extra="openvino",
            distributions=("openvino",),
            forms=("qdq", "u8"),
            no_other_form="OpenVINO computes the dynamic form in float32, slower than the float graph",
        ),
        Engine(
            ON_DEVICE[TENSORRT_RTX],
            "TensorRT-RTX",
            order="rtx",
            extra="rtx",
            distributions=("tensorrt-rtx",),
            compiled=True,
            scales_behind=("MatMul", "Conv"),
        ),
        Engine(
            ON_DEVICE[TENSORRT],
            "TensorRT",
            order="tensorrt",
            extra="gpu",
            distributions=("tensorrt", "tensorrt-cu13", "tensorrt-cu12"),
        ),
    )
}  # fmt: skip
