"""Kernels of the pack through the CUDA driver, by ctypes alone, as TensorRT launches them: inputs, int32 scalars, outputs.

Memory comes from the driver too, one allocation a tensor, so that compute-sanitizer sees the true end of each. Only the
functions named in this file are called; ``fake_cuda.py`` has the same ones for a machine without a GPU.
docs/hardware.md says what has run where.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

LIBRARY = "libcuda.so.1"
MULTIPROCESSORS, L2_BYTES, MAJOR, MINOR = 16, 38, 75, 76  # CUdevice_attribute
LOCAL_BYTES, REGISTERS = 3, 4  # CUfunction_attribute
ERROR_LOG, ERROR_LOG_BYTES = 5, 6  # CUjit_option
LOG_BYTES = 8192


class DriverError(Exception):
    """A call of the driver failed; after some of these (700) the process can use the GPU no more."""


@dataclass(frozen=True)
class Function:
    """A loaded kernel; ``local_bytes`` is what it spills for each thread on this GPU."""

    handle: int
    registers: int
    local_bytes: int


class Driver:
    """The few calls that are needed; every failure is a DriverError in words."""

    def __init__(self, library: Any = None) -> None:
        self._lib = library if library is not None else ctypes.CDLL(LIBRARY)
        self.call("cuInit", ctypes.c_uint(0))
        device, context = ctypes.c_int(), ctypes.c_void_p()
        self.call("cuDeviceGet", ctypes.byref(device), 0)
        self._device = device.value
        self.call("cuDevicePrimaryCtxRetain", ctypes.byref(context), self._device)  # the one that torch uses too
        self.call("cuCtxSetCurrent", context)

    def call(self, name: str, *arguments: Any) -> None:
        code = getattr(self._lib, name)(*arguments)
        if code:
            words = ctypes.c_char_p()
            self._lib.cuGetErrorString(code, ctypes.byref(words))
            raise DriverError(f"{name}: error {code}, {(words.value or b'unknown').decode(errors='replace')}")

    def about(self) -> dict[str, Any]:
        """Name, architecture, multiprocessors, L2 cache and the driver's version."""
        name, version = ctypes.create_string_buffer(256), ctypes.c_int()
        self.call("cuDeviceGetName", name, len(name), self._device)
        self.call("cuDriverGetVersion", ctypes.byref(version))
        return {
            "name": name.value.decode(errors="replace"),
            "arch": f"sm_{self._attribute(MAJOR)}{self._attribute(MINOR)}",
            "multiprocessors": self._attribute(MULTIPROCESSORS),
            "l2_bytes": self._attribute(L2_BYTES),
            "driver_api": f"{version.value // 1000}.{version.value % 1000 // 10}",
        }

    def _attribute(self, which: int) -> int:
        value = ctypes.c_int()
        self.call("cuDeviceGetAttribute", ctypes.byref(value), which, self._device)
        return value.value

    def load(self, ptx: str, entry: str) -> Function:
        """Compile PTX for this GPU and find its entry; DriverError with the compiler's words when it refuses."""
        module, function, text = ctypes.c_void_p(), ctypes.c_void_p(), ptx.encode() + b"\0"
        try:
            self.call("cuModuleLoadData", ctypes.byref(module), text)
        except DriverError as error:
            raise DriverError(f"{error}; {self._why(text)}") from None
        self.call("cuModuleGetFunction", ctypes.byref(function), module, entry.encode())
        registers, local = ctypes.c_int(), ctypes.c_int()
        self.call("cuFuncGetAttribute", ctypes.byref(registers), REGISTERS, function)
        self.call("cuFuncGetAttribute", ctypes.byref(local), LOCAL_BYTES, function)
        return Function(function.value or 0, registers.value, local.value)

    def _why(self, text: bytes) -> str:
        """What the driver's compiler says of PTX that it refused."""
        log, module = ctypes.create_string_buffer(LOG_BYTES), ctypes.c_void_p()
        options = (ctypes.c_int * 2)(ERROR_LOG, ERROR_LOG_BYTES)
        values = (ctypes.c_void_p * 2)(ctypes.addressof(log), LOG_BYTES)
        self._lib.cuModuleLoadDataEx(ctypes.byref(module), text, ctypes.c_uint(2), options, values)
        return log.value.decode(errors="replace").strip() or "no words from its compiler"

    def launch(
        self,
        function: Function,
        grid: Sequence[int],
        threads: int,
        shared_bytes: int,
        inputs: Sequence[int],
        scalars: Sequence[int],
        outputs: Sequence[int],
        stream: int = 0,
    ) -> None:
        """Start a kernel: addresses of the inputs, int32 scalars, addresses of the outputs, and nothing else."""
        values: list[Any] = [*map(ctypes.c_void_p, inputs), *map(ctypes.c_int32, scalars)]
        values += map(ctypes.c_void_p, outputs)
        parameters = (ctypes.c_void_p * len(values))(*map(ctypes.addressof, values))
        shape = [ctypes.c_uint(size) for size in (*grid, threads, 1, 1, shared_bytes)]
        handle = ctypes.c_void_p(function.handle)
        self.call("cuLaunchKernel", handle, *shape, ctypes.c_void_p(stream), parameters, None)

    def wait(self) -> None:
        self.call("cuCtxSynchronize")

    def allocate(self, count_bytes: int) -> int:
        address = ctypes.c_uint64()
        self.call("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(max(count_bytes, 1)))
        return address.value

    def free(self, address: int) -> None:
        self.call("cuMemFree_v2", ctypes.c_uint64(address))

    def upload(self, address: int, array: np.ndarray) -> None:
        """A contiguous array to the device."""
        self.call("cuMemcpyHtoD_v2", ctypes.c_uint64(address), ctypes.c_void_p(array.ctypes.data), _size(array))

    def download(self, array: np.ndarray, address: int) -> None:
        """Device memory into a contiguous array."""
        self.call("cuMemcpyDtoH_v2", ctypes.c_void_p(array.ctypes.data), ctypes.c_uint64(address), _size(array))


def _size(array: np.ndarray) -> ctypes.c_size_t:
    return ctypes.c_size_t(array.nbytes)
