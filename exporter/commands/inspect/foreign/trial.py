"""Does ONNX Runtime run this file, and which shapes are in it? Asked in a process of its own: a foreign graph can end one.

One server a command, started when the first file comes: it has the libraries loaded and forks for every file, with a limit of
memory and time. What it answered for a file is true for the graph, a batch and sizes; those that run later are like it.
"""

from __future__ import annotations

import atexit
import json
import math
import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from .....runtime.errors import UserMistake
from .read import bytes_of
from .words import cannot_run

MOST_PICTURES = 512 * 2**20  # bytes of one batch, as float32
LEAST_BYTES = 600 * 2**20  # of memory, for the smallest file
A_BYTE = 16  # of memory for each byte of weights and of pictures: many times what a network holds at once
LIMIT_S = 20.0
BYTES_A_SECOND = 4 * 2**20  # of weights: a slow machine reads and runs a large network


def try_graph(path: Path, shape: Sequence[int] | None = None, optimise: Sequence[bool] = (True,)) -> None:
    """UserMistake in words where the file does not load, run or end within its time and memory.

    It is run on float32 pictures of ``shape``, (B, 3, H, W); only loaded where that is None.
    """
    if not hasattr(os, "fork"):
        return
    if shape is not None and 4 * math.prod(shape) > MOST_PICTURES:
        raise UserMistake(
            f"{path} takes more pictures at once than can be tried",
            found=f"one batch of {' x '.join(map(str, shape))}, {4 * math.prod(shape) / 1e6:,.0f} MB",
            expected=f"at most {MOST_PICTURES / 1e6:,.0f} MB",
            attempt="a file of a smaller batch, or of an open one",
        )
    told = ask_about(path, task="run", shape=shape, optimise=list(optimise))
    if told.get("mistake"):
        raise UserMistake(**told["mistake"])
    if why := told.get("why"):
        raise cannot_run(path, why)


def ask_about(path: Path, **asked: Any) -> dict[str, Any]:
    """The answer of a child to one question; its "why" says what became of it where it has none."""
    size = bytes_of(path)
    return _server().ask(
        {"path": str(path.absolute()), **asked}, LEAST_BYTES + A_BYTE * size, LIMIT_S + size / BYTES_A_SECOND
    )


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
