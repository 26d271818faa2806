"""A stand-in for TensorRT, the CUDA library and a GPU: it computes the tiny model of tests/runtime in host memory, and is strict
where they are.

``HostCuda`` counts what is not given back, and knows captures: what is started on a stream meanwhile is written down, and run by
``launch``. ``Library`` stands for the module tensorrt. What it cannot say is how the real ones behave: docs/hardware.md.
"""

from __future__ import annotations

import ctypes
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgesmith.runtime.backends import tensorrt as backend
from edgesmith.runtime.backends.gpu.cuda import Device
from edgesmith.runtime.errors import EdgesmithError

WEIGHT = np.array([[4, -2, -2, 0], [-2, 4, -2, 0], [-2, -2, 4, 0]], np.float32)
DEVICE = Device("sm87", 16, 64 << 30, 32 << 30, 12060, 12060)
JETSON = Device("sm87", 16, 64 << 30, 32 << 30, 12060, 12060, integrated=True)


class HostCuda:
    """Memory of the "device" is host memory."""

    def __init__(self, device: Device = DEVICE) -> None:
        self.card, self.maps = device, True
        self.blocks: dict[int, Any] = {}
        self.streams: set[int] = set()
        self.capturing: dict[int, list[Any]] = {}
        self.graphs: dict[int, list[Any]] = {}
        self.ready: dict[int, list[Any]] = {}
        self.counts = {"uploads": 0, "mapped": 0, "launches": 0, "captures": 0, "forgiven": 0}
        self.refuses = ""  # the name of a call that fails
        self._next = 100

    def _check(self, name: str) -> None:
        if name == self.refuses:
            raise EdgesmithError(f"CUDA call {name} failed", found="error 900: operation not permitted")

    def _handle(self) -> int:
        self._next += 1
        return self._next

    def device(self) -> Device:
        return self.card

    def can_map(self) -> bool:
        return self.maps

    def stream(self) -> int:
        self._check("stream")
        self.streams.add(handle := self._handle())
        return handle

    def drop_stream(self, stream: int) -> None:
        self.streams.remove(stream)

    def wait(self, stream: int) -> None:
        assert stream in self.streams and stream not in self.capturing, "a stream that captures cannot be waited for"

    def allocate(self, count_bytes: int) -> int:
        self._check("allocate")
        block = ctypes.create_string_buffer(max(count_bytes, 1))
        self.blocks[ctypes.addressof(block)] = block
        return ctypes.addressof(block)

    def free(self, address: int) -> None:
        del self.blocks[address]

    def allocate_mapped(self, count_bytes: int) -> tuple[int, int]:
        self.counts["mapped"] += 1
        address = self.allocate(count_bytes)
        return address, address

    def free_mapped(self, address: int) -> None:
        self.free(address)

    def upload(self, address: int, array: np.ndarray, stream: int) -> None:
        assert len(self.blocks[address]) >= array.nbytes and array.flags.c_contiguous
        assert stream not in self.capturing
        self.counts["uploads"] += 1
        ctypes.memmove(address, array.ctypes.data, array.nbytes)

    def download(self, array: np.ndarray, address: int, stream: int) -> None:
        assert len(self.blocks[address]) >= array.nbytes
        ctypes.memmove(array.ctypes.data, address, array.nbytes)

    def begin_capture(self, stream: int) -> None:
        self._check("begin_capture")
        assert stream in self.streams and stream not in self.capturing
        self.counts["captures"] += 1
        self.capturing[stream] = []

    def end_capture(self, stream: int) -> int:
        written = self.capturing.pop(stream)
        self._check("end_capture")
        self.graphs[handle := self._handle()] = written
        return handle

    def instantiate(self, graph: int) -> int:
        self._check("instantiate")
        self.ready[handle := self._handle()] = list(self.graphs[graph])
        return handle

    def launch(self, ready: int, stream: int) -> None:
        self._check("launch")
        assert stream in self.streams
        self.counts["launches"] += 1
        for step in self.ready[ready]:
            step()

    def drop_graph(self, graph: int) -> None:
        del self.graphs[graph]

    def drop_ready(self, ready: int) -> None:
        del self.ready[ready]

    def forget_error(self) -> None:
        self.counts["forgiven"] += 1

    def nothing_is_left(self) -> bool:
        return not (self.blocks or self.streams or self.capturing or self.graphs or self.ready)


