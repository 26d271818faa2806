"""One step of one model in a process of its own, with a limit of CPU time and of memory.

The parent has imported torch once and forks; a child that is killed, or kills itself, costs one row. What a step has found so
far lies in its file, so a row that ran out of time tells where it was.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FORK = multiprocessing.get_context("fork")
LOOK_S = 0.3
PATIENCE = 8  # wall time a step may take, in CPU limits: others share the machine
Row = dict[str, Any]


@dataclass(frozen=True)
class Limits:
    """Of one step: CPU seconds and resident GB of the child and all that it starts."""

    cpu_s: float = 300.0
    memory_gb: float = 10.0


class Notes:
    """What a step has found, on disk after every ``put``."""

    def __init__(self, path: Path) -> None:
        self.path, self.row = path, Row()

    def put(self, **found: Any) -> None:
        self.row.update(found)
        part = self.path.with_suffix(".part")
        part.write_text(json.dumps(self.row))
        part.replace(self.path)


def run_apart(work: Callable[[Notes], None], folder: Path, name: str, limits: Limits) -> Row:
    """``work(notes)`` in a child; its notes, with ``ended`` where it did not come to its end, and what it used."""
    folder.mkdir(parents=True, exist_ok=True)
    state = folder / f"{name}.json"
    state.unlink(missing_ok=True)
    child = FORK.Process(target=_child, args=(work, state, folder / f"{name}.log"))
    began = time.monotonic()
    child.start()
    assert child.pid is not None
    peak = spent = 0.0
    ended = ""
    while child.is_alive():
        child.join(LOOK_S)
        memory, cpu = _use(child.pid)
        peak, spent = max(peak, memory), max(spent, cpu)
        if spent > limits.cpu_s or time.monotonic() - began > PATIENCE * limits.cpu_s:
            ended = f"stopped after {spent:.0f} s of CPU"
        elif memory > limits.memory_gb:
            ended = f"stopped at {memory:.1f} GB of memory"
        if ended:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.join()
    row: Row = json.loads(state.read_text()) if state.is_file() else {}
    if child.exitcode and not ended:
        ended = f"the process ended with {child.exitcode}"
    row.update(cpu_s=round(spent, 1), peak_gb=round(peak, 2))
    return {**row, "ended": ended} if ended else row


def _child(work: Callable[[Notes], None], state: Path, log: Path) -> None:
    os.setpgid(0, 0)
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(out, 1)
    os.dup2(out, 2)
    work(Notes(state))


def _use(group: int) -> tuple[float, float]:
    """Resident GB now and CPU seconds so far of every process of the group (Linux)."""
    pages = ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[2]) == group:
                pages += int(fields[21])
                ticks += sum(map(int, fields[11:15]))  # its children that ended included
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e9, ticks / os.sysconf("SC_CLK_TCK")
