"""The process that tries foreign files (trial.py): it has the libraries loaded, and forks for every file it is asked about."""

from __future__ import annotations

import json
import os
import select
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .....runtime.errors import UserMistake
from .trial import A_BYTE
from .words import said


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
