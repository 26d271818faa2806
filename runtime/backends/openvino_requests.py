"""One infer request a call: OpenVINO keeps the inputs and outputs of a run in the request, so two calls must never share one.

A graph compiled for one stream runs in the thread that calls, the fastest way for a caller alone; two calls at once would
take turns there. So the first call that finds another one running has the graph compiled a second time, for several
streams, which share one copy of the weights. Who never calls from two threads never pays for that copy.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from ..errors import EdgesmithError
from ..session.benchmark import processors

MOST_STREAMS = 8  # beside the first: each has working memory of its own
log = logging.getLogger("edgesmith")


def streams_beside(threads: int | None) -> int:
    """How many more calls of ``threads`` threads fit the processors of this process beside one; 0 where one call takes all."""
    return min(MOST_STREAMS, processors() // threads - 1) if threads else 0


class Requests:
    """The requests of one graph. ``compiled_for(streams)`` gives OpenVINO's compiled model; it is asked once or twice."""

    def __init__(self, compiled_for: Callable[[int], Any], streams: int) -> None:
        self._compiled_for, self._streams = compiled_for, streams
        self.alone = compiled_for(1)
        self._idle_alone, self._idle_beside = [self.alone.create_infer_request()], []  # type: list[Any], list[Any]
        self._beside: Any = None
        self._compiling = threading.Lock()

    @contextmanager
    def one(self) -> Iterator[Any]:
        """A request that nobody else has until the block ends."""
        idle, request = self._free()
        try:
            yield request
        finally:
            idle.append(request)

    def _free(self) -> tuple[list[Any], Any]:
        """A request and the list that it goes back to; taking from a list and adding to it need no lock."""
        for idle in (self._idle_alone, self._idle_beside):
            with suppress(IndexError):
                return idle, idle.pop()
        with self._compiling:
            if self._beside is None:
                self._beside = self._compile_beside()
        return self._idle_beside, self._beside.create_infer_request()

    def _compile_beside(self) -> Any:
        if self._streams < 1:
            return self.alone
        try:
            return self._compiled_for(self._streams)
        except (EdgesmithError, RuntimeError) as error:  # answers are right without it, only not at the same time
            log.warning("calls from several threads take turns: %s", error)
            return self.alone
