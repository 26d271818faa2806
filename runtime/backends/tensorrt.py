"""TensorRT 8.5 to 11 and TensorRT-RTX: one session for both, they share what is used here.

The engine is, in this order: one of the bundle that was built for this chip with the secret of this account, one built on this
device before, or one that is built now from the graph, which takes minutes and is kept. The driver is looked for before the library is touched:
without one, TensorRT ends the process. What of this has run where: docs/hardware.md.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import numpy as np

from ..bundle.bundle import Bundle
from ..bundle.engines import TENSORRT, TENSORRT_RTX
from ..bundle.graphs import EngineFile, GraphSpec
from ..errors import BackendUnavailable, EdgesmithError
from ..plugins.routes import load_plugins, only_there
from ..session.session import Session
from . import backend, library
from .cuda import Cuda, Device, find_driver
from .engine_build import build_engine
from .engine_cache import engine_key, load_engine, save_engine
from .engine_seal import NoSecret, is_sealed

INSTALL = {
    TENSORRT: "on a Jetson it comes with JetPack (apt install python3-libnvinfer); elsewhere: pip install tensorrt",
    TENSORRT_RTX: "pip install 'edgesmith[rtx]'",
}
# trt.nptype of TensorRT 8.5 breaks with NumPy >= 1.24, so the types are named here
DTYPES = {"FLOAT": "float32", "HALF": "float16", "INT32": "int32", "INT64": "int64", "INT8": "int8", "BOOL": "bool"}
log = logging.getLogger("edgesmith")


class EngineSession(Session):
    """Device buffers grow to the largest shapes seen; a run copies in, executes on one stream, copies out.

    Calls from several threads take turns: one run fills the GPU, and a second context would need the memory of its activations.
    """

    def __init__(self, bundle: Bundle, threads: int | None = None, graph: GraphSpec | None = None) -> None:
        super().__init__(bundle, threads, graph)  # the CPU does nothing here that threads could help
        self._buffers: dict[str, tuple[int, int]] = {}  # name -> (address, bytes)
        self._stream: int | None = None
        self._context: Any = None
        self._engine: Any = None
        self._runtime: Any = None
        self._kernels = ExitStack()  # the folder that the C++ plugin reads
        self._turn = threading.Lock()  # context, buffers and stream are those of one run

    def open_engine(self) -> None:
        try:
            find_driver()
        except BackendUnavailable as error:
            raise only_there(self.bundle, error) from None
        trt = library(self.backend, INSTALL[self.backend])
        self._cuda = Cuda()
        device = self._cuda.device()
        self._log = trt.Logger(trt.Logger.ERROR)
        if hasattr(trt, "init_libnvinfer_plugins"):  # an engine with suppression inside does not load without
            trt.init_libnvinfer_plugins(self._log, "")
        load_plugins(trt, self.bundle, self.backend, self._kernels)
        self._runtime = trt.Runtime(self._log)
        self._engine = self._find_engine(trt, device)
        self._context = self._engine.create_execution_context()
        if self._context is None:
            raise EdgesmithError(
                f"{self.backend} could not start {self.bundle.name}",
                found=f"{device.free_bytes / 1e6:.0f} MB of device memory free",
                because="the engine needs more for its activations",
                attempt="close other programs that use the GPU",
            )
        self._stream = self._cuda.stream()
        names = [self._engine.get_tensor_name(index) for index in range(self._engine.num_io_tensors)]
        self._outputs = [name for name in names if self._engine.get_tensor_mode(name) == trt.TensorIOMode.OUTPUT]
        self._dtypes = {name: self._dtype(name) for name in names}

    def infer(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        with self._turn:
            return self._infer(feeds)

    def _infer(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        stream = self._stream or 0
        for name, array in feeds.items():
            address = self._buffer(name, array.nbytes)
            self._cuda.upload(address, array, stream)
            self._accept(self._context.set_input_shape(name, tuple(array.shape)), f"shape {array.shape} of {name}")
            self._accept(self._context.set_tensor_address(name, address), f"the address of {name}")
        results = {}
        for name in self._outputs:
            shape = tuple(self._context.get_tensor_shape(name))
            results[name] = np.empty(shape, self._dtypes[name])
            address = self._buffer(name, results[name].nbytes)
            self._accept(self._context.set_tensor_address(name, address), f"the address of {name}")
        self._accept(self._context.execute_async_v3(stream), "the run")
        for name, array in results.items():
            self._cuda.download(array, self._buffers[name][0], stream)
        self._cuda.wait(stream)
        return results

    def release(self) -> None:
        for address, _ in self._buffers.values():
            self._cuda.free(address)
        self._buffers = {}
        if self._stream is not None:
            self._cuda.drop_stream(self._stream)
            self._stream = None
        self._context = None  # before the engine, and that before the runtime
        self._engine = None
        self._runtime = None
        self._kernels.close()

    def _find_engine(self, trt: Any, device: Device) -> Any:
        for file in self.graph.engines:
            if file.builder == self.backend and file.arch == device.arch:
                content = self._bundled(file)
                if content is None:
                    continue
                engine = self._runtime.deserialize_cuda_engine(content)
                if engine is not None:
                    return engine
                log.warning(
                    "%s was built by %s %s and does not load in %s",
                    file.path.name,
                    file.builder,
                    file.version,
                    trt.__version__,
                )
        key = engine_key(self.bundle, self.backend, trt.__version__, device, self.graph)
        content = load_engine(self.bundle, key)
        if content is not None and (engine := self._runtime.deserialize_cuda_engine(content)) is not None:
            return engine
        log.warning(
            "building an engine for this %s GPU from %s; this takes minutes, once", device.arch, self.graph.path.name
        )
        content = build_engine(self.bundle, self.backend, device.free_bytes, graph=self.graph)
        engine = self._runtime.deserialize_cuda_engine(content)
        if engine is None:
            raise EdgesmithError(f"{self.backend} cannot load the engine that it just built", found=trt.__version__)
        if save_engine(self.bundle, key, content) is None:
            log.warning("the engine could not be kept: neither the bundle nor the cache folder can be written")
        return engine

    def _bundled(self, file: EngineFile) -> bytes | None:
        """An engine that came with the bundle; None, told, for one that this account has no reason to believe."""
        with self.bundle.reading(file.path.relative_to(self.bundle.path).as_posix()):
            content = file.path.read_bytes()
        try:
            if is_sealed(content, file.seal):
                return content
            because = "it was not built by this account, and an engine is a program"
        except NoSecret as refused:
            because = f"{refused.what}: {refused.found}"
        log.warning(
            "%s of the bundle is not loaded: %s. Machines that share ~/.config/edgesmith/engine.seal take each other's engines",
            file.path.name,
            because,
        )
        return None

    def _dtype(self, name: str) -> np.dtype[Any]:
        kind = self._engine.get_tensor_dtype(name).name
        if kind not in DTYPES:
            raise EdgesmithError(
                f"the engine's {name!r} is of a type numpy does not have", found=kind, expected=", ".join(DTYPES)
            )
        return np.dtype(DTYPES[kind])

    def _buffer(self, name: str, count_bytes: int) -> int:
        """Device memory of a tensor; it grows when a larger one comes."""
        address, held = self._buffers.get(name, (0, -1))
        if held < count_bytes:
            if held >= 0:
                del self._buffers[name]
                self._cuda.free(address)
            address = self._cuda.allocate(count_bytes)
            self._buffers[name] = (address, count_bytes)
        return address

    def _accept(self, answer: bool, what: str) -> None:
        if not answer:
            raise EdgesmithError(f"{self.backend} refused {what}", attempt="edgesmith inspect shows the engine")


@backend(TENSORRT)
class TensorRtSession(EngineSession):
    """TensorRT, as on a Jetson."""


@backend(TENSORRT_RTX)
class TensorRtRtxSession(EngineSession):
    """TensorRT-RTX, on a desktop or laptop GPU."""
