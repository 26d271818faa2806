"""Does the quantised bundle win on this machine? It and the bundle in floating point, interleaved in one process.

Only where the engine runs here (targets cpu and openvino). "int8 lost" is a result, and so is "no faster within the spread":
then both bundles are kept.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ....runtime.bundle.publish import check_place
from ....runtime.errors import BackendUnavailable, UserMistake
from ....runtime.ground.places import real_place
from ....runtime.ground.words import speed_verdict, time_ratio
from ....runtime.session.benchmark import measure, to_json
from ...plan.plan import Plan
from ...run.stages import Run
from .variant import Traced, in_floating_point, make_variant, pack_variant

if TYPE_CHECKING:
    from ....runtime.bundle.bundle import Bundle
    from ..made import Made

ROUNDS, WARMUP = 21, 3


@dataclass(frozen=True)
class Duel:
    """CPU time of one thread for one batch as exported: that of the quantised by that of the float bundle, lower is better."""

    precision: str
    against: str
    time_ratio: float
    low: float  # quartiles of the ratio over the rounds
    high: float
    timings: dict[str, Any]

    @property
    def won(self) -> bool:
        """Faster by more than the spread: the upper quartile of the ratio is below 1."""
        return self.high < 1

    def __str__(self) -> str:
        ours, theirs = (row["median_ms"] for row in reversed(self.timings["rows"]))
        ratio = time_ratio(self.time_ratio, self.low, self.high, self.against)
        verdict = speed_verdict(self.low, self.high)
        return f"{self.precision} {verdict} here: {ratio}, {ours:.1f} against {theirs:.1f} ms CPU, one thread"

    def to_json(self) -> dict[str, Any]:
        """``latency`` of the manifest's ``quantisation``."""
        ratios = {"time_ratio": self.time_ratio, "time_ratio_low": self.low, "time_ratio_high": self.high}
        return {**ratios, "against": self.against, "won": self.won, "runner": "CPU time, one thread", **self.timings}


def race(plan: Plan, made: Made, bundle: Bundle, traced: Traced) -> Bundle | None:
    """Time both and write the result into ``made.quantised.report``; the float bundle where the quantised one did not win.

    None where it won, or where the engine does not run on this machine.
    """
    if not plan.target.engine.runs_here or made.quantised is None:
        return None
    other, run = in_floating_point(plan), traced.run
    with run.stage("compare", f"with {other.precision}, in turns") as stage:
        rival, opposite = pack_variant(make_variant(other, traced), traced)
        duel = fight(plan, bundle, other, opposite, traced.judge.one_batch(plan.shapes.opt), run)
        if duel is None:
            stage.detail = "the engine does not run here: not timed"
            return None
        stage.detail = str(duel)
        made.quantised.report["latency"] = duel.to_json()
        return None if duel.won else keep_both(other, rival, opposite, traced)


def fight(plan: Plan, bundle: Bundle, other: Plan, opposite: Bundle, images: np.ndarray, run: Run) -> Duel | None:
    """Run both in turns on one thread; None when the backend is not here."""
    from ....runtime.backends.load import load

    feeds = {plan.input_name: images}
    try:
        with load(bundle, threads=1) as one, load(opposite, threads=1) as two:
            timings = measure(
                {other.precision: lambda: two.run(feeds), plan.precision: lambda: one.run(feeds)},
                ROUNDS, WARMUP, "cpu", len(images), progress=lambda done, total: run.progress.step("rounds", done, total),
            )  # fmt: skip
    except BackendUnavailable:
        return None
    ours = timings[plan.precision]
    details = to_json(timings, threads=1, shape=list(images.shape))
    return Duel(plan.precision, other.precision, ours.time_ratio, ours.time_ratio_low, ours.time_ratio_high, details)


def keep_both(plan: Plan, made: Made, bundle: Bundle, traced: Traced) -> Bundle | None:
    """Verify and publish the float bundle too; None where its place is taken, or cannot be written: the other one counts."""
    from ..pack import publish
    from ..parity import check

    try:
        check_place(real_place(plan.out), plan.overwrite)
    except UserMistake:
        return None
    rows, notes = check(traced.judge.with_plan(plan), made, bundle, traced.run)
    with suppress(UserMistake):
        return publish(plan, traced.run, bundle, made, traced.judge.with_plan(plan), rows, [*made.source.notes, *notes])
    return None
