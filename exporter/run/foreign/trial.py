"""Questions about a file of somebody else, answered in a process of its own: a foreign graph can end one.

One server a command, started when the first file comes: it has the libraries loaded and forks for every question, with a limit
of memory and time. What it answered for a file is true for the graph, a batch and sizes; those that run later are like it.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from .read import bytes_of

LEAST_BYTES = 600 * 2**20  # of memory, for the smallest file
A_BYTE = 16  # of memory for each byte of weights and of pictures: many times what a network holds at once
LIMIT_S = 20.0
BYTES_A_SECOND = 4 * 2**20  # of weights: a slow machine reads and runs a large network


def ask_about(path: Path, task: str, patience: float = 1, **asked: Any) -> dict[str, Any]:
    """What ``task``, "module:function", answers to ``asked`` in a child; "why" says what became of one that has no answer.

    What is asked and answered travels as JSON. ``patience``: how many times the usual time it may take.
    """
    size, words = bytes_of(path), {"path": str(path.absolute()), "task": task}
    limit_s = patience * (LIMIT_S + size / BYTES_A_SECOND)
    return _server().ask({**words, **asked}, LEAST_BYTES + A_BYTE * size, limit_s)


class _Server:
    """The process that forks; requests and answers are lines of JSON."""

    def __init__(self) -> None:
        paths = os.pathsep.join([os.environ.get("PYTHONPATH", ""), *map(os.path.abspath, filter(None, sys.path))])
        environment = {**os.environ, "PYTHONSAFEPATH": "1", "PYTHONPATH": paths.strip(os.pathsep)}
        self.pid = os.getpid()
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"{__package__}.child"], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip

        atexit.register(self.close)

    def close(self) -> None:
        """It ends when nobody can ask any more."""
        if self.pid == os.getpid() and self._process.stdin is not None and self._process.stdout is not None:
            with suppress(OSError):  # it has ended already
                self._process.stdin.close()
            self._process.wait()
            self._process.stdout.close()

    def alive(self) -> bool:
        return self.pid == os.getpid() and self._process.poll() is None

    def ask(self, request: Mapping[str, Any], memory: int, limit_s: float) -> dict[str, Any]:
        assert self._process.stdin is not None and self._process.stdout is not None
        line = json.dumps({**request, "memory": memory, "limit_s": limit_s})
        with self._lock:
            try:
                self._process.stdin.write(line + "\n")
                self._process.stdin.flush()
                answer = self._process.stdout.readline()
            except OSError:
                answer = ""
        return json.loads(answer) if answer else {"why": "the process that was to try it could not be started"}


_known: list[_Server] = []


def _server() -> _Server:
    while _known and not _known[-1].alive():
        _known.pop().close()
    if not _known:
        _known.append(_Server())
    return _known[-1]
