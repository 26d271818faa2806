"""libcuda's place taken by Python: memory of the host, and kernels run by Triton's interpreter behind cuLaunchKernel.

As the driver does, it knows nothing of a launch but the entry's parameter list in the PTX and an array of pointers to
arguments; so argument order, sizes and kinds are exercised as they stand. The environment must say TRITON_INTERPRET=1
before Triton is imported, and then no kernel can be compiled in this process.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edgesmith.exporter.plugins.declaration import FusedOp, Variant
from edgesmith.exporter.plugins.pack.compile import entry_parameters, kernel_function
from edgesmith.runtime.plugins.pack import KernelPack

from .interpreted import bfloat16

INVALID_VALUE, INVALID_IMAGE, NOT_FOUND, ILLEGAL_ADDRESS = 1, 200, 500, 700
WORDS = {1: b"invalid value", 200: b"device kernel image is invalid", 500: b"named symbol not found",
         700: b"an illegal memory access was encountered"}  # fmt: skip
BYTES = {"u64": 8, "u32": 4, "b64": 8, "b32": 4}
MAX_GRID_YZ, MAX_THREADS, ALIGNMENT = 65535, 1024, 16


@dataclass(frozen=True)
class Launched:
    """One launch as the driver saw it."""

    entry: str
    grid: tuple[int, int, int]
    threads: int
    shared_bytes: int
    kinds: tuple[str, ...]
    values: tuple[int, ...]


@dataclass
class FakeCuda:
    """The functions of libcuda that driver.py calls; ``run`` False records launches and computes nothing."""

    pack: KernelPack
    ops: dict[str, FusedOp]
    run: bool = True
    launched: list[Launched] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._memory: dict[int, Any] = {}  # address > the block that keeps it
        self._entries: list[str] = []
        self._broken = False
        self._variants: dict[str, tuple[FusedOp, Variant]] = {}
        for name, kernels in self.pack.ops.items():
            kernel = self.ops[name].kernel
            assert kernel is not None and len(kernel.variants) == len(kernels.launches), f"{name}: make kernels"
            for variant, launch in zip(kernel.variants, kernels.launches, strict=True):
                self._variants[launch.entry] = self.ops[name], variant

    def adopt(self, address: int, count_bytes: int) -> None:
        """Memory that somebody else allocated, as torch does on a GPU."""
        self._memory[address] = None, count_bytes

    # --- device and context

    def cuInit(self, flags: Any) -> int:
        return 0

    def cuGetErrorString(self, code: int, words: Any) -> int:
        words._obj.value = WORDS.get(code, b"unknown")
        return 0

    def cuDeviceGet(self, device: Any, ordinal: int) -> int:
        device._obj.value = ordinal
        return 0

    def cuDeviceGetName(self, name: Any, size: int, device: int) -> int:
        name.value = b"Triton's interpreter"
        return 0

    def cuDeviceGetAttribute(self, value: Any, which: int, device: int) -> int:
        value._obj.value = 0
        return 0

    def cuDriverGetVersion(self, value: Any) -> int:
        value._obj.value = 0
        return 0

    def cuDevicePrimaryCtxRetain(self, context: Any, device: int) -> int:
        context._obj.value = 1
        return 0

    def cuCtxSetCurrent(self, context: Any) -> int:
        return 0

    def cuCtxSynchronize(self) -> int:
        return ILLEGAL_ADDRESS if self._broken else 0

    # --- memory

    def cuMemAlloc_v2(self, address: Any, size: ctypes.c_size_t) -> int:
        block = (ctypes.c_char * (size.value + 256))()
        start = -(-ctypes.addressof(block) // 256) * 256
        self._memory[start] = block, size.value
        address._obj.value = start
        return 0

    def cuMemFree_v2(self, address: ctypes.c_uint64) -> int:
        return 0 if self._memory.pop(address.value, None) else INVALID_VALUE

    def cuMemcpyHtoD_v2(self, to: ctypes.c_uint64, source: ctypes.c_void_p, size: ctypes.c_size_t) -> int:
        return self._copy(to.value, to.value, source.value or 0, size.value)

    def cuMemcpyDtoH_v2(self, to: ctypes.c_void_p, source: ctypes.c_uint64, size: ctypes.c_size_t) -> int:
        return self._copy(source.value, to.value or 0, source.value, size.value)

    def _copy(self, device: int, to: int, source: int, size: int) -> int:
        if self._broken:
            return ILLEGAL_ADDRESS
        if self._room(device) < size:
            return INVALID_VALUE
        ctypes.memmove(to, source, size)
        return 0

    def _room(self, address: int) -> int:
        """Bytes from the address to the end of its allocation, 0 outside of all."""
        for start, (_, size) in self._memory.items():
            if start <= address < start + size:
                return int(start + size - address)
        return 0

    # --- code

    def cuModuleLoadData(self, module: Any, image: bytes) -> int:
        text = image.rstrip(b"\0").decode()
        named = [entry for entry in self.pack.ptx if f".entry {entry}(" in text]
        if not image.endswith(b"\0") or len(named) != 1 or self.pack.ptx[named[0]] != text:
            return INVALID_IMAGE
        self._entries.append(named[0])
        module._obj.value = len(self._entries)
        return 0

    def cuModuleLoadDataEx(self, module: Any, image: bytes, count: Any, options: Any, values: Any) -> int:
        said = b"ptxas: not the text of the pack"
        ctypes.memmove(values[list(options).index(5)], said, len(said))
        return INVALID_IMAGE

    def cuModuleGetFunction(self, function: Any, module: ctypes.c_void_p, name: bytes) -> int:
        if self._entries[(module.value or 0) - 1] != name.decode():
            return NOT_FOUND
        function._obj.value = module.value
        return 0

    def cuFuncGetAttribute(self, value: Any, which: int, function: Any) -> int:
        value._obj.value = 0
        return 0

    def cuLaunchKernel(
        self, function: Any, x: Any, y: Any, z: Any, threads: Any, one: Any, other: Any, shared: Any, stream: Any,
        parameters: Any, extra: Any,
    ) -> int:  # fmt: skip
        if self._broken:
            return ILLEGAL_ADDRESS
        entry = self._entries[function.value - 1]
        kinds = tuple(kind for kind, _ in entry_parameters(self.pack.ptx[entry], entry))
        values = tuple(
            int.from_bytes(ctypes.string_at(parameters[index], BYTES[kind]), "little", signed=kind.endswith("32"))
            for index, kind in enumerate(kinds)
        )
        grid = x.value, y.value, z.value
        self.launched.append(Launched(entry, grid, threads.value, shared.value, kinds, values))
        if min(grid) < 1 or max(grid[1:]) > MAX_GRID_YZ or (one.value, other.value) != (1, 1):
            return INVALID_VALUE
        if not 0 < threads.value <= MAX_THREADS:
            return INVALID_VALUE
        if any(kind.endswith("64") and (not self._room(value) or value % ALIGNMENT)
               for kind, value in zip(kinds, values, strict=True)):  # fmt: skip
            self._broken = True  # as on a GPU: the launch itself goes well, and then nothing does
            return 0
        if self.run:
            self._interpret(entry, grid, values)
        return 0

    def _interpret(self, entry: str, grid: tuple[int, ...], values: Iterable[int]) -> None:
        import torch

        assert os.environ.get("TRITON_INTERPRET") == "1"
        op, variant = self._variants[entry]
        assert op.kernel is not None
        schema, arguments = op.schema, list(values)
        kinds = [tensor.type_for(variant.type) for tensor in schema.inputs]
        kinds += [""] * len(op.kernel.scalars) + [tensor.type_for(variant.type) for tensor in schema.outputs]
        for index, kind in enumerate(kinds):
            if kind:
                room = self._room(arguments[index])
                view = (ctypes.c_char * room).from_address(arguments[index])
                type_ = getattr(torch, kind)
                arguments[index] = torch.frombuffer(view, dtype=type_, count=room // type_.itemsize)
        with np.errstate(all="ignore"), bfloat16():
            kernel_function(op.kernel)[grid](*arguments, **variant.constants)
