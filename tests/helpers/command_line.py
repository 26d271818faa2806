"""The command as a user types it, run in this process: exit code and what went to both streams."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Answer:
    code: int
    out: str
    err: str


def edgesmith(*words: str) -> Answer:
    """``edgesmith WORDS``; the exit code stands in the answer."""
    from edgesmith.exporter.commands.cli import main

    return _answer(main, words)


def on_device(*words: str) -> Answer:
    """The same with the command that a device has."""
    from edgesmith.runtime.commands.cli import main

    return _answer(main, words)


def _answer(main: Callable[[list[str]], None], words: tuple[str, ...]) -> Answer:
    out, err = io.StringIO(), io.StringIO()
    code = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(list(words))
        except SystemExit as leave:
            code = leave.code if isinstance(leave.code, int) else 1
    return Answer(code, out.getvalue(), err.getvalue())
