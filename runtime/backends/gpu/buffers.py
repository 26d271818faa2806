"""Where the inputs and outputs of an engine lie, and how they get there.

    mapped  pinned memory of the host, which the GPU reads and writes where it lies: right where both share one memory
    copied  memory of the GPU, and a copy each way: right where reading over the bus costs more than a copy

Which is faster on a board is a measurement (``edgesmith bench``), not a belief: a GPU that reads mapped memory passes by a part of
its cache. A buffer grows when something larger comes, and then lies elsewhere.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from typing import Protocol

import numpy as np

from ...errors import UserMistake
from .cuda import Cuda, Device

MAPPED, COPIED = "mapped", "copied"
WAYS = (MAPPED, COPIED)


def usual_way(cuda: Cuda, device: Device) -> str:
    """How tensors get to this GPU where nobody says."""
    return MAPPED if device.integrated and cuda.can_map() else COPIED


class Buffers(Protocol):
    """The memory of one lane."""

    def put(self, name: str, array: np.ndarray, stream: int) -> int:
        """An input, contiguous, on its way to the GPU; the address there. It must live until ``fetch``."""
        ...

    def room(self, name: str, count_bytes: int) -> int:
        """The address on the GPU of an output."""
        ...

    def fetch(self, results: Mapping[str, np.ndarray], stream: int) -> None:
        """Wait for the stream; then the outputs are in these arrays, contiguous."""
        ...

    def free(self) -> None:
        """Give all back."""
        ...


class Copied:
    """Memory of the GPU and copies."""

    def __init__(self, cuda: Cuda) -> None:
        self._cuda = cuda
        self._held: dict[str, tuple[int, int]] = {}  # name -> (address, bytes)

    def put(self, name: str, array: np.ndarray, stream: int) -> int:
        address = self.room(name, array.nbytes)
        self._cuda.upload(address, array, stream)
        return address

    def room(self, name: str, count_bytes: int) -> int:
        address, held = self._held.get(name, (0, -1))
        if held < count_bytes:
            if held >= 0:
                del self._held[name]
                self._cuda.free(address)
            address = self._cuda.allocate(count_bytes)
            self._held[name] = (address, count_bytes)
        return address

    def fetch(self, results: Mapping[str, np.ndarray], stream: int) -> None:
        for name, array in results.items():
            self._cuda.download(array, self._held[name][0], stream)
        self._cuda.wait(stream)

    def free(self) -> None:
        held, self._held = self._held, {}
        for address, _ in held.values():
            self._cuda.free(address)


class Mapped:
    """Memory of the host that the GPU sees. The CPU touches it only while nothing runs: before a run and after ``wait``."""

    def __init__(self, cuda: Cuda) -> None:
        self._cuda = cuda
        self._held: dict[str, tuple[int, int, int]] = {}  # name -> (address here, address there, bytes)

    def put(self, name: str, array: np.ndarray, stream: int) -> int:
        address = self.room(name, array.nbytes)
        ctypes.memmove(self._held[name][0], array.ctypes.data, array.nbytes)
        return address

    def room(self, name: str, count_bytes: int) -> int:
        here, there, held = self._held.get(name, (0, 0, -1))
        if held < count_bytes:
            if held >= 0:
                del self._held[name]
                self._cuda.free_mapped(here)
            here, there = self._cuda.allocate_mapped(count_bytes)
            self._held[name] = (here, there, count_bytes)
        return there

    def fetch(self, results: Mapping[str, np.ndarray], stream: int) -> None:
        self._cuda.wait(stream)
        for name, array in results.items():
            ctypes.memmove(array.ctypes.data, self._held[name][0], array.nbytes)

    def free(self) -> None:
        held, self._held = self._held, {}
        for here, _, _ in held.values():
            self._cuda.free_mapped(here)


def buffers_of(way: str, cuda: Cuda) -> Buffers:
    """Empty buffers of one of the two ways."""
    return Mapped(cuda) if way == MAPPED else Copied(cuda)


def check_way(way: str | None) -> None:
    """UserMistake for a word that is none of them."""
    if way not in (None, *WAYS):
        raise UserMistake("tensors get to the GPU in two ways", found=repr(way)[:40], expected=", ".join(WAYS))
