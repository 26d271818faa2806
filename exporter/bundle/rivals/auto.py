"""``--precision auto``: which precision? The fastest within the budget where the engine runs here, else the first that holds.

Every candidate goes through the same stages as an export of its own; the statistics are cached, so that the export of
the chosen one, which follows, only repeats what costs seconds.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property, partial
from math import inf
from typing import TYPE_CHECKING

from ....calibration.budget.choose import Candidate, Choice, Latency, choose
from ....calibration.budget.hold import evaluation_of, not_measured
from ....graph.run import Runner
from ....runtime.backends.load import load
from ....runtime.errors import ParityFailed
from ....runtime.ground.limits import quantised
from ....runtime.session.benchmark import measure
from ...plan.plan import Plan
from ...plan.quantised import for_precision
from ...precision.quantise import facts_of
from ...run.runners import run_all, session_runner
from ..parity import typed_runner
from .duel import ROUNDS, WARMUP, fight
from .variant import Traced, Variant, in_floating_point, make_variant, pack_variant

if TYPE_CHECKING:
    from ....runtime.bundle.bundle import Bundle


def choose_precision(plan: Plan, traced: Traced) -> tuple[Plan, Choice]:
    """The plan with its precision decided, and the table of what was tried.

    Raises:
        ParityFailed: no precision holds the budget.
        UserMistake: there are no pictures to measure on.
    """
    assert plan.calibration is not None and plan.calibration.max_drop is not None
    able = [word for word in plan.target.offered if not plan.target.refuses(word, plan.gpu_arch)]
    names = plan.target.preferred(plan.gpu_arch, able)
    tried = _Trying(plan, traced)
    with traced.run.stage("choose", ", ".join(names)) as stage:
        candidates = [Candidate(name, partial(tried.make, name), tried.runner, tried.clock) for name in names]
        evaluation = evaluation_of(facts_of(plan), tried.make(plan.target.default_precision).rewritten.model)
        if evaluation is None:
            raise not_measured(facts_of(plan))
        choice = choose(candidates, evaluation, plan.calibration.max_drop)
        stage.detail = choice.why
    if not choice.precision:
        lost = [f"{row.precision}: {row.figures.drop if row.figures else row.why_not}" for row in choice.rows]
        raise ParityFailed(
            f"{plan.spec.name}: {choice.why}",
            found="\n".join(lost),
            expected=f"a drop of at most {plan.calibration.max_drop:g} points",
            attempt="--max-drop with more points, or --precision fp32",
        )
    return tried.plan_for(choice.precision), choice


class _Trying:
    """Makes each precision once, and times it against the floating-point bundle where the engine runs here."""

    def __init__(self, plan: Plan, traced: Traced) -> None:
        self.plan, self.traced = plan, traced
        self.made: dict[str, Variant] = {}
        self.bundles: dict[str, Bundle] = {}
        self.clock = self.latency if plan.target.engine.runs_here else None

    def plan_for(self, precision: str) -> Plan:
        assert self.plan.calibration is not None
        if not quantised(precision):
            return replace(self.plan, precision=precision, calibration=None)
        calibration = for_precision(self.plan.calibration, precision, self.plan.target, self.plan.spec)
        return replace(self.plan, precision=precision, calibration=calibration)

    def make(self, precision: str) -> Variant:
        if precision not in self.made:
            plan = self.plan_for(precision) if quantised(precision) else in_floating_point(self.plan, precision)
            self.made[precision] = make_variant(plan, self.traced)
        return self.made[precision]

    def bundle(self, variant: Variant) -> Bundle:
        precision = variant.plan.precision
        if precision not in self.bundles:
            self.bundles[precision] = pack_variant(variant, self.traced)[1]
        return self.bundles[precision]

    def runner(self, variant: Variant) -> Runner:
        """The engine itself where it runs here, else the typed graph with explicit rounding."""
        here = self.clock is not None
        run = session_runner(load(self.bundle(variant), threads=1)) if here else typed_runner(variant.typed.model)
        return lambda images: run_all(run, images, self.plan.shapes.opt[0])

    def latency(self, variant: Variant) -> Latency:
        """CPU time of one batch on one thread; the ratio to the floating-point bundle is taken in turns."""
        usual = self.make(self.plan.target.default_precision)
        if variant is usual:
            return Latency(self.usual_ms, self.usual_ms, self.usual_ms)  # what the ratios are taken to
        images = self.traced.judge.one_batch(self.plan.shapes.opt)
        duel = fight(variant.plan, self.bundle(variant), usual.plan, self.bundle(usual), images, self.traced.run)
        if duel is None:
            return Latency(inf, inf, inf)
        return Latency(*(self.usual_ms * ratio for ratio in (duel.time_ratio, duel.low, duel.high)))

    @cached_property
    def usual_ms(self) -> float:
        """Of the floating-point bundle, timed once, so that all latencies stand on one figure."""
        usual = self.make(self.plan.target.default_precision)
        images = self.traced.judge.one_batch(self.plan.shapes.opt)
        with load(self.bundle(usual), threads=1) as session:
            calls = {usual.plan.precision: lambda: session.run({self.plan.input_name: images})}
            return measure(calls, ROUNDS, WARMUP, "cpu")[usual.plan.precision].median_ms
