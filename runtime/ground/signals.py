"""A command that is told to stop cleans up as after Ctrl-C: SIGTERM of a service manager, SIGHUP of a closed terminal.

That Ctrl-C came is noted, too: a library that it interrupts in the middle of its import says something else of it.

Only commands do this, once, at their start (__main__.py); a program that imports us keeps its own handlers.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

STOPPED = (signal.SIGTERM, signal.SIGHUP)
_received: list[int] = []


class Stopped(KeyboardInterrupt):
    """As Ctrl-C for all that cleans up on the way out."""


@contextmanager
def stopping_like_interrupt() -> Iterator[None]:
    """Inside, these signals raise ``Stopped``; one that is ignored, as nohup does with SIGHUP, stays ignored."""
    ours = [number for number in STOPPED if signal.getsignal(number) == signal.SIG_DFL]
    for number in ours:
        signal.signal(number, _stop)
    interrupts = signal.getsignal(signal.SIGINT) in (signal.SIG_DFL, signal.default_int_handler)
    if interrupts:
        signal.signal(signal.SIGINT, _interrupt)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)
        if interrupts:
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # the process ends: without a traceback from there, too


def exit_code() -> int:
    """What the shell is told of a command that was stopped: 128 and the number of the signal."""
    return 128 + next((number for number in _received if number != signal.SIGINT), signal.SIGINT)


def told() -> str:
    """``interrupted``, or which signal it was."""
    by = next((number for number in _received if number != signal.SIGINT), None)
    return "interrupted" if by is None else f"stopped by {signal.Signals(by).name}"


def tell(more: str = "") -> int:
    """Say it on stderr, also where that is a terminal that has gone; the exit code."""
    with suppress(OSError):
        print(f"edgesmith: {told()}{more}", file=sys.stderr, flush=True)
    try:
        sys.stdout.flush()
    except OSError:  # else the interpreter fails over it on its way out, with a code of its own
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return exit_code()


def stopped() -> bool:
    """Whether a signal has come; an error on the way out, such as a line for a terminal that has gone, is its doing."""
    return bool(_received)


def _interrupt(number: int, _frame: object) -> None:
    _received.append(number)
    raise KeyboardInterrupt


def _stop(number: int, _frame: object) -> None:
    if not any(
        one in STOPPED for one in _received
    ):  # often both come, and again: what cleans up is not stopped in the middle
        _received.append(number)
        raise Stopped
