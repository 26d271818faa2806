"""A process with limits: it and all that it starts is ended at the first that is passed, or when whoever waits for it leaves.

Memory is what the processes hold that is theirs alone, as Linux tells it (``/proc``), looked at ten times a second; elsewhere
only the time is limited.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

LOOK_EVERY_S = 0.1
TIME_CODE, MEMORY_CODE = 124, 137  # as timeout and the kernel leave them
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Limits:
    """Of one process with its children."""

    seconds: float
    memory_mb: float


@dataclass(frozen=True)
class Ended:
    """How a process ended."""

    code: int
    passed: str  # "time" or "memory", the limit that it passed; empty where it ended by itself
    seconds: float
    peak_mb: float


def run_limited(
    command: Sequence[str], words: str, log: Path, limits: Limits, environment: Mapping[str, str], folder: str
) -> Ended:
    """Run a command in ``folder`` with ``words`` on its stdin; what it prints is added to ``log``."""
    started, peak = time.monotonic(), 0
    with log.open("ab") as said:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=said, stderr=said, cwd=folder, env=dict(environment), start_new_session=True
        )  # fmt: skip
    passed = ""
    try:
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError), process.stdin as pipe:
            pipe.write(words.encode())
        while not passed and not _over(process):
            held = _held_bytes(process.pid)
            peak = max(peak, held)
            if held > limits.memory_mb * 1e6:
                passed = "memory"
            elif time.monotonic() - started > limits.seconds:
                passed = "time"
    finally:
        _end(process)
    code = {"time": TIME_CODE, "memory": MEMORY_CODE}.get(passed, process.returncode)
    return Ended(code, passed, time.monotonic() - started, peak / 1e6)


def _over(process: subprocess.Popen[bytes]) -> bool:
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(LOOK_EVERY_S)
    return process.returncode is not None


def _end(process: subprocess.Popen[bytes]) -> None:
    """The process and what it has started, all of which is one group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _held_bytes(group: int) -> int:
    """Private memory of every process of a group."""
    held = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, IndexError, ValueError):  # it has ended meanwhile
            if int(stat.read_text().rpartition(")")[2].split()[2]) == group:
                _, resident, shared, *_ = stat.with_name("statm").read_text().split()
                held += (int(resident) - int(shared)) * PAGE_BYTES
    return held
