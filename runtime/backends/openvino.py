"""OpenVINO on the CPU: the fastest engine measured on x86, where it has bf16 units."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..bundle.bundle import Bundle
from ..bundle.engines import OPENVINO
from ..bundle.graphs import GraphSpec
from ..errors import BundleRefused, UserMistake
from ..ground.limits import BF16, FP32, quantised
from ..ground.places import spelled
from ..session.session import Session
from . import backend
from .openvino_library import openvino, openvino_core
from .openvino_requests import Requests, streams_beside

HINTS = {FP32: "f32", BF16: "bf16"}
# of products with few-bit weights: OpenVINO rounds what they read to 8 bits, 32 values a scale, unless it is told not to
EXACT = {"DYNAMIC_QUANTIZATION_GROUP_SIZE": 0}
# a cached model answers with the weights that it was compiled with, whatever lies beside the graph now: there is no cache,
# and none that somebody else set for this process
UNCACHED = {"CACHE_DIR": ""}


@backend(OPENVINO)
class OpenVinoSession(Session):
    """Runs the graph on the CPU, at float32 unless the bundle or ``precision`` asks for bf16.

    Left alone OpenVINO takes bf16 wherever the chip has it, without a word; then a float32 bundle would not compute what
    was verified. So the precision is always said.
    """

    maps_weights = True

    def __init__(
        self,
        bundle: Bundle,
        threads: int | None = None,
        precision: str | None = None,
        graph: GraphSpec | None = None,
        exact: bool = False,
    ) -> None:
        """``exact``: products with few-bit weights read what they multiply in the precision above, and are slower."""
        super().__init__(bundle, threads, graph)
        self.exact = exact
        if precision not in (None, *HINTS):
            raise UserMistake(f"OpenVINO has no precision {precision!r} here", expected=", ".join(HINTS))
        # an fp16 graph has its casts in itself; float32 arithmetic around them loses nothing
        self.computes = precision or (BF16 if bundle.precision == BF16 else FP32)
        rounds_further = self.computes == BF16 and not quantised(bundle.precision)  # int8 is held to its own limit
        self.precision = BF16 if rounds_further else bundle.precision

    def another(self, graph: GraphSpec) -> OpenVinoSession:
        return type(self)(self.bundle, self.threads, self.computes, graph, self.exact)

    def exactly(self) -> OpenVinoSession | None:
        return None if self.exact else type(self)(self.bundle, self.threads, self.computes, self.graph, exact=True)

    def open_engine(self) -> None:
        self._ov = openvino()
        self._core = openvino_core()
        self._all_sizes_once = threading.Lock()
        self._all_sizes: Requests | None = None
        try:
            self._usual: Requests | None = Requests(self._compile_usual, streams_beside(self.threads))
        except RuntimeError as error:
            raise BundleRefused(
                f"OpenVINO {self._ov.__version__} cannot load {self.bundle.name}",
                found=str(error).strip()[:600],
                attempt=f"this bundle is for target {self.bundle.target}: export it with --target openvino",
            ) from error

    def infer(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        usual = all(feeds[spec.name].shape == (spec.opt or spec.shape) for spec in self.inputs)
        requests = self._usual if usual else self._open_sizes()
        assert requests is not None, "a session is released when its last call has ended"
        with requests.one() as request:
            results = request.infer(dict(feeds), share_inputs=True)  # and the outputs are copied
        return {spec.name: np.asarray(results[spec.name]) for spec in self.outputs}

    def release(self) -> None:
        self._usual = self._all_sizes = None

    def _open_sizes(self) -> Requests:
        """For all sizes, compiled the first time another than the usual one comes."""
        with self._all_sizes_once:
            if self._all_sizes is None:
                self._all_sizes = Requests(self._compile_all_sizes, streams_beside(self.threads))
            return self._all_sizes

    def _compile_usual(self, streams: int) -> Any:
        """For the opt shapes alone: a graph of fixed sizes is faster than one of open sizes."""
        return self._compile({spec.name: list(spec.opt or spec.shape) for spec in self.inputs if spec.opt}, streams)

    def _compile_all_sizes(self, streams: int) -> Any:
        return self._compile({}, streams)

    def _compile(self, sizes: Mapping[str, list[int | str]], streams: int) -> Any:
        """The graph with these inputs of fixed sizes. BundleRefused when its file is not the one that was loaded."""
        config: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": HINTS[self.computes],
            "PERFORMANCE_HINT": "LATENCY",
            **UNCACHED,
            **(EXACT if self.exact else {}),
        }
        if self.threads is not None:
            # pinned, as is its default, every model of every process on this machine would begin at the first core
            config |= {
                "INFERENCE_NUM_THREADS": self.threads * streams,
                "NUM_STREAMS": streams,
                "ENABLE_CPU_PINNING": False,
            }
        graph, weights = self.bundle.files_of(self.graph)
        with self.bundle.reading(graph, *weights):
            model = self._core.read_model(spelled(self.graph.path))
            if sizes:
                model.reshape(sizes)
            return self._core.compile_model(model, "CPU", config)
