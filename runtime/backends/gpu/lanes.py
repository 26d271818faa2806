"""Several runs of one engine side by side: each has a lane of its own, made when the first call finds all others busy."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ...errors import EdgesmithError, UserMistake
from .lane import Lane

MOST_STREAMS = 16  # each has memory for the activations of a run
log = logging.getLogger("edgesmith")


class Lanes:
    """At most ``most`` lanes; callers beyond wait for their turn. The first is made at once, and its failure is the caller's."""

    def __init__(self, make: Callable[[], Lane], most: int = 1) -> None:
        self._make, self._most = make, most
        first = make()
        self.all = [first]
        self._idle, self._change = [first], threading.Condition()

    @contextmanager
    def one(self) -> Iterator[Lane]:
        """A lane that nobody else has until the block ends."""
        lane = self._taken()
        try:
            yield lane
        finally:
            with self._change:
                self._idle.append(lane)
                self._change.notify()

    def _taken(self) -> Lane:
        with self._change:
            while not self._idle and len(self.all) >= self._most:
                self._change.wait()
            if self._idle:
                return self._idle.pop()
            try:
                lane = self._make()
            except (EdgesmithError, RuntimeError) as error:  # answers are right with fewer, only later
                self._most = len(self.all)
                log.warning("%d runs side by side, and no more: %s", self._most, error)
            else:
                self.all.append(lane)
                return lane
        return self._taken()

    def close(self) -> None:
        """Give all back; nobody runs any more."""
        for lane in self.all:
            lane.close()
        self.all, self._idle = [], []


def check_streams(streams: int) -> None:
    """UserMistake for a count that is none."""
    if type(streams) is not int or not 1 <= streams <= MOST_STREAMS:
        raise UserMistake("streams are counted", found=repr(streams)[:40], expected=f"1 to {MOST_STREAMS}")
