"""rewritten graph + pictures -> quantised graph that holds its budget: the stages "calibrate" and "quantise".

find_sites > collect (cached) > quantise > evaluate on the held-out pictures > give nodes back while the budget is missed
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ...calibration.forms.weight_only import widest_block
from ...calibration.nouns import WEIGHT_ONLY, QuantisedGraph
from ...graph.run import Runner
from ...runtime.errors import ParityFailed, UserMistake
from ..plan.plan import Plan
from ..run.stages import Run, keep

if TYPE_CHECKING:
    import onnx_ir as ir

    from ...calibration.budget.search import Budget, Row
    from ...calibration.judge.evaluation import Evaluation, Figures
    from ...calibration.nouns import Site
    from ...calibration.statistics.observers import Statistics


@dataclass(frozen=True)
class Quantised:
    """The graph, and what was measured of it: ``report`` is ``quantisation`` of the manifest."""

    graph: QuantisedGraph
    report: dict[str, Any]
    notes: tuple[str, ...] = ()
    met: bool = True  # the budget, where one was given
    figures: Figures | None = None
    curve: tuple[Row, ...] = field(default=())


def quantise_within(plan: Plan, model: ir.Model, run: Run) -> Quantised:
    """Carry out the calibration of a plan on the rewritten float32 graph.

    Raises:
        UserMistake: nothing in the graph can be quantised as asked.
    """
    from ...calibration.sites.sites import find_sites

    assert plan.calibration is not None
    recipe = plan.calibration.recipe
    sites = find_sites(model, {plan.input_name: np.zeros(plan.shapes.opt, np.float32)})
    keep, also = for_kernels_here(plan, sites, model)
    recipe = replace(recipe, keep={**recipe.keep, **keep}, also=(*recipe.also, *also))
    if recipe.form in WEIGHT_ONLY and not recipe.block:
        recipe = replace(recipe, block=widest_block(sites, recipe))
    plan = replace(plan, calibration=replace(plan.calibration, recipe=recipe))
    with run.stage("calibrate", "running the pictures") as stage:
        statistics = collect_statistics(plan, model, sites, run)
        moments = collect_weight_moments(plan, model, sites, run)
        stage.detail = calibration_told(plan, statistics, moments)
    with run.stage("quantise", f"{recipe.precision}, form {recipe.form}") as stage:
        quantised = within_budget(plan, model, sites, statistics, run, moments)
        graph = quantised.graph
        stage.detail = f"{sum(decision.quantise for decision in graph.decisions.values())} of {len(sites)} sites in "
        stage.detail += (
            f"{recipe.precision}, {graph.share:.1%} of the MACs ({graph.share_of_weighted:.1%} of those with weights)"
            + accuracy_words(quantised.figures)
        )
        stage.size_bytes = run.save(25, "quantised", graph.model)
    return quantised


def for_kernels_here(plan: Plan, sites: tuple[Site, ...], model: ir.Model) -> tuple[dict[str, str], tuple[str, ...]]:
    """Nodes that ONNX Runtime's CPU kernels compute slower from codes and why, and those that they want in codes."""
    from ...calibration.sites.placement import CUTS, float_convolutions, in_chains, narrow_points

    assert plan.calibration is not None
    form = plan.calibration.recipe.form
    if not plan.target.engine.integer_kernels or form not in ("qdq", "u8"):
        return {}, ()
    if form == "qdq":
        return float_convolutions(sites), ()
    cut = any(node.op_type in CUTS for node in model.graph)
    return (narrow_points(sites), ()) if cut else ({}, in_chains(sites))


def hold_budget(plan: Plan, quantised: Quantised, run: Run) -> None:
    """ParityFailed when the budget is missed, unless the plan does not ask for the check; the artefacts are kept."""
    if quantised.met or not plan.check:
        return
    assert quantised.figures is not None and plan.calibration is not None
    tried = [f"{row.high} nodes high, {row.share:.1%} of the MACs: {row.figures.drop}" for row in quantised.curve]
    raise ParityFailed(
        f"{plan.spec.name} in {plan.precision} misses the accuracy budget",
        found=str(quantised.figures.drop),
        expected=f"at most {plan.calibration.max_drop:g} points",
        because="tried " + "\n".join(tried),
        attempt=f"--max-drop with more points, --precision {plan.target.default_precision}, or look at the graphs kept in "
        f"{keep(run, plan.run_folder)}",
    )


def collect_statistics(plan: Plan, model: ir.Model, sites: tuple[Site, ...], run: Run) -> Statistics | None:
    """One pass over the calibration pictures, or what an earlier one left in the cache; None without pictures."""
    from ...calibration.sites.observed import tensors_for
    from ...calibration.statistics.collect import collect

    calibration = plan.calibration
    assert calibration is not None
    if calibration.data is None or calibration.recipe.form in WEIGHT_ONLY:
        return None
    tensors = tensors_for(calibration.recipe.form, sites, model)
    return collect(model, tensors, calibration.data.calibration, cache=calibration.cache, progress=run.progress.step)


def collect_weight_moments(
    plan: Plan, model: ir.Model, sites: tuple[Site, ...], run: Run
) -> dict[str, np.ndarray] | None:
    """E[x x^T] of the inputs of 4-bit weights, which their rounding looks at; None for other forms or without pictures."""
    from ...calibration.forms.weight_only import inputs_of
    from ...calibration.statistics.moments import collect_moments

    calibration = plan.calibration
    assert calibration is not None
    if calibration.data is None or calibration.recipe.form not in WEIGHT_ONLY:
        return None
    tensors = inputs_of(sites, calibration.recipe)
    if not tensors:
        return None  # quantise_weights says which sizes there are
    pictures = calibration.data.calibration
    return collect_moments(model, tensors, pictures, cache=calibration.cache, progress=run.progress.step)


