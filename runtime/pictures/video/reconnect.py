"""A camera or a stream that is opened again when it is lost, for ``--reconnect``.

Lost is one that stalls, that ends, or whose reads fail. It is opened again at once, then after 1, 2, 4 ... seconds, at most
``LONGEST_WAIT_S``; with its first new frame the outage is over, which is told by a Frame with ``outage_s``. After
``GIVE_UP_S`` seconds without a frame it is a UserMistake. Numbers and times of frames go on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace

from ...errors import UserMistake
from .frame import Frame, Source

FIRST_WAIT_S, LONGEST_WAIT_S, GIVE_UP_S = 1.0, 30.0, 300.0


class Reconnect(Source):
    """``first`` is open; ``again`` opens the same source anew, or raises UserMistake."""

    kind = "live"

    def __init__(
        self,
        first: Source,
        again: Callable[[], Source],
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        super().__init__(first.name)
        self.fps, self._again, self._sleep, self._clock = first.fps, again, sleep, clock
        self._source: Source | None = first

    def __iter__(self) -> Iterator[Frame]:
        begun = lost_at = self._clock()
        index, wait_s, lost, why = 0, 0.0, False, f"{self.name} ended"
        while True:
            try:
                before, since_s, dropped = index, self._clock() - begun, self.dropped
                source = self._source
                if source is not None:
                    source.memory = self.memory
                for frame in source or ():
                    self.dropped = dropped + (source.dropped if source else 0)
                    if lost and frame.image is not None:
                        self.outages += 1
                        yield Frame(index, self.name, None, None, outage_s=self._clock() - lost_at)
                        lost, wait_s, since_s = False, 0.0, self._clock() - begun
                    time_s = None if frame.time_s is None else frame.time_s + (since_s if before else 0.0)
                    index = before + frame.index + max(frame.lost, 1)
                    yield replace(frame, index=before + frame.index, time_s=time_s)
                why = f"{self.name} ended"
            except UserMistake as mistake:
                why = mistake.what
            self.close()
            if not lost:
                lost, lost_at = True, self._clock()
            self._source, wait_s = self._opened(lost_at, wait_s, why)

    def _opened(self, lost_at: float, wait_s: float, why: str) -> tuple[Source, float]:
        """The source, open again, and how long to wait before the next time. UserMistake when it is time to give up."""
        while True:
            if self._clock() - lost_at + wait_s > GIVE_UP_S:
                raise UserMistake(
                    f"{self.name} was lost and does not come back",
                    found=f"{why}; nothing for {self._clock() - lost_at:.0f} s",
                    expected=f"a frame within {GIVE_UP_S:.0f} s",
                    because=f"it came back {self.outages} times before" if self.outages else "",
                    attempt="look at it in a player; then run again",
                )
            self._sleep(wait_s)
            wait_s = min(max(2 * wait_s, FIRST_WAIT_S), LONGEST_WAIT_S)
            try:
                return self._again(), wait_s
            except UserMistake as mistake:
                why = mistake.what

    def close(self) -> None:
        source, self._source = self._source, None
        if source is not None:
            source.close()
