"""How far a build is: what the builder tells of its phases, else the time, beside how long it took the last time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field


@dataclass
class Phase:
    """One phase of a builder; phases stand inside of others."""

    steps: int
    parent: str
    done: int = 0
    inside: dict[str, float] = field(default_factory=dict)  # the shares of the phases that run within its next step

    def share(self) -> float:
        """From 0 to 1. What runs inside counts as part of the step that it belongs to."""
        within = max(self.inside.values(), default=0.0)
        return min((self.done + min(within, 1.0)) / self.steps, 1.0) if self.steps > 0 else 0.0


class Phases:
    """The phases that are on their way, as the builder's threads tell them; ``share`` is that of the outermost."""

    def __init__(self) -> None:
        self._phases: dict[str, Phase] = {}
        self._outermost = ""
        self._lock = threading.Lock()
        self._most = 0.0

    def start(self, name: str, parent: str | None, steps: int) -> None:
        with self._lock:
            self._phases[name] = Phase(steps, parent or "")
            if not self._outermost and not parent:
                self._outermost = name

    def steps(self, name: str) -> int:
        """Of a phase; 0 for one that nobody started."""
        with self._lock:
            return self._phases[name].steps if name in self._phases else 0

    def reached(self, name: str, done: int) -> None:
        """So many steps of the phase are done; those that ran inside the last of them are over."""
        with self._lock:
            if name in self._phases:
                self._phases[name].done = done
                self._phases[name].inside.clear()
                self._tell_parents(name)

    def _tell_parents(self, name: str) -> None:
        told = {name}  # a parent that stands inside of itself would be asked for ever
        while (parent := self._phases[name].parent) in self._phases and parent not in told:
            self._phases[parent].inside[name] = self._phases[name].share()
            told.add(parent)
            name = parent

    @property
    def share(self) -> float | None:
        """From 0 to 1, and never back; None before the builder has told of a phase."""
        with self._lock:
            if not self._outermost:
                return None
            self._most = max(self._most, self._phases[self._outermost].share())
            return self._most


class Watch:
    """What is known here of a build on its way. ``tell(share)`` hears of every change; None is "nothing known"."""

    def __init__(self, last_s: float | None = None, tell: Callable[[float | None], None] | None = None) -> None:
        self.last_s, self.share = last_s, None  # type: float | None, float | None
        self._tell, self._begun = tell, time.monotonic()

    def heard(self, share: float | None) -> None:
        self.share = share
        if self._tell:
            with suppress(OSError):  # who shows it may be gone; the build goes on
                self._tell(share)

    def __str__(self) -> str:
        """``42 % after 3 min; last time it took 5 min 10 s``, as far as it is known."""
        parts = [f"{self.share:.0%} after " if self.share is not None else "", spoken(time.monotonic() - self._begun)]
        return "".join(parts) + (f"; last time it took {spoken(self.last_s)}" if self.last_s else "")


def spoken(seconds: float) -> str:
    """``5 min 10 s``."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
