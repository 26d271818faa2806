"""A camera or a stream: the newest frame there is."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from .capture import OPEN_S, STALL_S, fps_of, read_into, to_rgb
from .frame import Frame, Source, stalled, unread

MOST_IN_A_ROW = 100  # reads that may fail one after the other before the source counts as ended


class Live(Source):
    """A camera or a stream: a thread reads, the newest frame is handed out.

    A read that fails is a lost frame when another one comes behind it. After ``MOST_IN_A_ROW`` of them, or when they have
    taken ``stall_s``, the source has ended.
    """

    kind = "live"

    def __init__(self, name: str, capture: Any, stall_s: float | None = None) -> None:
        super().__init__(name)
        self.capture, self.stall_s = capture, STALL_S if stall_s is None else stall_s
        self.fps = fps_of(capture)
        self._news = threading.Condition()
        self._newest: tuple[int, float, np.ndarray, int] | None = (
            None  # number, when, pixels, how many were lost so far
        )
        self._spare: list[np.ndarray] = []  # pixels that nobody reads any more, for the frames to come
        self._ended = self._stopped = False
        self._failing_s = 0.0  # since the last frame, in reads that gave none
        self._reader = threading.Thread(target=self._read, name="edgesmith-reader", daemon=True)

    def _read(self) -> None:
        index = lost = failed = 0
        begun = time.perf_counter()  # the first of the reads that failed since the last frame
        while not (self._stopped or self._ended):
            asked = time.perf_counter()
            pixels = read_into(self.capture, self._spare.pop() if self._spare else None)
            there, now = pixels is not None, time.perf_counter()
            if there:
                index, lost, failed = index + failed, lost + failed, 0
            else:
                begun = begun if failed else asked
                failed += 1
            with self._news:
                self._failing_s = 0.0 if there else now - begun
                if pixels is not None:
                    if self._newest is not None:  # nobody has asked for it
                        self._spare.append(self._newest[2])
                    self._newest = (index, now, pixels, lost)
                self._ended = failed >= MOST_IN_A_ROW or self._failing_s >= 0.9 * self.stall_s
                if there or self._ended:
                    self._news.notify()
            index += there
        self.capture.release()  # here: releasing under a read of another thread crashes FFmpeg

    def __iter__(self) -> Iterator[Frame]:
        self._reader.start()
        first_s, seen, taken, told = None, -1, 0, 0
        while True:
            waited = time.perf_counter()
            with self._news:
                self._news.wait_for(lambda: self._newest is not None or self._ended, self.stall_s if taken else OPEN_S)
                newest, self._newest = self._newest, None
                ended, failing_s = self._ended, self._failing_s
            if newest is None:
                # the reads that gave up may have begun long before we came to wait for them
                wait_s = max(time.perf_counter() - waited, failing_s if ended else 0)
                if not ended or wait_s >= 0.9 * self.stall_s or taken == 0:
                    raise stalled(self.name, taken, wait_s, self.stall_s)
                self.notes.append(f"{self.name} ended after {seen + 1} frames")
                return
            index, at, pixels, lost = newest
            if lost > told:
                yield unread(self.name, seen + 1, lost - told)
            self.dropped += max(index - seen - 1 - (lost - told), 0)
            first_s = at if first_s is None else first_s
            seen, taken, told = index, taken + 1, lost
            image = to_rgb(pixels, self.memory)
            self._spare.append(pixels)
            read_ms = (time.perf_counter() - waited) * 1e3
            yield Frame(seen, self.name, at - first_s, image, None, read_ms, taken_s=at)

    def close(self) -> None:
        self._stopped = True
        if self._reader.is_alive():
            self._reader.join(timeout=2.0)  # a hanging read ends with the process
        elif self._reader.ident is None:
            self.capture.release()
