"""TensorRT 8.5 to 11 and TensorRT-RTX: one session for both, they share what is used here.

The engine is, in this order: one of the bundle that was built for this chip with the secret of this account, one built on this
device before, or one that is built now from the graph, which takes minutes and is kept. The driver is looked for before the library is touched:
without one, TensorRT ends the process. What of this has run where: docs/hardware.md.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any, ClassVar

import numpy as np

from ..bundle.bundle import Bundle
from ..bundle.engines import TENSORRT, TENSORRT_RTX
from ..bundle.graphs import EngineFile, GraphSpec
from ..errors import BackendUnavailable, EdgesmithError, UserMistake
from ..plugins.routes import load_plugins, only_there
from ..session.session import Session
from . import backend, library
from .engine_cache import builder_place, drop_engine, engine_key, last_build_s, load_engine, save_engine
from .engine_seal import NoSecret, is_sealed
from .gpu.buffers import COPIED, MAPPED, buffers_of, check_way, usual_way
from .gpu.cuda import Cuda, Device, find_driver
from .gpu.ladder import build_on_device, only_builder
from .gpu.lane import Lane
from .gpu.lanes import Lanes, check_streams
from .gpu.progress import Watch, spoken

INSTALL = {
    TENSORRT: "on a Jetson it comes with JetPack (apt install python3-libnvinfer); elsewhere: pip install tensorrt",
    TENSORRT_RTX: "pip install 'edgesmith[rtx]'",
}
# trt.nptype of TensorRT 8.5 breaks with NumPy >= 1.24, so the types are named here
DTYPES = {"FLOAT": "float32", "HALF": "float16", "INT32": "int32", "INT64": "int64", "INT8": "int8", "BOOL": "bool"}
log = logging.getLogger("edgesmith")


class EngineSession(Session):
    """One lane (gpu/lane.py) for each run that is under way: ``streams`` of them at most, by default one.

    With one, calls from several threads take turns: a run fills most GPUs, and a second context needs memory for its activations.

    ``memory``: how tensors get to the GPU, "mapped" or "copied" (gpu/buffers.py); by default mapped where the GPU has no memory of
    its own. ``graphs``: launches of fixed shapes are captured. ``dla_core``: the accelerator that runs what it can, in place of the GPU.
    """

    ways: ClassVar[dict[str, dict[str, Any]]] = {
        "": {},
        f"{MAPPED} memory": {"memory": MAPPED},
        f"{COPIED} memory": {"memory": COPIED},
        "launches not captured": {"graphs": False},
    }

    def __init__(
        self, bundle: Bundle, threads: int | None = None, graph: GraphSpec | None = None, memory: str | None = None,
        graphs: bool = True, streams: int = 1, dla_core: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__(bundle, threads, graph)  # the CPU does nothing here that threads could help
        check_way(memory)
        check_streams(streams)
        if dla_core is not None and (type(dla_core) is not int or dla_core < 0):
            raise UserMistake("an accelerator has a number", found=repr(dla_core)[:40], expected="0 or 1")
        self._options: dict[str, Any] = {"memory": memory, "graphs": graphs, "streams": streams, "dla_core": dla_core}
        self._lanes: Lanes | None = None
        self._key = ""  # of the engine among those that were built here
        self._engine: Any = None
        self._runtime: Any = None
        self._kernels = ExitStack()  # the folder that the C++ plugin reads

    def another(self, graph: GraphSpec) -> EngineSession:
        return type(self)(self.bundle, self.threads, graph, **self._options)

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
        if self._options["dla_core"] is not None:
            self._runtime.DLA_core = self._options["dla_core"]
        self._engine = self._find_engine(trt, device)
        names = [self._engine.get_tensor_name(index) for index in range(self._engine.num_io_tensors)]
        self._outputs = [name for name in names if self._engine.get_tensor_mode(name) == trt.TensorIOMode.OUTPUT]
        self._dtypes = {name: self._dtype(name) for name in names}
        self._way = self._options["memory"] or usual_way(self._cuda, device)
        self._lanes = Lanes(self._lane, self._streams(trt))

    def infer(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        assert self._lanes is not None, "a session is released when its last call has ended"
        with self._lanes.one() as lane:
            return lane.run(feeds)

    def release(self) -> None:
        if self._lanes is not None:
            self._lanes.close()  # the contexts in them before the engine, and that before the runtime
            self._lanes = None
        self._engine = None
        self._runtime = None
        self._kernels.close()

    def forget_engine(self) -> None:
        if self._key:
            drop_engine(self.bundle, self._key)

    @property
    def is_captured(self) -> bool:
        """Whether runs are one launch by now."""
        return self._lanes is not None and any(lane.captured for lane in self._lanes.all)

    def _lane(self) -> Lane:
        context = self._engine.create_execution_context()
        if context is None:
            raise EdgesmithError(
                f"{self.backend} could not start {self.bundle.name}",
                found=f"{self._cuda.device().free_bytes / 1e6:.0f} MB of device memory free",
                because="the engine needs more for its activations",
                attempt="close other programs that use the GPU",
            )
        captures = self._options["graphs"] and not self._open_sizes
        buffers = buffers_of(self._way, self._cuda)
        return Lane(self._cuda, context, buffers, self._dtypes, self._outputs, captures, self.backend)

    @property
    def _open_sizes(self) -> bool:
        return any(not isinstance(size, int) for spec in self.inputs for size in spec.shape)

    def _streams(self, trt: Any) -> int:
        """How many contexts may run at once: before TensorRT 10 those of open sizes cannot share a profile."""
        asked: int = self._options["streams"]
        if asked > 1 and self._open_sizes and not hasattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED"):
            log.warning("one run at a time: TensorRT %s has a profile of open sizes for one context", trt.__version__)
            return 1
        return asked

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
        core = self._options["dla_core"]
        self._key = key = engine_key(self.bundle, self.backend, trt.__version__, device, self.graph, core)
        if (engine := self._kept(key)) is not None:
            return engine
        with only_builder(builder_place(key), self.bundle.name):
            if (engine := self._kept(key)) is not None:  # built since we looked, by whom we waited for or not
                return engine
            return self._built(trt, device, key)

    def _kept(self, key: str) -> Any:
        """The engine that was built here before, or None."""
        content = load_engine(self.bundle, key)
        return None if content is None else self._runtime.deserialize_cuda_engine(content)

    def _built(self, trt: Any, device: Device, key: str) -> Any:
        last_s = last_build_s(self.bundle, key)
        log.warning(
            "building an engine for this %s GPU from %s; this takes minutes, once%s", device.arch, self.graph.path.name,
            f" (last time {spoken(last_s)})" if last_s else "",
        )  # fmt: skip
        self.tell("building", None)
        watch = Watch(last_s, lambda share: self.tell("building", share))
        core = self._options["dla_core"]
        content, took_s = build_on_device(self.bundle, self.backend, trt.__version__, device, self.graph, core, watch)
        self.builds += 1
        engine = self._runtime.deserialize_cuda_engine(content)
        if engine is None:
            raise EdgesmithError(f"{self.backend} cannot load the engine that it just built", found=trt.__version__)
        if save_engine(self.bundle, key, content, took_s) is None:
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


@backend(TENSORRT)
class TensorRtSession(EngineSession):
    """TensorRT, as on a Jetson."""


@backend(TENSORRT_RTX)
class TensorRtRtxSession(EngineSession):
    """TensorRT-RTX, on a desktop or laptop GPU."""
