"""Standard output and error of a command: guarded against what steers a terminal, against letters that they cannot spell, and
against their loss.

Labels, manifests, checkpoints, file names and titles of videos are written by anybody. They are printed in many places, so
the guard stands where all of them pass. A stream that is lost (its reader has left, the disk behind it is full) takes
nothing more and ends nothing: what is measured and saved meanwhile is worth more than its lines. ``closing`` tells it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from ..errors import shown

READER_LEFT = 141  # what a shell says of a program that SIGPIPE ended
NOT_WRITTEN = 74  # EX_IOERR of sysexits.h


class Loss:
    """Why a stream is lost, None while it is not."""

    def __init__(self) -> None:
        self.error: OSError | None = None


class Safe:
    """A text stream whose loss is noted and not raised; everything else of it is the stream's own."""

    def __init__(self, stream: Any, loss: Loss) -> None:
        self.stream, self.loss = stream, loss

    def write(self, text: str) -> int:
        if self.loss.error is None:
            try:
                self.stream.write(text)
            except OSError as error:
                self._lose(error)
        return len(text)

    def flush(self) -> None:
        if self.loss.error is None:
            try:
                self.stream.flush()
            except OSError as error:
                self._lose(error)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def _lose(self, error: OSError) -> None:
        self.loss.error = error
        with suppress(OSError, ValueError):  # what is still in the buffer would be tried again on the way out
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.stream.fileno())

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


class Shown(Safe):
    """One that writes what it is given through ``shown``."""

    def __init__(self, stream: Any, loss: Loss | None = None) -> None:
        super().__init__(stream, loss or Loss())

    def write(self, text: str) -> int:
        start = "\r" if text.startswith("\r") else ""  # our own counters begin a line again
        super().write(start + shown(text[len(start) :]))
        return len(text)


@contextmanager
def shown_streams() -> Iterator[None]:
    """Within the block, and for everything that prints."""
    before: tuple[Any, Any] = (sys.stdout, sys.stderr)
    spelling = [_spell_all(one) for one in before]
    sys.stdout, sys.stderr = (one if isinstance(one, Shown) or one is None else Shown(one) for one in before)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
        for stream, errors in zip(before, spelling, strict=True):
            if errors:
                with suppress(OSError, ValueError):
                    stream.reconfigure(errors=errors)


def _spell_all(stream: Any) -> str:
    """A letter that the stream's encoding lacks becomes its number, as JSON and Python spell it; the rule before."""
    if isinstance(stream, Shown) or not hasattr(stream, "reconfigure"):
        return ""
    before = str(stream.errors)
    stream.reconfigure(errors="backslashreplace")
    return before


def hold_streams() -> None:
    """Before anything is opened: a closed stream becomes one that leads nowhere.

    Else the next file that is opened has its number, and what a library prints there stands in that file. Standard input
    stays None for Python, so that who asks for it is told.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number is this one
    sys.stdout = sys.stdout or open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 for all that follows
    sys.stderr = sys.stderr or open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115


def bare(stream: Any) -> Any:
    """The stream without the guard of the text, for who steers the terminal on purpose and guards the text itself."""
    return Safe(stream.stream, stream.loss) if isinstance(stream, Shown) else stream


def lost() -> OSError | None:
    """Why standard output takes nothing more; None while it does."""
    return sys.stdout.loss.error if isinstance(sys.stdout, Safe) else None


def forgive() -> None:
    """That the reader of the output has left is what was wanted: the exit code does not tell it."""
    if isinstance(sys.stdout, Safe) and isinstance(sys.stdout.loss.error, BrokenPipeError):
        sys.stdout.loss.error = None


def closing(code: int) -> int:
    """At the very end: what waits in the buffers is written; the exit code, which tells what could not be.

    A reader that has left is no news to anybody; another loss is told in words.
    """
    if sys.stdout is not None:
        sys.stdout.flush()
    error = lost()
    if error is not None and not isinstance(error, BrokenPipeError):
        text = error.strerror or str(error)
        print(f"edgesmith: the output could not be written\n  found     {text}", file=sys.stderr)
    if sys.stderr is not None:
        sys.stderr.flush()
    if code or error is None:
        return code
    return READER_LEFT if isinstance(error, BrokenPipeError) else NOT_WRITTEN
