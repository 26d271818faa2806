"""CUDA from Python with nothing but ctypes: find the driver, allocate, copy, wait.

TensorRT ends the whole process with a segmentation fault on a machine without a driver, so ``find_driver`` looks for one
first. The calls used are the same in libcudart 11, 12 and 13 (JetPack 5, 6 and 7); plain memory and copies, or memory of the
host that the GPU reads where it lies, and no managed memory, which a Jetson CPU may not touch while a kernel runs.
"""

from __future__ import annotations

import ctypes
import glob
import importlib.util
import os
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import BackendUnavailable, EdgesmithError

DRIVER = "libcuda.so.1"
RUNTIMES = ("libcudart.so.13", "libcudart.so.12", "libcudart.so.11.0", "libcudart.so")
HOST_TO_DEVICE, DEVICE_TO_HOST = 1, 2
MULTIPROCESSORS, INTEGRATED, CAN_MAP, MAJOR, MINOR = 16, 18, 19, 75, 76  # cudaDeviceAttr
MAPPED = 2  # cudaHostAllocMapped
OF_THIS_THREAD = 1  # cudaStreamCaptureModeThreadLocal: other threads may allocate meanwhile
DRIVER_ERRORS = {
    35: "the driver is older than the CUDA library",
    100: "the driver is there, but no GPU",
    999: "unknown, often a driver module that does not fit the library",
}


@dataclass(frozen=True)
class Device:
    """The GPU that is in use; what an engine built here is good for depends on all of it."""

    arch: str  # sm87
    multiprocessors: int
    memory_bytes: int
    free_bytes: int
    driver: int  # 13020 is 13.2
    runtime: int
    integrated: bool = False  # the GPU has no memory of its own: a Jetson


def find_driver() -> int:
    """The number of GPUs; BackendUnavailable when there is no driver or no GPU. Touches neither CUDA runtime nor TensorRT."""
    try:
        driver = ctypes.CDLL(DRIVER)
    except OSError:
        raise _unavailable(f"no NVIDIA driver, {DRIVER} is not on this machine") from None
    code = driver.cuInit(0)
    if code:
        raise _unavailable(f"the NVIDIA driver answers with error {code}: {DRIVER_ERRORS.get(code, 'see its manual')}")
    count = ctypes.c_int()
    if driver.cuDeviceGetCount(ctypes.byref(count)) or not count.value:
        raise _unavailable("the NVIDIA driver is there, but no GPU")
    return count.value


def _unavailable(found: str) -> BackendUnavailable:
    return BackendUnavailable(
        "an engine cannot run here",
        found=found,
        expected="an NVIDIA GPU with its driver",
        attempt="run the bundle on the device, or with backend='onnxruntime' on this CPU",
    )


