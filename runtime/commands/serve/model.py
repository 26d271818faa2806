"""One bundle that is served: its session, its crew, what it may run together, and how it fares."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ...bundle.bundle import Bundle
from ...bundle.graphs import GraphSpec
from ...errors import BundleRefused, EngineFailed, UserMistake
from ...tasks.known import task_of
from .crew import Crew
from .tensors import datatype
from .words import Asked

if TYPE_CHECKING:
    from ...session.session import Session

KEPT = 1000  # latencies that the quantiles are of
MIXING = b"DynamicQuantize"  # an operator that takes one scale from all rows of a batch
SAMPLES: dict[str, Any] = {  # a value of each option of ``edgesmith run`` that a request may set
    "score": 0.99, "iou": 0.5, "max_detections": 1, "agnostic_nms": True, "top": 1, "zoom": 2,
}  # fmt: skip
WORDS = "instruction"
LOADING, READY, DEGRADED, FAILED = "loading", "ready", "degraded", "failed"


class Refused(Exception):
    """There is no room for a request now; ``after_s``: when to come again."""

    def __init__(self, why: str, after_s: int) -> None:
        super().__init__(why)
        self.after_s = after_s


class Served:
    """A bundle with a crew of its own. ``open`` and ``close`` may take long; all else is asked by the one thread of the server."""

    def __init__(self, bundle: Bundle, asked: Asked, figures: Any) -> None:
        self.bundle, self.asked, self.figures = bundle, asked, figures
        self.name, self.task = bundle.name, task_of(bundle.task)
        self.graphs = graphs_of(bundle)
        self.state = LOADING
        self.trouble = ""  # why the last run failed, until one succeeds again
        self.inside = 0  # requests between their arrival and their end
        self.latencies_s: deque[float] = deque(maxlen=KEPT)
        self.told: dict[str, int] = {"answered": 0, "mistaken": 0, "refused": 0, "failed": 0}
        self.batch, self.why_alone = joins(bundle, asked.batch)
        self.session: Session | None = None
        self.crew: Crew | None = None

    def open(self) -> None:
        """Load the engine, run the self-test, and take on the crew.

        Raises:
            EdgesmithError: the engine cannot be had here, or does not give what the bundle promises.
        """
        from ...backends.load import load

        asked = self.asked
        session = load(self.bundle, asked.backend, asked.threads, asked.pool_mb, spin=False, keyring=asked.keyring)
        try:
            failed = [row for row in session.self_test() if not row.passed]
            if failed:
                raise SelfTestFailed(
                    f"the self-test of {self.name} does not hold on this device",
                    found="; ".join(f"{row.output}: {row.told or 'other numbers'}" for row in failed),
                    expected="; ".join(row.limit for row in failed),
                    because="it would answer, and wrongly",
                    attempt=f"edgesmith test {self.bundle.path.name}; another --backend, or export it again",
                )
        except BaseException:
            session.close()
            raise
        self.session = session
        self.crew = Crew(self.name, asked.workers, self.batch, self._ran)
        self.state = READY

    def close(self) -> None:
        """Once what is running has ended; twice is fine."""
        if self.crew is not None:
            self.crew.close()
        if self.session is not None:
            self.session.close()

    # what the thread of the server asks

    @property
    def is_ready(self) -> bool:
        return self.state in (READY, DEGRADED)

    def enter(self) -> None:
        """Room for one request, to be given back by ``leave``; Refused where there is none."""
        if not self.is_ready:
            raise Refused(f"{self.name} is {self.state}", 5)
        if self.inside >= self.asked.queue + self.asked.workers * self.batch:
            raise Refused(f"{self.name} has a full queue of {self.asked.queue}", self.after_s())
        self.inside += 1

    def leave(self) -> None:
        self.inside -= 1

    def after_s(self) -> int:
        """In how many whole seconds about half of what waits now will be done: 1 to 60."""
        usual = self.quantile(50) or 0.0
        return min(max(math.ceil(usual / 2), 1), 60)

    def quantile(self, percent: float) -> float | None:
        """Of the last latencies, in seconds; None before the first."""
        return float(np.percentile(list(self.latencies_s), percent)) if self.latencies_s else None

    def health(self) -> dict[str, Any]:
        """Plain values; latencies from the arrival of the whole request to its answer, of the last ``KEPT``."""
        p50, p99 = (self.quantile(percent) for percent in (50, 99))
        crew = self.crew
        return {
            "name": self.name,
            "state": self.state,
            "task": self.bundle.task,
            "precision": self.bundle.precision,
            "backend": self.session.backend if self.session is not None else None,
            "degraded": self.trouble or None,
            "waiting": crew.waiting if crew else 0,
            "running": crew.running if crew else 0,
            **self.told,
            "p50_ms": None if p50 is None else round(p50 * 1e3, 3),
            "p99_ms": None if p99 is None else round(p99 * 1e3, 3),
        }

    def about(self) -> dict[str, Any]:
        """What the page and programs want to know of it before they ask."""
        bundle = self.bundle
        takes, asks = options_of(bundle)
        inputs = [
            {"name": one.name, "dtype": one.dtype, "datatype": datatype(one.dtype), "shape": list(one.shape)}
            for one in bundle.inputs
        ]
        return {
            "name": self.name, "task": bundle.task, "target": bundle.target, "precision": bundle.precision,
            "ready": self.is_ready, "pictures": asks or (not self.task.arrays and _takes(self.task, bundle, {})),
            "asks": asks, "options": takes,
            "inputs": inputs, "batch": self.batch, "run_alone": self.why_alone or None,
        }  # fmt: skip

    def _ran(self, rows: int, seconds: float, error: Exception | None) -> None:
        """Told by the crew: the engine gave up, or works again."""
        self.figures.ran(self.name, rows, seconds)
        if isinstance(error, EngineFailed):
            self.trouble, self.state = error.what, DEGRADED
        elif isinstance(error, BundleRefused):  # its files are not those that were checked
            self.trouble, self.state = "a file of the bundle has changed; start the server again", FAILED
        elif error is None and self.state == DEGRADED:
            self.trouble, self.state = "", READY


class SelfTestFailed(UserMistake):
    """As ``edgesmith test``: a result that does not hold."""

    exit_code = 1


def graphs_of(bundle: Bundle) -> dict[str, GraphSpec]:
    """By the name that clients use: the bundle's for its first graph, BUNDLE.GRAPH for each where there are several."""
    found = {bundle.name: bundle.main}
    if len(bundle.graphs) > 1:
        found |= {f"{bundle.name}.{name}": graph for name, graph in bundle.graphs.items()}
    return found


