"""The golden inputs through an open session, and what its task makes of the results: a row an output, or one for all.

One more row, ``preprocessing``, begins at the pixels of a picture; a bundle that holds none is told so. A test that has
nothing to compare does not hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ..tasks.known import task_of
from ..tasks.selftest import SelfTestRow
from .checks import at_least
from .pixels import pixel_row

if TYPE_CHECKING:
    from ..bundle.bundle import Bundle
    from ..bundle.golden import Golden

UNCOVERED = "preprocessing not covered (the bundle holds no golden picture)"


class Tested(Protocol):
    """What is asked of an open session."""

    bundle: Bundle
    precision: str

    def batch_sizes(self, count: int) -> tuple[int, int]: ...
    def screens(self) -> Any: ...
    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]: ...


def self_test(session: Tested) -> list[SelfTestRow]:
    """Run the golden inputs of an open session's bundle: one row an output, or one for all detections; then the pixels."""
    bundle = session.bundle
    golden = bundle.golden
    task = task_of(bundle.task)
    parts = task.replay(session.screens, golden.inputs, golden.picture) or task.golden_runs(session.run, golden.inputs)
    parts = parts or _parts(session, golden)
    rows = task.selftest_rows(bundle, golden.outputs, parts, session.precision)
    if not rows:
        rows = [SelfTestRow("outputs", 0, float("inf"), -1.0, 0.0, "an output to compare", False)]
    covered = set(task.golden_graphs(bundle))
    if others := [name for name in bundle.graphs if name not in covered]:
        rows = _and(rows, f"graphs not covered: {', '.join(others)}")
    if golden.picture is not None and golden.prepared is not None:
        return [*rows, pixel_row(golden.picture, golden.prepared, bundle.contract)]
    return rows if bundle.manifest.get("input_contract") is None else _and(rows, UNCOVERED)


def _parts(session: Tested, golden: Golden) -> list[dict[str, np.ndarray]]:
    """The results of the first graph, a batch at a time."""
    least, size = session.batch_sizes(golden.cases)
    parts: list[dict[str, np.ndarray]] = []
    for start in range(0, golden.cases, size):
        feeds = {name: array[start : start + size] for name, array in golden.inputs.items()}
        count = len(next(iter(feeds.values())))
        results = session.run({name: at_least(array, least) for name, array in feeds.items()})
        parts.append({name: array[:count] for name, array in results.items()})
    return parts


def _and(rows: list[SelfTestRow], more: str) -> list[SelfTestRow]:
    """The same rows, and in the words of the last what no row tells."""
    return [*rows[:-1], replace(rows[-1], told=f"{rows[-1].told}, {more},")]
