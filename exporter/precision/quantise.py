"""rewritten graph + pictures -> quantised graph that holds its budget: the stages "calibrate" and "quantise".

What a plan says becomes a handful of facts; calibration/budget/hold.py does the work with them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...runtime.errors import ParityFailed
from ..plan.plan import Plan
from ..run.stages import Run, keep

if TYPE_CHECKING:
    import onnx_ir as ir

    from ...calibration.budget.hold import Facts, Quantised


def quantise_within(plan: Plan, model: ir.Model, run: Run) -> Quantised:
    """Carry out the calibration of a plan on the rewritten float32 graph.

    Raises:
        UserMistake: nothing in the graph can be quantised as asked.
    """
    from ...calibration.budget import hold
    from ...calibration.sites.sites import find_sites

    sites = find_sites(model, {plan.input_name: np.zeros(plan.shapes.opt, np.float32)})
    facts, step = hold.fitted(facts_of(plan), sites, model), run.progress.step
    with run.stage("calibrate", "running the pictures") as stage:
        statistics = hold.collect_statistics(facts, model, sites, step)
        moments = hold.collect_weight_moments(facts, model, sites, step)
        stage.detail = hold.calibration_words(facts, statistics, moments)
    recipe = facts.calibration.recipe
    with run.stage("quantise", f"{recipe.precision}, form {recipe.form}") as stage:
        quantised = hold.within_budget(facts, model, sites, statistics, moments, step)
        graph = quantised.graph
        stage.detail = f"{sum(decision.quantise for decision in graph.decisions.values())} of {len(sites)} sites in "
        stage.detail += (
            f"{recipe.precision}, {graph.share:.1%} of the MACs ({graph.share_of_weighted:.1%} of those with weights)"
            + hold.accuracy_words(quantised.figures)
        )
        stage.size_bytes = run.save(25, "quantised", graph.model)
    return quantised


def facts_of(plan: Plan) -> Facts:
    """What calibration needs of a plan."""
    from ...calibration.budget.hold import Facts
    from ...calibration.nouns import WEIGHT_ONLY
    from ...calibration.precisions import PRECISIONS
    from ..run.on_engine import on_engine

    assert plan.calibration is not None
    judge = plan.task.judge
    known = plan.precision in PRECISIONS  # where precisions are still to be chosen among, none has a floor yet
    return Facts(
        name=plan.spec.name,
        precision=plan.precision,
        otherwise=plan.target.default_precision,
        calibration=plan.calibration,
        integer_kernels=plan.target.engine.integer_kernels,
        evaluation=lambda held_out, reference: judge.evaluation(held_out, reference, plan.rule, plan.contract),
        distance=judge.distance,
        doubts=judge.doubts,
        floor_db=PRECISIONS[plan.precision].floor_db if known else None,
        engine=lambda model, recipe: on_engine(model, plan.target.engine.name, exact=recipe.form in WEIGHT_ONLY),
    )


def hold_budget(plan: Plan, quantised: Quantised, run: Run) -> None:
    """Hold what was measured against the budget, where there is one.

    Raises:
        ParityFailed: the budget is missed and the plan asks for the check; the artefacts are kept.
        UserMistake: nothing was measured, so nobody knows.
    """
    if plan.calibration is None or plan.calibration.max_drop is None:
        return
    if quantised.met is None or quantised.figures is None:
        from ...calibration.budget.hold import not_measured

        raise not_measured(facts_of(plan))
    if quantised.met or not plan.check:
        return
    tried = [f"{row.high} nodes high, {row.share:.1%} of the MACs: {row.figures.drop}" for row in quantised.curve]
    raise ParityFailed(
        f"{plan.spec.name} in {plan.precision} misses the accuracy budget",
        found=str(quantised.figures.drop),
        expected=f"at most {plan.calibration.max_drop:g} points",
        because="tried " + "\n".join(tried),
        attempt=f"--max-drop with more points, --precision {plan.target.default_precision}, or look at the graphs kept in "
        f"{keep(run, plan.run_folder)}",
    )
