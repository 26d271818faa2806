"""The draw: seeded, balanced over the classes, the same on every machine; a picture that cannot be used is replaced.

Who calibrates does not judge. A set of up to ``WHOLE`` pictures is looked at as a whole and shared: copies count once, and the
calibration takes at most half of what is left, of each class its share.

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

WHOLE = 512  # pictures up to which a set is looked at as a whole; by default 1,128 are looked at anyway
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

    ``known`` holds digests that must not come again: what calibrates must not judge.  With ``once`` those of this pool are added
    as they come: a copy is no further picture to judge by.
    """

    pool: Pool
    known: set[str] = field(default_factory=set)
    once: bool = False
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
                    if self.once:
                        self.known.add(found.digest)
        return [index in self.items for index in indices]

    def _check(self, index: int) -> Item | UserMistake:
        try:
            return self.pool.item(index).checked()
        except UserMistake as mistake:
            return mistake


def shuffled(count: int, seed: int) -> list[int]:
    """0..count-1 in an order that depends on the seed only; numpy promises that RandomState's stream never changes."""
    return [int(index) for index in np.random.RandomState(seed).permutation(count)]


def balanced(pool: Pool, order: Sequence[int], count: int, usable: Usable, keep_back: int = 0) -> list[int]:
    """``count`` pictures of ``order``, as many of each class as there are, the classes taking turns; fewer when there are no more.

    ``keep_back`` of them are left, of each class its share, so that there are others to judge by.
    """
    queues: dict[object, deque[int]] = {}
    for index in order:
        queues.setdefault(pool.groups[index], deque()).append(index)
    for queue in queues.values():
        for _ in range(len(queue) * keep_back // len(order)):
            queue.pop()
    return draw(list(queues.values()), min(count, len(order) - keep_back), usable)


def share(checker: Checker, count: int, held_out: int, keep_back: int, seed: int) -> tuple[list[int], list[int]]:
    """(those that calibrate, those that judge) of a whole set; ``checker`` lets each contents pass once."""
    total = len(checker.pool.names)
    checker(range(total))
    order = [index for index in shuffled(total, seed) if index in checker.items]
    keep_back = min(keep_back, len(order) // 2)
    drawn = balanced(checker.pool, order, count, lambda some: [True] * len(some), keep_back)
    taken = set(drawn)
    return drawn, [index for index in order if index not in taken][:held_out]


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
