"""What a process holds over time: memory, file descriptors, threads; and whether it grows."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

WARM, WINDOW = 0.1, 0.1  # of the time: what is not judged, and how long the medians at both ends are
MOST_GROWTH = 0.02
KEYS = ("rss_mb", "private_mb", "descriptors", "threads")


def held(pid: int) -> dict[str, float]:
    """Now; OSError where the process is gone."""
    folder = Path("/proc", str(pid))
    found = {"Rss": 0, "Private_Dirty": 0}
    for line in (folder / "smaps_rollup").read_text().splitlines()[1:]:
        name, _, value = line.partition(":")
        if name in found:
            found[name] = int(value.split()[0])
    return {
        "rss_mb": found["Rss"] / 1024,
        "private_mb": found["Private_Dirty"]
        / 1024,  # what it has written; of files others may hold the same pages, or not
        "descriptors": len(list((folder / "fd").iterdir())),
        "threads": len(list((folder / "task").iterdir())),
    }


class Watch:
    """Looks at a process every ``every_s`` seconds within ``watching``; ``at`` tells how far the work is."""

    def __init__(self, pid: int, every_s: float, at: Callable[[], float]) -> None:
        self.pid, self.every_s, self.at = pid, every_s, at
        self.samples: list[dict[str, float]] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def _look(self) -> None:
        begun = time.monotonic()
        while not self._over.wait(self.every_s):
            with suppress(OSError):
                self.samples.append({"s": time.monotonic() - begun, "at": self.at(), **held(self.pid)})

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Within the block."""
        self._thread.start()
        try:
            yield
        finally:
            self._over.set()
            self._thread.join()


def judged(samples: list[dict[str, float]]) -> dict[str, Any]:
    """{what: {"warm", "end", "growth", "most"}}: medians of a tenth of the work after the warm-up and of the last tenth."""
    last = samples[-1]["at"]
    early = [one for one in samples if WARM * last <= one["at"] < (WARM + WINDOW) * last]
    late = [one for one in samples if one["at"] >= (1 - WINDOW) * last]
    found = {}
    for key in KEYS:
        warm, end = (statistics.median(one[key] for one in part) for part in (early, late))
        most = max(one[key] for one in samples if one["at"] >= WARM * last)
        found[key] = {
            "warm": round(warm, 2),
            "end": round(end, 2),
            "growth": round(end / warm - 1, 4),
            "most": round(most, 2),
        }
    return found


def thinned(samples: list[dict[str, float]], most: int = 120) -> list[dict[str, float]]:
    """At most so many, for the file."""
    step = max(1, -(-len(samples) // most))
    return [{key: round(value, 2) for key, value in one.items()} for one in samples[::step]]