def joins(bundle: Bundle, asked: int) -> tuple[int, str]:
    """(how many rows of requests may run together, why not more)."""
    if asked == 1:
        return 1, ""
    if len(bundle.graphs) > 1:
        return 1, "it has several graphs"
    open_axis = {spec.shape[0] if spec.shape else 0 for spec in (*bundle.inputs, *bundle.outputs)}
    most = min((spec.limits(0)[1] or asked) if spec.shape else 1 for spec in bundle.inputs)
    if len(open_axis) != 1 or not isinstance(next(iter(open_axis)), str) or most < 2:
        return 1, "its graph takes a fixed number of inputs"
    if MIXING in bundle.graph.read_bytes():
        return (
            1,
            "its graph takes one scale from all inputs of a run, so that one request would change the answer to another",
        )
    return min(asked, most), ""


def options_of(bundle: Bundle) -> tuple[list[str], bool]:
    """(the options of ``edgesmith run`` that its task takes, whether it asks for words beside a picture)."""
    task = task_of(bundle.task)
    words = {WORDS: ["it"]}
    asks = _takes(task, bundle, words)
    base: Mapping[str, Any] = words if asks else {}
    return [name for name, value in SAMPLES.items() if _takes(task, bundle, {**base, name: value})], asks


def _takes(task: Any, bundle: Bundle, options: Mapping[str, Any]) -> bool:
    try:
        task.choices(bundle, options)
    except UserMistake:
        return False
    return True
