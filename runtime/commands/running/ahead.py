"""Frames -> answers, in their order, several at a time: while one picture is in the engine the next are read and prepared.

For sources that wait for nobody: files and videos. Of a camera the newest frame is wanted and of a pipe whoever writes may wait for
the answer, so there each frame has its answer before the next is asked for.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from ...errors import EdgesmithError

if TYPE_CHECKING:
    from concurrent.futures import Future

Answered = tuple[Any, Any]  # a frame and its answer, None where it has no picture


def at_once(threads: int | None) -> int:
    """How many calls of so many threads fit the processors of this process; of one thread each unless it is said."""
    from ...session.benchmark import processors

    return max(1, processors() // (threads or 1))


def answered(source: Any, answer: Callable[[Any], Any], calls: int) -> Generator[Answered, None, None]:
    """Each frame of ``source`` with what ``answer`` makes of its picture, in their order.

    ``calls``: so many answers at once, and one picture more that is read meanwhile; 0: one after the other. What an answer
    raises is raised in its turn. Nothing is read when the caller has stopped asking, beyond what is on its way. A frame is done with when
    the next is asked for.
    """
    if not calls:
        for frame in source:
            yield frame, _answer(frame, answer)
            source.done(frame)
        return
    from concurrent.futures import ThreadPoolExecutor  # it brings logging, and most runs are of one picture

    free = threading.Semaphore(calls)

    def both(read: Callable[[], Any]) -> Answered:
        frame = read()
        with free:
            return frame, _answer(frame, answer)

    waiting: deque[Future[Answered]] = deque()
    pool = ThreadPoolExecutor(calls + 1, "edgesmith-run")
    try:
        for read in _reads(source):
            waiting.append(pool.submit(both, read))
            if len(waiting) > calls + 1:
                yield waiting[0].result()
                source.done(waiting.popleft().result()[0])
        while waiting:
            yield waiting[0].result()
            source.done(waiting.popleft().result()[0])
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _reads(source: Any) -> Iterator[Callable[[], Any]]:
    """Where a source breaks off, its error comes in its turn too: the frames in front of it get their answers."""
    try:
        yield from source.reads()
    except EdgesmithError as error:
        yield partial(_raised, error)


def _raised(error: EdgesmithError) -> Any:
    raise error


def _answer(frame: Any, answer: Callable[[Any], Any]) -> Any:
    return None if frame.image is None else answer(frame.image)
