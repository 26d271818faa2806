"""``edgesmith bench`` of a bundle whose answer takes several graphs: its steps in turns, each beside what PyTorch answered."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from ....runtime.backends.load import load
from ....runtime.session.benchmark import measure, to_json
from .footprint import footprint
from .peers import step

if TYPE_CHECKING:
    from ....runtime.bundle.bundle import Bundle
    from ...run.stages import Progress
    from ...tasks.task import ExportTask


def timed_steps(
    bundle: Bundle,
    task: ExportTask,
    rounds: int,
    warmup: int,
    threads: int,
    clock: str,
    memory: bool,
    progress: Progress,
) -> dict[str, Any]:
    """The ``benchmark`` of the manifest: a row a step; the first is what the others are seen against."""
    with load(bundle, threads=threads) as session:
        steps = task.steps(session)
        with step(progress, "measure", f"{rounds} rounds of {len(steps)} steps, {threads} threads, in turns"):
            timings = measure(steps, rounds, warmup, clock, progress=partial(progress.step, "rounds"))
        off = task.off(session, {name: call() for name, call in steps.items()})
    result = to_json(timings, threads=threads, skipped={})
    for row in result["rows"]:
        row |= off.get(row["name"], {})
    if memory:
        with step(progress, "memory", "each step in a process of its own"):
            for row in result["rows"]:
                alone = {
                    "kind": "step",
                    "path": str(bundle.path),
                    "name": row["name"],
                    "threads": threads,
                    "shape": [1],
                }
                row["peak_rss_bytes"] = footprint(alone) or 0
    return result
