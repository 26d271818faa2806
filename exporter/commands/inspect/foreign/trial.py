"""Does ONNX Runtime run this file, and which shapes are in it? Asked in a process of its own: a foreign graph can end one.

One server a command, started when the first file comes: it has the libraries loaded and forks for every file, with a limit of
memory and time. What it answered for a file is true for the graph, a batch and sizes; those that run later are like it.
"""

from __future__ import annotations

import atexit
import json
import math
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from .....runtime.errors import UserMistake
from .read import bytes_of
from .words import cannot_run, said

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
            [sys.executable, "-m", __name__], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
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


def serve() -> None:
    """Answer requests until nobody asks any more."""
    import onnx_ir  # noqa: F401 loaded once, for all
    import onnxruntime  # noqa: F401

    from . import graphs  # noqa: F401

    for line in sys.stdin:
        asked = json.loads(line)
        print(json.dumps(_forked(asked)), flush=True)


def _forked(asked: Mapping[str, Any]) -> dict[str, Any]:
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        answer: dict[str, Any]
        try:
            answer = TASKS[asked["task"]](asked)
        except MemoryError:
            answer = {"why": _too_large(asked)}
        with os.fdopen(write, "wb") as file:
            file.write(json.dumps(answer).encode())
        os._exit(0)
    os.close(write)
    ready = select.select([read], [], [], asked["limit_s"])[0]
    said_by_it = b"".join(iter(lambda: os.read(read, 1 << 16), b"")) if ready else b""
    os.close(read)
    if not ready:
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if said_by_it:
        told: dict[str, Any] = json.loads(said_by_it)
        return told
    if not ready:
        return {"why": f"it was still running after {asked['limit_s']:.0f} s, on one batch"}
    return {"why": f"the process that ran it ended, status {status}: the graph makes ONNX Runtime itself fail"}


def _too_large(asked: Mapping[str, Any]) -> str:
    return f"it takes more than {asked['memory'] / 1e6:,.0f} MB of memory, many times its weights"


def _tried(asked: Mapping[str, Any]) -> dict[str, Any]:
    """In the child: read, load and run it once."""
    import numpy as np

    from .....graph.run import open_session
    from .graphs import read_picture_graph

    os.close(0)
    try:
        foreign = read_picture_graph(Path(asked["path"]), tried=True)
    except UserMistake as error:
        return {"mistake": {"what": error.what, "found": error.found, "expected": error.expected,
                            "because": error.because, "attempt": error.attempt}}  # fmt: skip
    _limit(asked["memory"] + A_BYTE * 4 * int(np.prod(asked["shape"] or 1)))
    try:
        images = np.random.default_rng(0).standard_normal(asked["shape"] or 1, dtype=np.float32)
        for optimise in asked["optimise"]:
            session = open_session(foreign.model, optimise=optimise, threads=1)
            if asked["shape"]:
                session.run(None, {session.get_inputs()[0].name: images})
    except Exception as error:  # noqa: BLE001 whatever it raises is its answer
        if isinstance(error, MemoryError) or "bad_alloc" in str(error) or "Failed to allocate" in str(error):
            return {"why": _too_large(asked)}
        return {"why": said(error)}
    return {}


def _shapes(asked: Mapping[str, Any]) -> dict[str, Any]:
    """In the child: read the file, which is sound, and infer."""
    from .read import look_through
    from .shapes import infer_shapes

    os.close(0)
    _limit(asked["memory"])
    return {"shapes": infer_shapes(look_through(Path(asked["path"]))[0])}


TASKS = {"run": _tried, "shapes": _shapes}


def _limit(more: int) -> None:
    """Of memory: so many bytes more than it holds."""
    import resource

    limit = more + _held_bytes()
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def _held_bytes() -> int:
    """Of private memory that the process has by now."""
    if not os.path.exists("/proc/self/status"):
        return 0
    with open("/proc/self/status") as lines:
        found = next((line for line in lines if line.startswith("VmData:")), "VmData: 0")
    return int(found.split()[1]) * 1024


if __name__ == "__main__":
    serve()
