"""Screens that were looked at, kept for the next instruction: arrays by key, within a budget of bytes.

    pool.put(key, arrays)   what was used longest ago goes, until there is room
    pool.get(key)           the arrays, or None where they went
    pool.pin(key)           they stay until ``unpin``, whatever comes

The budget counts what the pool refers to, to the byte. A click that is running keeps what it reads until it ends, so for that
time there may be more. Safe across threads: nothing is computed or waited for under the lock.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping

import numpy as np

from ....errors import UserMistake

MB = 2**20
DEFAULT_MB = 512.0  # 5 full-HD screens of the 3B model at 16 bits, 18 at 4
Arrays = Mapping[str, np.ndarray]


def budget_bytes(pool_mb: float | None) -> int:
    """UserMistake for a budget that is none."""
    megabytes = DEFAULT_MB if pool_mb is None else pool_mb
    if isinstance(megabytes, bool) or not isinstance(megabytes, (int, float)) or not 0 < megabytes <= 2**30:
        raise UserMistake(
            "the pool of screens needs a size",
            found=repr(pool_mb)[:40],
            expected="megabytes, more than 0",
            attempt=f"--pool-mb {DEFAULT_MB:g}",
        )
    return int(megabytes * MB)


class Pool:
    """Arrays of screens by key; see the module."""

    def __init__(self, budget: int) -> None:
        self.budget_bytes = budget
        self._lock = threading.Lock()
        self._kept: OrderedDict[int, Arrays] = OrderedDict()  # used longest ago first
        self._pinned: set[int] = set()
        self._used = 0

    @property
    def used_bytes(self) -> int:
        """What is kept now."""
        with self._lock:
            return self._used

    def __len__(self) -> int:
        with self._lock:
            return len(self._kept)

    def __contains__(self, key: int) -> bool:
        with self._lock:
            return key in self._kept

    def check_room(self, size: int, what: str) -> None:
        """UserMistake where so many bytes do not fit beside what is pinned; asked before anything is computed."""
        with self._lock:
            pinned = sum(_size(self._kept[key]) for key in self._pinned if key in self._kept)
        if pinned + size <= self.budget_bytes:
            return
        held = f", of which pinned screens hold {_mb(pinned)}" if pinned else ""
        raise UserMistake(
            f"the pool has no room for {what}",
            found=f"a budget of {_mb(self.budget_bytes)}{held}",
            expected=f"{_mb(size)} for this screen" + (", beside what is pinned" if pinned else " alone"),
            attempt=("screen.unpin(), " if pinned else "")
            + f"--pool-mb {-(-(pinned + size) // MB)}, or export with fewer --kv-bits",
        )

    def put(self, key: int, arrays: Arrays, what: str = "this screen") -> None:
        """Keep the arrays; those used longest ago go. UserMistake where pinned ones leave no room: then nothing went."""
        size = _size(arrays)
        if self.budget_bytes:
            self.check_room(size, what)
        with self._lock:
            self._forget(key)
            for other in [one for one in self._kept if one not in self._pinned]:
                if self._used + size <= self.budget_bytes:
                    break
                self._forget(other)
            if self._used + size > self.budget_bytes:
                return  # pinned or closed meanwhile: what was computed serves the one who computed it
            self._kept[key] = arrays
            self._used += size

    def get(self, key: int) -> Arrays | None:
        """The arrays of a screen, which is now the one used last; None where they went."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def pin(self, key: int) -> None:
        """Keep this screen whatever comes; one that is not there is kept from when it comes."""
        with self._lock:
            self._pinned.add(key)

    def unpin(self, key: int) -> None:
        with self._lock:
            self._pinned.discard(key)

    def drop(self, key: int) -> None:
        """Forget a screen, pinned or not."""
        with self._lock:
            self._pinned.discard(key)
            self._forget(key)

    def close(self) -> None:
        """Forget them all; what a computation that still runs puts here is not kept."""
        with self._lock:
            self.budget_bytes = 0
            self._kept.clear()
            self._pinned.clear()
            self._used = 0

    def _forget(self, key: int) -> None:
        arrays = self._kept.pop(key, None)
        self._used -= _size(arrays) if arrays is not None else 0


def _size(arrays: Arrays) -> int:
    return sum(array.nbytes for array in arrays.values())


def _mb(size: int) -> str:
    return f"{size / MB:.1f} MB" if size >= MB // 10 else f"{size:,} bytes"
