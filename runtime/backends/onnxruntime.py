"""ONNX Runtime on the CPU: runs everywhere, and is the judge that every other backend is compared with."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from ..bundle.engines import ONNXRUNTIME
from ..errors import BackendUnavailable, BundleRefused
from ..ground.limits import quantised
from ..ground.places import spelled
from ..session.session import Session
from . import backend, library

# What a release reads, measured: one small graph in every opset and IR version, loaded with each from 1.17 to 1.32.
NEWEST: dict[str, tuple[int, int]] = {
    # release: newest opset, newest IR; a release between reads what the one before does
    "1.19": (21, 10),  # 1.18 reads the same; 1.19 is the oldest that we test (tests/runtime/floor.txt)
    "1.21": (22, 10),
    "1.23": (23, 11),
    "1.24": (25, 13),
    "1.25": (26, 13),
    "1.32": (28, 14),
}
OPSET = re.compile(r"Opset (\d+) is under development.*?support for domain ai\.onnx is till opset (\d+)", re.DOTALL)
IR = re.compile(r"Unsupported model IR version: (\d+), max supported IR version: (\d+)")


@backend(ONNXRUNTIME)
class OnnxRuntimeSession(Session):
    """Runs the graph on the CPU. Graphs in fp16 run, but slower than fp32; in bf16 next to nothing has a kernel, and they do not load."""

    maps_weights = True

    def open_engine(self) -> None:
        ort = library(ONNXRUNTIME, "pip install 'edgesmith[cpu]'")
        options = ort.SessionOptions()
        options.log_severity_level = (
            4  # errors come as exceptions, in our words; what it prints beside tells a user nothing
        )
        if self._task.exact_activations:
            options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "1")  # 1: float32
        if self._weights and not quantised(self.bundle.precision) and len(self.bundle.graphs) == 1:
            # Weights of gigabytes are read from the map of their file as they lie: laid out anew for the kernels, as is usual,
            # they would be in memory a second time; benchmarks/large_weights.py measures both. Weights in few bits need their
            # layout, and several graphs that share weights are measured with it.
            options.add_session_config_entry("session.disable_prepacking", "1")
        if (
            not self.spins
        ):  # its threads wait for the next call in a loop, which costs a core more than a small graph does
            for pool in ("intra", "inter"):
                options.add_session_config_entry(f"session.{pool}_op.allow_spinning", "0")
        if self.threads is not None:
            options.intra_op_num_threads = self.threads
            options.inter_op_num_threads = 1
        model = spelled(self.graph.path)  # its references are vetted when the bundle opens; bytes would be held twice
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


def too_old(said: str) -> tuple[str, str] | None:
    """ONNX Runtime's refusal -> (what the graph is, which release reads it); None when its age is not the reason."""
    for pattern, place, word in ((OPSET, 0, "opset"), (IR, 1, "IR version")):
        if told := pattern.search(said):
            asked, most = int(told[1]), int(told[2])
            release = next((name for name, newest in NEWEST.items() if newest[place] >= asked), None)
            found = f"a graph of {word} {asked}, and this release reads {most} at most"
            return found, f"onnxruntime {release} or newer" if release else "a newer onnxruntime"
    return None