class Context:
    def __init__(self, library: Library) -> None:
        self.library = library
        self.shape: tuple[int, ...] = ()
        self.addresses: dict[str, int] = {}

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        assert name == "images"
        self.shape = shape
        return shape[0] <= 4

    def get_tensor_shape(self, name: str) -> tuple[int, int]:
        return (self.shape[0], 4)

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        cuda, count = self.library.cuda, int(np.prod(self.shape))
        assert stream in cuda.streams
        shape, addresses = self.shape, dict(self.addresses)
        self.library.runs_seen += 1

        def compute() -> None:
            assert all(address in cuda.blocks for address in addresses.values()), "memory that was given back"
            images = np.ctypeslib.as_array((ctypes.c_float * count).from_address(addresses["images"])).reshape(shape)
            logits = np.ascontiguousarray((images.mean(axis=(2, 3)) @ self.library.weight).astype(np.float32))
            ctypes.memmove(addresses["logits"], logits.ctypes.data, logits.nbytes)

        if stream in cuda.capturing:
            cuda.capturing[stream].append(compute)
            return bool(self.library.captures)
        compute()
        return bool(self.library.runs)


class Library(SimpleNamespace):
    """Stands for the module tensorrt."""

    def __init__(self, cuda: HostCuda) -> None:
        super().__init__(
            cuda=cuda, loaded=[], accepts=(b"good", b"built"), context=True, contexts=16, runs=True, captures=True,
            kind="FLOAT", weight=WEIGHT, runs_seen=0, built=[], build=None,
        )  # fmt: skip
        self.__version__ = "10.3.0"
        self.TensorIOMode = SimpleNamespace(INPUT="in", OUTPUT="out")
        self.NetworkDefinitionCreationFlag = SimpleNamespace(STRONGLY_TYPED=1)
        self.made = 0

    class Logger:
        ERROR = 1

        def __init__(self, level: int) -> None:
            pass

    def Runtime(self, log: Any) -> Any:
        self.runtime = SimpleNamespace(deserialize_cuda_engine=self.deserialise)
        return self.runtime

    def deserialise(self, content: bytes) -> Any:
        self.loaded.append(content)
        if content not in self.accepts:
            return None
        names = ["images", "logits"]
        return SimpleNamespace(
            num_io_tensors=2,
            get_tensor_name=names.__getitem__,
            get_tensor_mode=lambda name: "in" if name == "images" else "out",
            get_tensor_dtype=lambda name: SimpleNamespace(name=self.kind),
            create_execution_context=self._context,
        )

    def _context(self) -> Context | None:
        self.made += 1
        return Context(self) if self.context and self.made <= self.contexts else None


def fake_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Library:
    """A machine with a GPU, as far as a session can tell; ``built`` of the library lists the builds, ``build`` makes them."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("EDGESMITH_CACHE", raising=False)
    cuda = HostCuda()
    trt = Library(cuda)

    def build(bundle, library, version, device, graph, dla_core, watch):  # type: ignore[no-untyped-def]
        assert graph == bundle.main and version == trt.__version__ and device == cuda.card
        trt.built.append(library)
        watch.heard(0.5)
        return (trt.build() if trt.build else b"built"), 7.0

    monkeypatch.setattr(backend, "find_driver", lambda: 1)
    monkeypatch.setattr(backend, "Cuda", lambda: cuda)
    monkeypatch.setattr(backend, "library", lambda name, install: trt)
    monkeypatch.setattr(backend, "build_on_device", build)
    return trt
