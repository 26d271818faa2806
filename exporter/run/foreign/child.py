"""The process that tries foreign files (trial.py): it has the libraries loaded, and forks for every file it is asked about."""

from __future__ import annotations

import importlib
import json
import os
import select
import signal
import sys
from collections.abc import Callable, Mapping
from typing import Any

from ....runtime.errors import UserMistake
from .words import said, too_large


def serve() -> None:
    """Answer requests until nobody asks any more."""
    import onnx_ir  # noqa: F401 loaded once, for all
    import onnxruntime  # noqa: F401

    for line in sys.stdin:
        asked = json.loads(line)
        module, _, name = asked["task"].partition(":")
        task = getattr(importlib.import_module(module), name)  # before the fork, so that it is loaded once
        print(json.dumps(_forked(task, asked)), flush=True)


def _forked(task: Callable[[Mapping[str, Any]], dict[str, Any]], asked: Mapping[str, Any]) -> dict[str, Any]:
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        os.close(0)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what a library prints is no answer
        answer = _answer(task, asked)
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


def _answer(task: Callable[[Mapping[str, Any]], dict[str, Any]], asked: Mapping[str, Any]) -> dict[str, Any]:
    """In the child: a mistake of the user travels as its fields, whatever else is raised as a "why"."""
    try:
        return task(asked)
    except UserMistake as error:
        return {"mistake": {"what": error.what, "found": error.found, "expected": error.expected,
                            "because": error.because, "attempt": error.attempt}}  # fmt: skip
    except Exception as error:  # noqa: BLE001 whatever it raises is its answer
        if isinstance(error, MemoryError) or "bad_alloc" in str(error) or "Failed to allocate" in str(error):
            return {"why": too_large(asked["memory"])}
        return {"why": said(error)}


def limit_memory(more: int) -> None:
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