class Cuda:
    """The few calls of libcudart that a session needs; every failure is an error in words."""

    def __init__(self, library: Any = None) -> None:
        self._lib = library or load_runtime()
        self._lib.cudaGetErrorString.restype = ctypes.c_char_p

    def call(self, name: str, *arguments: Any) -> None:
        code = getattr(self._lib, name)(*arguments)
        if code:
            words = (self._lib.cudaGetErrorString(code) or b"").decode(errors="replace")
            raise EdgesmithError(
                f"CUDA call {name} failed",
                found=f"error {code}: {words}",
                attempt="less memory in use elsewhere, or a smaller batch" if code == 2 else "",
            )

    def device(self) -> Device:
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        self.call("cudaMemGetInfo", ctypes.byref(free), ctypes.byref(total))
        arch = f"sm{self._attribute(MAJOR)}{self._attribute(MINOR)}"
        versions = self._number("cudaDriverGetVersion"), self._number("cudaRuntimeGetVersion")
        integrated = bool(self._attribute(INTEGRATED))
        return Device(arch, self._attribute(MULTIPROCESSORS), total.value, free.value, *versions, integrated)

    def can_map(self) -> bool:
        """Whether the GPU can read memory of the host where it lies."""
        return bool(self._attribute(CAN_MAP))

    def _attribute(self, which: int) -> int:
        value = ctypes.c_int()
        self.call("cudaDeviceGetAttribute", ctypes.byref(value), which, 0)
        return value.value

    def _number(self, name: str) -> int:
        value = ctypes.c_int()
        self.call(name, ctypes.byref(value))
        return value.value

    def stream(self) -> int:
        handle = ctypes.c_void_p()
        self.call("cudaStreamCreate", ctypes.byref(handle))
        return handle.value or 0

    def wait(self, stream: int) -> None:
        self.call("cudaStreamSynchronize", ctypes.c_void_p(stream))

    def drop_stream(self, stream: int) -> None:
        self.call("cudaStreamDestroy", ctypes.c_void_p(stream))

    def allocate(self, count_bytes: int) -> int:
        """Device memory; the address."""
        address = ctypes.c_void_p()
        self.call("cudaMalloc", ctypes.byref(address), ctypes.c_size_t(max(count_bytes, 1)))
        return address.value or 0

    def free(self, address: int) -> None:
        self.call("cudaFree", ctypes.c_void_p(address))

    def allocate_mapped(self, count_bytes: int) -> tuple[int, int]:
        """Pinned memory of the host: (address for the CPU, address for the GPU)."""
        host, there = ctypes.c_void_p(), ctypes.c_void_p()
        self.call("cudaHostAlloc", ctypes.byref(host), ctypes.c_size_t(max(count_bytes, 1)), MAPPED)
        try:
            self.call("cudaHostGetDevicePointer", ctypes.byref(there), host, 0)
        except EdgesmithError:
            self.free_mapped(host.value or 0)
            raise
        return host.value or 0, there.value or 0

    def free_mapped(self, address: int) -> None:
        """By the address for the CPU."""
        self.call("cudaFreeHost", ctypes.c_void_p(address))

    def begin_capture(self, stream: int) -> None:
        """What this thread starts on the stream from now on is written down and not run."""
        self.call("cudaStreamBeginCapture", ctypes.c_void_p(stream), OF_THIS_THREAD)

    def end_capture(self, stream: int) -> int:
        """The graph of what was written down; EdgesmithError where something could not be. The stream is free in any case."""
        graph = ctypes.c_void_p()
        self.call("cudaStreamEndCapture", ctypes.c_void_p(stream), ctypes.byref(graph))
        return graph.value or 0

    def instantiate(self, graph: int) -> int:
        """A graph that can be launched; the one that it was made of may be dropped."""
        ready = ctypes.c_void_p()
        self.call("cudaGraphInstantiateWithFlags", ctypes.byref(ready), ctypes.c_void_p(graph), ctypes.c_ulonglong(0))
        return ready.value or 0

    def launch(self, ready: int, stream: int) -> None:
        self.call("cudaGraphLaunch", ctypes.c_void_p(ready), ctypes.c_void_p(stream))

    def drop_graph(self, graph: int) -> None:
        self.call("cudaGraphDestroy", ctypes.c_void_p(graph))

    def drop_ready(self, ready: int) -> None:
        self.call("cudaGraphExecDestroy", ctypes.c_void_p(ready))

    def forget_error(self) -> None:
        """The last error is not told again by the next call."""
        self._lib.cudaGetLastError()

    def upload(self, address: int, array: np.ndarray, stream: int) -> None:
        """A contiguous array to the device; it must live until ``wait``."""
        self._copy(address, array.ctypes.data, array.nbytes, HOST_TO_DEVICE, stream)

    def download(self, array: np.ndarray, address: int, stream: int) -> None:
        """Device memory into a contiguous array, complete after ``wait``."""
        self._copy(array.ctypes.data, address, array.nbytes, DEVICE_TO_HOST, stream)

    def _copy(self, to: int, source: int, count_bytes: int, kind: int, stream: int) -> None:
        to_, from_, size = ctypes.c_void_p(to), ctypes.c_void_p(source), ctypes.c_size_t(count_bytes)
        self.call("cudaMemcpyAsync", to_, from_, size, kind, ctypes.c_void_p(stream))


def load_runtime() -> Any:
    """libcudart: the system's (JetPack), else the one that pip packages bring along."""
    places = list(RUNTIMES)
    spec = importlib.util.find_spec("nvidia")
    for folder in spec.submodule_search_locations or () if spec else ():
        places += sorted(glob.glob(os.path.join(folder, "*", "lib", "libcudart.so*")), reverse=True)
    places += sorted(glob.glob("/usr/local/cuda*/lib64/libcudart.so"))
    for place in places:
        try:
            return ctypes.CDLL(place)
        except OSError:
            continue
    raise BackendUnavailable(
        "an engine cannot run here",
        found="no CUDA runtime library, libcudart.so",
        expected=f"one of {', '.join(RUNTIMES)}",
        attempt="on a Jetson: apt install cuda-cudart; elsewhere: pip install nvidia-cuda-runtime",
    )
