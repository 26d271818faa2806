"""Runs child.py over many mutants and sees what a process cannot say of itself: that it hangs, grows or is gone."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from child import ACCEPTED, OVER, REFUSED, TRACEBACK

HANG, CRASH = "hang", "crash"  # a crash is the end of the process by a signal: outside software, since ours is Python
OUTCOMES = (ACCEPTED, REFUSED, TRACEBACK, HANG, OVER, CRASH)
CHILD = Path(__file__).with_name("child.py")
KILL_BYTES = 3 * 10**9  # a process that has grown so far is ended before it takes the machine with it
LOOK_S = 0.2
START_S = 600  # for a process to load its libraries, on a busy machine


@dataclass
class Tally:
    """One kind: how many ended how, and of those that should not be, what and the index of the first."""

    name: str
    counts: Counter[str] = field(default_factory=Counter)
    found: dict[tuple[str, str], list[int]] = field(default_factory=dict)
    words: Counter[str] = field(default_factory=Counter)  # of the refusals
    seconds: float = 0.0

    def add(self, index: int, outcome: str, what: str) -> None:
        self.counts[outcome] += 1
        if outcome == REFUSED:
            self.words[what] += 1
        elif outcome != ACCEPTED:
            self.found.setdefault((outcome, what), []).append(index)

    @property
    def failed(self) -> bool:
        return any(self.counts[outcome] for outcome in (TRACEBACK, HANG, OVER))

    def to_json(self) -> dict[str, Any]:
        found = [
            {"outcome": outcome, "what": what, "count": len(those), "indices": those[:5]}
            for (outcome, what), those in self.found.items()
        ]
        counts = {outcome: self.counts[outcome] for outcome in OUTCOMES}
        return {"kind": self.name, "mutants": sum(counts.values()), **counts, "seconds": self.seconds, "found": found}


def run_kind(
    path: Path, count: int, seed: str, limit_s: float, batch: int = 200, tick: Callable[[Tally], None] | None = None
) -> Tally:
    """``count`` mutants of the kind in ``path``. RuntimeError where its originals cannot be made."""
    tally, started = Tally(path.stem), time.monotonic()
    with tempfile.TemporaryDirectory(prefix=f"edgesmith-fuzz-{path.stem}-") as folder:
        made = subprocess.run([sys.executable, str(CHILD), str(path), folder, "prepare"], check=False)
        if made.returncode:
            raise RuntimeError(f"the originals of {path.stem} cannot be made")
        done = 0
        while done < count:
            done = _one_process(path, folder, seed, done, min(done + batch, count), limit_s, tally)
            if tick:
                tick(tally)
    tally.seconds = round(time.monotonic() - started, 1)
    return tally


def _one_process(path: Path, folder: str, seed: str, first: int, last: int, limit_s: float, tally: Tally) -> int:
    """Mutants from ``first`` on in one process; the index at which the next one goes on."""
    words = [sys.executable, str(CHILD), str(path), folder, seed, str(first), str(last)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdout is not None
    lines = _Lines(process.stdout.fileno())
    index, base, since = first - 1, 0, time.monotonic()  # first - 1: it warms up
    try:
        while True:
            said = lines.next(LOOK_S)
            if said is None:  # it has ended
                process.wait()
                if process.returncode == 0 or lines.told_all(index):
                    return max(index + 1, first)
                tally.add(index, CRASH, f"exit {process.returncode}")
                return max(index, first) + 1
            for one in said:
                since = time.monotonic()
                if index < one["index"] or not base:
                    base = _rss(process.pid)
                index = one["index"]
                if "outcome" in one:
                    tally.add(index, one["outcome"], one["what"])
            if time.monotonic() - since > (limit_s if index >= first else START_S):
                tally.add(max(index, first), HANG, f"more than {limit_s:g} s")
                return max(index, first) + 1
            if base and _rss(process.pid) - base > KILL_BYTES:
                tally.add(index, OVER, f"more than {KILL_BYTES / 1e6:,.0f} MB")
                return index + 1
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)  # its own group: whatever it started goes with it
        process.wait()
        process.stdout.close()


class _Lines:
    """JSON lines from a pipe, as they come."""

    def __init__(self, handle: int) -> None:
        self._handle, self._rest, self._last = handle, b"", {}

    def next(self, wait_s: float) -> list[dict[str, Any]] | None:
        """Those that came within the time; None at the end."""
        if not select.select([self._handle], [], [], wait_s)[0]:
            return []
        piece = os.read(self._handle, 1 << 16)
        if not piece:
            return None
        *whole, self._rest = (self._rest + piece).split(b"\n")
        found = [json.loads(line) for line in whole]
        self._last = found[-1] if found else self._last
        return found

    def told_all(self, index: int) -> bool:
        """Whether the last mutant that began has ended too."""
        return self._last.get("index") == index and "outcome" in self._last


def _rss(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0
