"""OpenVINO on the CPU: the fastest engine measured on x86, where it has bf16 units."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..bundle.bundle import Bundle
from ..bundle.engines import OPENVINO
from ..bundle.graphs import GraphSpec
from ..errors import BundleRefused, UserMistake
from ..ground.limits import BF16, FP32, quantised
from ..session.session import Session
from . import backend, library

HINTS = {FP32: "f32", BF16: "bf16"}


@backend(OPENVINO)
class OpenVinoSession(Session):
    """Runs the graph on the CPU, at float32 unless the bundle or ``precision`` asks for bf16.

    Left alone OpenVINO takes bf16 wherever the chip has it, without a word; then a float32 bundle would not compute what
    was verified. So the precision is always said.
    """

    def __init__(
        self,
        bundle: Bundle,
        threads: int | None = None,
        precision: str | None = None,
        graph: GraphSpec | None = None,
    ) -> None:
        super().__init__(bundle, threads, graph)
        if precision not in (None, *HINTS):
            raise UserMistake(f"OpenVINO has no precision {precision!r} here", expected=", ".join(HINTS))
        # an fp16 graph has its casts in itself; float32 arithmetic around them loses nothing
        self.computes = precision or (BF16 if bundle.precision == BF16 else FP32)
        rounds_further = self.computes == BF16 and not quantised(bundle.precision)  # int8 is held to its own limit
        self.precision = BF16 if rounds_further else bundle.precision

    def another(self, graph: GraphSpec) -> OpenVinoSession:
        return type(self)(self.bundle, self.threads, self.computes, graph)

    def open(self) -> None:
        self._ov = library(OPENVINO, "pip install 'edgesmith[openvino]'")
        self._core = self._ov.Core()
        self._compiled: dict[str, Any] = {}
        try:
            self._usual()
        except RuntimeError as error:
            raise BundleRefused(
                f"OpenVINO {self._ov.__version__} cannot load {self.bundle.name}",
                found=str(error).strip()[:600],
                attempt=f"this bundle is for target {self.bundle.target}: export it with --target openvino",
            ) from error

    def infer(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        usual = all(feeds[spec.name].shape == (spec.opt or spec.shape) for spec in self.inputs)
        results = (self._usual() if usual else self._open_sizes())(dict(feeds))
        return {name: np.asarray(results[name]) for name in (spec.name for spec in self.outputs)}

    def release(self) -> None:
        self._compiled = {}

    def _usual(self) -> Any:
        """Compiled for the opt shapes alone: a graph of fixed sizes is faster than one of open sizes."""
        if "usual" not in self._compiled:
            model = self._core.read_model(self.graph.path)
            if any(spec.opt for spec in self.inputs):
                model.reshape({spec.name: list(spec.opt or spec.shape) for spec in self.inputs})
            self._compiled["usual"] = self._compile(model)
        return self._compiled["usual"]

    def _open_sizes(self) -> Any:
        """Compiled for all sizes, the first time another than the usual one comes."""
        if "open" not in self._compiled:
            self._compiled["open"] = self._compile(self._core.read_model(self.graph.path))
        return self._compiled["open"]

    def _compile(self, model: Any) -> Any:
        config: dict[str, Any] = {"INFERENCE_PRECISION_HINT": HINTS[self.computes], "PERFORMANCE_HINT": "LATENCY"}
        if self.threads is not None:
            config["INFERENCE_NUM_THREADS"] = self.threads
        return self._core.compile_model(model, "CPU", config)
