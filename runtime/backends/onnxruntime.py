"""ONNX Runtime on the CPU: runs everywhere, and is the judge that every other backend is compared with."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..bundle.engines import ONNXRUNTIME
from ..errors import BackendUnavailable, BundleRefused
from ..session.session import Session
from . import backend, library
from .ort_versions import too_old


@backend(ONNXRUNTIME)
class OnnxRuntimeSession(Session):
    """Runs the graph on the CPU. It has no fast fp16 or bf16 kernels: such graphs run, but slower than fp32."""

    maps_weights = True

    def open(self) -> None:
        ort = library(ONNXRUNTIME, "pip install 'edgesmith[cpu]'")
        options = ort.SessionOptions()
        options.log_severity_level = 3  # errors come as exceptions, warnings of its optimizer tell a user nothing
        if self.threads is not None:
            options.intra_op_num_threads = self.threads
            options.inter_op_num_threads = 1
        model = str(self.graph.path)  # its references are vetted when the bundle opens; bytes would be held twice
        try:
            self._session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its exceptions share no base class but this one
            if newer := too_old(str(error)):
                raise BackendUnavailable(
                    f"ONNX Runtime {ort.__version__} is too old for {self.bundle.name}",
                    found=newer[0],
                    expected=newer[1],
                    attempt="pip install -U onnxruntime, or export with a lower --opset",
                ) from None
            raise BundleRefused(
                f"ONNX Runtime {ort.__version__} cannot load {self.bundle.name}",
                found=str(error).strip()[:600],
                attempt=f"this bundle is for target {self.bundle.target}: export it with --target cpu",
            ) from error
        self._names = [output.name for output in self._session.get_outputs()]

    def infer(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return dict(zip(self._names, self._session.run(self._names, dict(feeds)), strict=True))

    def release(self) -> None:
        self._session = None
