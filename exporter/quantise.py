"""rewritten graph + pictures -> quantised graph that holds its budget: the stages "calibrate" and "quantise".

find_sites > collect (cached) > quantise > evaluate on the held-out pictures > give nodes back while the budget is missed
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..calibration.nouns import QuantisedGraph
from ..calibration.run import Runner, graph_runner
from ..runtime.errors import ParityFailed
from .parity import typed_runner
from .plan import Plan
from .stages import Run, keep
from .verify import run_all

if TYPE_CHECKING:
    import onnx_ir as ir

    from ..calibration.budget import Budget, Row
    from ..calibration.evaluation import Evaluation, Figures
    from ..calibration.nouns import Recipe, Site
    from ..calibration.observers import Statistics
    from ..calibration.sensitivity import Sensitivity

EVALUATED_TOGETHER = 32  # pictures in one run, where the graph's batch is open


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
    from ..calibration.sites import find_sites

    assert plan.calibration is not None
    recipe = plan.calibration.recipe
    sites = find_sites(model, {"images": np.zeros(plan.shapes.opt, np.float32)})
    with run.stage("calibrate", "running the pictures") as stage:
        statistics = collect_statistics(plan, model, sites, run)
        stage.detail = calibration_told(plan, statistics)
    with run.stage("quantise", f"{recipe.precision}, form {recipe.form}") as stage:
        made = _Making(plan, model, sites, statistics, run)
        quantised = made.within_budget()
        graph = quantised.graph
        stage.detail = f"{sum(decision.quantise for decision in graph.decisions.values())} of {len(sites)} sites in "
        stage.detail += f"{recipe.precision}, {graph.share:.1%} of the MACs" + accuracy_words(quantised.figures)
        stage.size_bytes = run.save(25, "quantised", graph.model)
    return quantised


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
    from ..calibration.collect import collect
    from ..calibration.observed import tensors_for

    calibration = plan.calibration
    assert calibration is not None
    if calibration.data is None:
        return None
    tensors = tensors_for(calibration.recipe.form, sites, model)
    return collect(
        model, tensors, calibration.data.calibration, cache=calibration.cache, batch=batch_of(plan, 8),
        progress=run.progress.step,
    )  # fmt: skip


def batch_of(plan: Plan, wanted: int) -> int:
    """How many pictures one run may take: what was asked for where the batch is open, else the graph's own."""
    low, high = plan.shapes.min[0], plan.shapes.max[0]
    return max(low, min(high, wanted)) if low != high else high


def fitting(plan: Plan, run: Runner) -> Runner:
    """Any number of pictures through a graph whose batch may be fixed."""
    return lambda images: run_all(run, images, batch_of(plan, EVALUATED_TOGETHER))


def evaluation_of(plan: Plan, model: ir.Model) -> Evaluation | None:
    """The held-out pictures with the answers of the float32 graph; None where there are none."""
    from ..calibration.evaluation import Evaluation

    assert plan.calibration is not None
    data = plan.calibration.data
    if data is None or not len(data.held_out):
        return None
    truth = None if data.held_out.labels is None else np.asarray(data.held_out.labels)
    batch = batch_of(plan, EVALUATED_TOGETHER)
    return Evaluation(data.held_out, fitting(plan, graph_runner(model)), truth, batch=batch)


class _Making:
    """One graph, its statistics and its judge: builds, scans and chooses."""

    def __init__(
        self, plan: Plan, model: ir.Model, sites: tuple[Site, ...], statistics: Statistics | None, run: Run
    ) -> None:
        assert plan.calibration is not None
        self.plan, self.model, self.sites, self.statistics, self.run = plan, model, sites, statistics, run
        self.calibration, self.recipe = plan.calibration, plan.calibration.recipe
        self.scanned: tuple[Sensitivity, ...] = ()

    def within_budget(self) -> Quantised:
        """The fully quantised graph, or the one with the fewest nodes high that holds the budget."""
        from ..calibration.budget import meet

        first = self.make({})
        evaluation = evaluation_of(self.plan, self.model)
        if evaluation is None:
            return self.told(first, None, None)
        if self.calibration.max_drop is None:
            return self.told(first, evaluation, evaluation.evaluate(self.runner(first.model)))
        budget = meet(
            lambda keep: self.make(keep) if keep else first,
            lambda graph: graph.share,
            lambda graph: self.runner(graph.model),
            evaluation,
            self.calibration.max_drop,
            lambda: self.scan(first),
            progress=lambda row: self.run.progress.step(f"{row.high} nodes high", 0, 0),
        )
        return self.told(budget.graph, evaluation, budget.row.figures, budget)

    def make(self, keep: Mapping[str, str]) -> QuantisedGraph:
        from ..calibration.quantise import quantise

        recipe: Recipe = replace(self.recipe, keep={**self.recipe.keep, **keep})
        return quantise(self.model, self.statistics, recipe, self.sites)

    def runner(self, model: ir.Model) -> Runner:
        """The graph as its engine will compute it: integer kernels on target cpu, Q and DQ as written elsewhere."""
        on_cpu = self.plan.target.engine == "onnxruntime"
        return fitting(self.plan, graph_runner(model) if on_cpu else typed_runner(model))

    def scan(self, graph: QuantisedGraph) -> tuple[Sensitivity, ...]:
        """One node at a time, on some of the held-out pictures."""
        from ..calibration.quantise import alone
        from ..calibration.sensitivity import pictures_for, scan

        assert graph.base is not None and self.calibration.data is not None
        chosen = [site for site in graph.sites if graph.decisions[site.node].quantise]
        images = next(self.calibration.data.held_out.batches(pictures_for(chosen)))
        reference = fitting(self.plan, graph_runner(graph.base))(images)
        self.scanned = scan(
            chosen, lambda site: alone(graph, site), images, reference, runner=self.runner, batch=len(images),
            progress=lambda done, total: self.run.progress.step("one node at a time", done, total),
        )  # fmt: skip
        return self.scanned

    def told(
        self,
        graph: QuantisedGraph,
        evaluation: Evaluation | None,
        figures: Figures | None,
        budget: Budget | None = None,
    ) -> Quantised:
        from ..calibration.report import accuracy_told, data_told, describe

        data = self.calibration.data
        report = describe(graph, {row.node: row.sqnr_db for row in self.scanned})
        notes = [*graph.notes, *(self.statistics.notes if self.statistics else ())]
        if data is not None:
            report["data"] = data_told(data)
            notes += data.notes
        if evaluation is not None and figures is not None:
            report["accuracy"] = accuracy_told(figures, evaluation.expected)
            notes += budget.notes if budget else evaluation.notes()
        if budget is not None:
            report["budget"] = budget.to_json()
        curve = budget.rows if budget else ()
        return Quantised(graph, report, tuple(dict.fromkeys(notes)), budget is None or budget.met, figures, curve)


def calibration_told(plan: Plan, statistics: Statistics | None) -> str:
    """``128 pictures of photos/, 85 tensors`` and whether the cache had them."""
    if statistics is None:
        return "no pictures: the form needs none"
    assert plan.calibration is not None and plan.calibration.data is not None
    images = plan.calibration.data.calibration
    kind = "RANDOM NUMBERS, not pictures" if images.kind == "random" else f"pictures of {images.source}"
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
