"""One tensor on the device between two fences, so that a write or a read beside it is found.

    | fence | data | fence |      the second fence starts at the very next byte

A kernel that writes beside its output breaks a fence; one that reads beside its input gets NaN.
"""

from __future__ import annotations

import numpy as np

from .driver import Driver

FENCE_BYTES = 64 * 1024  # a multiple of 256, at which the driver's allocations start
NAN_BYTE = 0xFF  # NaN in every float type when all bytes are it


class Fenced:
    """A tensor of the device between two fences of ``byte``."""

    def __init__(self, driver: Driver, count_bytes: int, byte: int = NAN_BYTE, fence_bytes: int = FENCE_BYTES) -> None:
        self._driver, self.count_bytes, self._byte, self._fence = driver, count_bytes, byte, fence_bytes
        self._start = driver.allocate(count_bytes + 2 * fence_bytes)
        self.address = self._start + fence_bytes

    def fill(self, data: np.ndarray | int) -> None:
        """Write the data, or one byte all over it, and both fences."""
        block = np.full(self.count_bytes + 2 * self._fence, self._byte, np.uint8)
        inside = block[self._fence : self._fence + self.count_bytes]
        inside[:] = data if isinstance(data, int) else np.ascontiguousarray(data).reshape(-1).view(np.uint8)
        self._driver.upload(self._start, block)

    def read(self) -> tuple[np.ndarray, list[int]]:
        """(bytes of the data, offsets from the data's start of up to eight broken fence bytes)."""
        block = np.empty(self.count_bytes + 2 * self._fence, np.uint8)
        self._driver.download(block, self._start)
        inside = block[self._fence : self._fence + self.count_bytes].copy()
        block[self._fence : self._fence + self.count_bytes] = self._byte
        broken = np.flatnonzero(block != self._byte)[:8] - self._fence
        return inside, [int(offset) for offset in broken]

    def close(self) -> None:
        self._driver.free(self._start)
