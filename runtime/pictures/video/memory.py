"""The memory of frames that are done with is that of the frames to come: nothing of a frame's size is allocated once it runs.

    take -> a frame is read into it -> its answer -> ``back`` -> take ...

Asked for by who knows when a frame is done with, as ``edgesmith run`` does (``Source.memory``). Who iterates over frames and
keeps them, as a program may, gets each in memory of its own.
"""

from __future__ import annotations

import math
import threading

import numpy as np

MOST = 8  # pieces that wait to be used again: more than there are frames on their way on the processors of a device


class Memory:
    """Pieces of memory for pictures, uint8; any thread may ask for one or bring it back."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._free: list[np.ndarray] = []

    def take(self, shape: tuple[int, ...]) -> np.ndarray:
        """uint8 of that shape, contiguous, not initialised; the smallest piece that fits, else a new one."""
        size = math.prod(shape)
        with self._lock:
            fitting = [place for place, piece in enumerate(self._free) if piece.size >= size]
            place = min(fitting, key=lambda place: self._free[place].size, default=None)
            piece = np.empty(size, np.uint8) if place is None else self._free.pop(place)
        return piece[:size].reshape(shape)

    def back(self, picture: np.ndarray) -> None:
        """Nobody looks at the picture any more. One that is no piece of this memory is left alone."""
        piece = _whole(picture)
        if piece is None:
            return
        with self._lock:
            if any(piece is other for other in self._free):
                return
            self._free.append(piece)
            if len(self._free) > MOST:
                smallest = min(range(len(self._free)), key=lambda place: self._free[place].size)
                self._free.pop(smallest)


def _whole(picture: np.ndarray) -> np.ndarray | None:
    """What ``take`` cut the picture from; None where that is no memory of NumPy's own, such as a library's or a file's."""
    piece = picture
    while isinstance(piece.base, np.ndarray):
        piece = piece.base
    return piece if piece.base is None and piece.ndim == 1 and piece.dtype == np.uint8 and piece.flags.owndata else None


def into(memory: Memory | None, shape: tuple[int, ...]) -> np.ndarray | None:
    """Where a picture of this shape goes; None: wherever there is room, as without a memory."""
    return None if memory is None else memory.take(shape)
