"""Standard output and error of a command: what would steer the terminal is shown, not done (errors.shown).

Labels, manifests, checkpoints, file names and titles of videos are written by anybody. They are printed in many places, so
the guard stands where all of them pass.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..errors import shown


class Shown:
    """A text stream that writes what it is given through ``shown``; everything else of it is the stream's own."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        start = "\r" if text.startswith("\r") else ""  # our own counters begin a line again
        self.stream.write(start + shown(text[len(start) :]))
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextmanager
def shown_streams() -> Iterator[None]:
    """Within the block, and for everything that prints."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (one if isinstance(one, Shown) or one is None else Shown(one) for one in before)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def bare(stream: Any) -> Any:
    """The stream behind the guard, for who steers the terminal on purpose and guards the text itself."""
    return stream.stream if isinstance(stream, Shown) else stream
