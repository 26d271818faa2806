"""Work in processes of their own: a kernel that crashes or hangs costs its own op and nothing else.

A worker prints one JSON line a result, and ``{"begin": op}``, ``{"end": op}`` around each op. When it dies, the op it was
at gets a row that says so, and a new worker goes on with the ops after it.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

CHECK = Path(__file__).parent / "check.py"
GRACE_S = 15  # after its own time a worker has this long to end by itself
_running: set[subprocess.Popen[str]] = set()
_stopped = threading.Event()


def stop() -> None:
    """End every worker, and start no other; for the handler of an interrupt, whose threads then come to their end."""
    _stopped.set()
    for process in list(_running):
        _kill(process)


def _kill(process: subprocess.Popen[str]) -> None:
    """The worker and what it started, or what started it (compute-sanitizer)."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def supervise(
    command: Sequence[str],
    ops: Sequence[str],
    seconds: float,
    on_row: Callable[[dict[str, Any]], None],
    environment: Mapping[str, str] | None = None,
) -> None:
    """Run ``command --only op ... --seconds s`` over the ops; every row is given to ``on_row``, in this thread."""
    end = time.monotonic() + seconds
    left = list(ops)
    while left and not _stopped.is_set():
        if (time_left := end - time.monotonic()) <= 0:
            for op in left:
                on_row({"op": op, "ok": False, "why": "not run: no time left"})
            return
        left = _run_once(command, left, time_left, on_row, environment)


def _run_once(
    command: Sequence[str],
    ops: list[str],
    seconds: float,
    on_row: Callable[[dict[str, Any]], None],
    environment: Mapping[str, str] | None,
) -> list[str]:
    """One worker; the ops that are still to be run."""
    arguments = [*command, "--seconds", f"{seconds:.0f}", "--only", *ops]
    left, at = list(ops), ops[0]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, start_new_session=True, text=True,
                          env={**os.environ, **(environment or {})}) as process:  # fmt: skip
        _running.add(process)
        if _stopped.is_set():  # an interrupt while it was started
            _kill(process)
        killer = threading.Timer(seconds + GRACE_S, _kill, [process])
        killer.daemon = True
        killer.start()
        try:
            assert process.stdout is not None
            for line in process.stdout:
                row = _row(line)
                if "begin" in row:
                    at = row["begin"]
                elif "end" in row:
                    left.remove(row["end"])
                elif row:
                    on_row(row)
            code = process.wait()
        finally:
            killer.cancel()
            if process.poll() is None:
                _kill(process)
            _running.discard(process)
    if left:
        on_row({"op": at, "ok": False, "why": f"its process ended early: {_how(code)}"})
        left.remove(at)
    return left


def _row(line: str) -> dict[str, Any]:
    """The row of a line, empty for anything else that was printed."""
    try:
        found = json.loads(line)
    except ValueError:
        print(line, end="", file=sys.stderr)
        return {}
    return found if isinstance(found, dict) else {}


def _how(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    return f"signal {signal.Signals(-code).name}"


def tell(row: Mapping[str, Any]) -> None:
    """A worker's row to its supervisor."""
    print(json.dumps(row), flush=True)
