"""The draw: seeded, balanced over the classes, the same on every machine; a picture that cannot be used is replaced.

Decoding is checked in threads (OpenCV works outside Python's lock), the outcome does not depend on their number.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from ...runtime.errors import UserMistake
from .items import Item, Pool

Usable = Callable[[Sequence[int]], Sequence[bool]]


@dataclass(frozen=True)
class Skipped:
    """A picture that was looked at and cannot be used."""

    name: str
    why: str
    attempt: str = ""  # what to do about it, where that is more than to look at it


@dataclass
class Checker:
    """Checks pictures of one pool: keeps the good items, says why the others were skipped.

    ``known`` holds digests that must not come again: what calibrates must not judge.
    """

    pool: Pool
    known: frozenset[str] = frozenset()
    seen: set[int] = field(default_factory=set)
    items: dict[int, Item] = field(default_factory=dict)
    skipped: list[Skipped] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)

    def __call__(self, indices: Sequence[int]) -> list[bool]:
        self.seen.update(indices)
        with ThreadPoolExecutor(min(os.cpu_count() or 1, 8)) as threads:
            for index, found in zip(indices, threads.map(self._check, indices), strict=True):
                if isinstance(found, UserMistake):
                    why = found.found or found.what
                    self.skipped.append(Skipped(printable(self.pool.names[index]), why, found.attempt))
                elif found.digest in self.known:
                    self.repeated.append(self.pool.names[index])
                else:
                    self.items[index] = found
        return [index in self.items for index in indices]

    def _check(self, index: int) -> Item | UserMistake:
        try:
            return self.pool.item(index).checked()
        except UserMistake as mistake:
            return mistake


def shuffled(count: int, seed: int) -> list[int]:
    """0..count-1 in an order that depends on the seed only; numpy promises that RandomState's stream never changes."""
    return [int(index) for index in np.random.RandomState(seed).permutation(count)]


def balanced(pool: Pool, count: int, seed: int, usable: Usable) -> list[int]:
    """``count`` pictures, as many of each class as there are, the classes taking turns; fewer when there are no more."""
    queues: dict[object, deque[int]] = {}
    for index in shuffled(len(pool.names), seed):
        queues.setdefault(pool.groups[index], deque()).append(index)
    return draw(list(queues.values()), count, usable)


def draw(queues: Sequence[deque[int]], count: int, usable: Usable) -> list[int]:
    """Take turns at the queues; a picture that is not usable is replaced by the next of its own queue, while it lasts."""
    drawn: list[int] = []
    while len(drawn) < count and any(queues):  # again when a class ran out of good pictures: the others fill its place
        slots = _deal(queues, count - len(drawn))
        waiting = list(range(len(slots)))
        while waiting:
            fine = usable([slots[slot][1] for slot in waiting])
            waiting = [slot for slot, good in zip(waiting, fine, strict=True) if not good]
            for slot in waiting:
                queue = slots[slot][0]
                slots[slot] = (queue, queue.popleft() if queue else -1)
            waiting = [slot for slot in waiting if slots[slot][1] >= 0]
        drawn += [index for _, index in slots if index >= 0]
    return drawn


def _deal(queues: Sequence[deque[int]], count: int) -> list[tuple[deque[int], int]]:
    dealt: list[tuple[deque[int], int]] = []
    while len(dealt) < count and any(queues):
        dealt += [(queue, queue.popleft()) for queue in [q for q in queues if q][: count - len(dealt)]]
    return dealt


def printable(name: str) -> str:
    """A file name as it may stand on a screen: control characters and bytes that are no UTF-8 are escaped."""
    return name if name.isprintable() else name.encode("unicode_escape").decode("ascii")