def evaluation_of(plan: Plan, model: ir.Model) -> Evaluation | None:
    """The held-out pictures with the answers of the float32 graph; None where there are none.

    Raises:
        NothingFound: the pictures have no annotations, and the float32 graph finds nothing in them.
    """
    from ...calibration.judge.evaluation import any_batch

    assert plan.calibration is not None
    data = plan.calibration.data
    if data is None or not len(data.held_out):
        return None
    return plan.task.judge.evaluation(data.held_out, any_batch(model, optimise=True), plan.rule, plan.contract)


def judged(plan: Plan, model: ir.Model) -> Runner:
    """The graph as its engine computes it: integer kernels on target cpu; elsewhere Q and DQ as they are written."""
    from ...calibration.judge.evaluation import any_batch

    return any_batch(model, optimise=plan.target.engine.integer_kernels)


def within_budget(
    plan: Plan,
    model: ir.Model,
    sites: tuple[Site, ...],
    statistics: Statistics | None,
    run: Run,
    moments: dict[str, np.ndarray] | None = None,
) -> Quantised:
    """The fully quantised graph, or the one with the fewest nodes high that holds the budget."""
    from ...calibration.budget.promote import promote
    from ...calibration.budget.within import keep_within
    from ...calibration.judge.evaluation import NothingFound
    from ...calibration.quantise import quantise

    calibration = plan.calibration
    assert calibration is not None
    graph = quantise(model, statistics, calibration.recipe, sites, moments)
    if not graph.share:
        raise nothing_quantised(plan, graph)
    if calibration.data is not None and graph.recipe.form in ("qdq", "u8"):
        pictures = calibration.data.calibration
        distance = plan.task.judge.distance
        graph = promote(graph, lambda recipe: quantise(model, statistics, recipe, sites), pictures, distance=distance)
    try:
        evaluation = evaluation_of(plan, model)
    except NothingFound as nothing:
        if calibration.max_drop is not None:
            raise
        evaluation, graph = None, replace(graph, notes=(*graph.notes, f"accuracy not measured: {nothing.what}"))
    if evaluation is None or calibration.data is None:
        return told(plan, graph, statistics)
    if calibration.max_drop is None:
        return told(plan, graph, statistics, evaluation, evaluation.evaluate(judged(plan, graph.model)))
    budget = keep_within(
        graph, evaluation, calibration.max_drop, calibration.data.calibration,
        run=lambda found: judged(plan, found), progress=run.progress.step,
    )  # fmt: skip
    return told(plan, budget.graph, statistics, evaluation, budget.row.figures, budget)


def nothing_quantised(plan: Plan, graph: QuantisedGraph) -> UserMistake:
    """A graph without one quantised node would be int8 in name only."""
    reasons = Counter(decision.why for decision in graph.decisions.values())
    static = len(plan.target.engine.forms) > 1 and graph.recipe.form == "qdq"
    return UserMistake(
        f"Nothing in {plan.spec.name} can be quantised to {plan.precision} in the form {graph.recipe.form}",
        found="\n".join(f"{count} x {why}" for why, count in reasons.most_common(4)),
        expected="at least one layer that gains",
        attempt="leave --int8-form out" if static else f"--precision {plan.target.default_precision}",
    )


def told(
    plan: Plan,
    graph: QuantisedGraph,
    statistics: Statistics | None,
    evaluation: Evaluation | None = None,
    figures: Figures | None = None,
    budget: Budget[QuantisedGraph] | None = None,
) -> Quantised:
    """The graph with everything that was measured of it as plain data."""
    from ...calibration.report.report import accuracy_told, data_told, describe

    data = plan.calibration.data if plan.calibration else None
    report = describe(graph, {row.node: row.sqnr_db for row in budget.sensitivities} if budget else None)
    notes = [*graph.notes, *(statistics.notes if statistics else ())]
    if data is not None:
        report["data"] = data_told(data)
        notes += data.notes
    if evaluation is not None and figures is not None:
        report["accuracy"] = accuracy_told(figures, evaluation.expected)
        notes += budget.notes if budget else evaluation.notes()
    if budget is not None:
        report["budget"] = budget.to_json()
    rows = budget.rows if budget else ()
    return Quantised(graph, report, tuple(dict.fromkeys(notes)), budget is None or budget.met, figures, rows)


def calibration_told(plan: Plan, statistics: Statistics | None, moments: dict[str, np.ndarray] | None = None) -> str:
    """``128 pictures of photos/, 85 tensors`` and whether the cache had them."""
    if statistics is None and moments is None:
        return "no pictures: the form needs none"
    assert plan.calibration is not None and plan.calibration.data is not None
    images = plan.calibration.data.calibration
    kind = "RANDOM NUMBERS, not pictures" if images.kind == "random" else f"pictures of {images.source}"
    if statistics is None:
        return f"{len(images)} {kind}, second moments of {len(moments or {})} tensors"
    return f"{len(images)} {kind}, {len(statistics.tensors)} tensors" + (
        ", from the cache" if statistics.from_cache else ""
    )


def accuracy_words(figures: Figures | None) -> str:
    """``, 33.1 dB, top1 97.1 % (-0.20)``; empty when nothing was measured."""
    if figures is None:
        return ""
    return (
        f", {figures.sqnr_db:.1f} dB, {figures.score.metric} {figures.score.value:.1f} % ({-figures.drop.points:+.2f})"
    )
