"""float32 graph + pictures -> quantised graph that holds its budget: the order of calibration's chapters, for one graph.

    find_sites > collect (cached) > quantise > evaluate on the held-out pictures > give nodes back while the budget is missed

Who calls decides what is asked (``Facts``), what the task makes of two graphs' answers, and who hears of the progress.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...graph.read import is_op
from ...graph.run import Runner
from ...runtime.errors import UserMistake
from ..forms.weight_only import inputs_of, widest_block
from ..judge.accuracy import AGREEMENT
from ..judge.evaluation import Distance, Evaluation, Figures, NothingFound, any_batch
from ..nouns import WEIGHT_ONLY, QuantisedGraph, Recipe, Site
from ..quantise import quantise
from ..sites.observed import tensors_for
from ..sites.placement import CUTS, float_convolutions, in_chains, narrow_points
from ..statistics.collect import collect
from ..statistics.moments import collect_moments
from .floor import Floor, reach
from .promote import promote
from .search import Budget, Row
from .within import Progress, first_pictures, keep_within

if TYPE_CHECKING:
    import onnx_ir as ir

    from ..pictures.images import CalibrationData, ImageSet
    from ..statistics.observers import Statistics

DOUBTED = 32  # pictures of those that calibrate, where no others are held out
Moments = dict[str, np.ndarray]  # tensor -> E[x x^T]


@dataclass(frozen=True)
class Calibration:
    """How a plan quantises. ``recipe`` is that of the precision asked for; "auto" tries several."""

    recipe: Recipe
    data: CalibrationData | None
    max_drop: float | None  # points of top-1, or of agreement where the pictures have no labels
    cache: Path | None  # folder of the statistics; None: the user's cache

    def to_json(self) -> dict[str, Any]:
        """As ``--dry-run`` prints it."""
        found = self.data
        return {
            "form": self.recipe.form,
            "ranges": self.recipe.rules,
            "smooth": self.recipe.smooth,
            "block": (self.recipe.block or "widest that fits") if self.recipe.form in WEIGHT_ONLY else None,
            "calibration": None if found is None else {
                "source": found.calibration.source, "images": len(found.calibration), "skipped": len(found.skipped),
                "held_out": len(found.held_out), "sha256": found.calibration.digest,
            },
            "max_drop": self.max_drop,
        }  # fmt: skip


@dataclass(frozen=True)
class Facts:
    """What is known before the graph is looked at."""

    name: str  # of the model, for messages
    precision: str
    otherwise: str  # the precision to try where nothing can be quantised
    calibration: Calibration
    integer_kernels: bool  # the engine computes with those of ONNX Runtime's CPU, which ask for nodes of their own
    evaluation: Callable[[ImageSet, Runner], Evaluation]  # held-out pictures and the float32 graph -> what judges
    distance: Distance  # between two graphs' answers, as the task means it
    doubts: Callable[[np.ndarray], list[str]] = (
        lambda answers: []
    )  # what the float32 graph's answers say against the pictures
    engine: Callable[[ir.Model, Recipe], Runner | None] = lambda model, recipe: (
        None
    )  # the graph on the engine itself, where it is another than ONNX Runtime and runs here
    floor_db: float | None = None  # what the outputs are held at where neither labels nor a budget say what may be lost


@dataclass(frozen=True)
class Quantised:
    """The graph, and what was measured of it: ``report`` is ``quantisation`` of the manifest."""

    graph: QuantisedGraph
    report: dict[str, Any]
    notes: tuple[str, ...] = ()
    met: bool | None = None  # the budget; None: there is none
    figures: Figures | None = None
    curve: tuple[Row, ...] = field(default=())


def fitted(facts: Facts, sites: tuple[Site, ...], model: ir.Model) -> Facts:
    """The same facts with the recipe made fit for this graph: nodes that the kernels want as they are, the block that fits."""
    recipe = facts.calibration.recipe
    keep, also = for_kernels_here(facts, sites, model)
    recipe = replace(recipe, keep={**recipe.keep, **keep}, also=(*recipe.also, *also))
    if recipe.form in WEIGHT_ONLY and not recipe.block:
        recipe = replace(recipe, block=widest_block(sites, recipe))
    return replace(facts, calibration=replace(facts.calibration, recipe=recipe))


def for_kernels_here(facts: Facts, sites: tuple[Site, ...], model: ir.Model) -> tuple[dict[str, str], tuple[str, ...]]:
    """Nodes that ONNX Runtime's CPU kernels compute slower from codes and why, and those that they want in codes."""
    form = facts.calibration.recipe.form
    if not facts.integer_kernels or form not in ("qdq", "u8"):
        return {}, ()
    if form == "qdq":
        return float_convolutions(sites), ()
    cut = any(is_op(node, CUTS) for node in model.graph)
    return (narrow_points(sites), ()) if cut else ({}, in_chains(sites))


def collect_statistics(
    facts: Facts, model: ir.Model, sites: tuple[Site, ...], progress: Progress | None = None
) -> Statistics | None:
    """One pass over the calibration pictures, or what an earlier one left in the cache; None without pictures."""
    calibration = facts.calibration
    if calibration.data is None or calibration.recipe.form in WEIGHT_ONLY:
        return None
    tensors = tensors_for(calibration.recipe.form, sites, model)
    return collect(model, tensors, calibration.data.calibration, cache=calibration.cache, progress=progress)


def collect_weight_moments(
    facts: Facts, model: ir.Model, sites: tuple[Site, ...], progress: Progress | None = None
) -> Moments | None:
    """E[x x^T] of the inputs of 4-bit weights, which their rounding looks at; None for other forms or without pictures."""
    calibration = facts.calibration
    if calibration.data is None or calibration.recipe.form not in WEIGHT_ONLY:
        return None
    tensors = inputs_of(sites, calibration.recipe)
    if not tensors:
        return None  # quantise_weights says which sizes there are
    return collect_moments(model, tensors, calibration.data.calibration, cache=calibration.cache, progress=progress)


def evaluation_of(facts: Facts, model: ir.Model) -> Evaluation | None:
    """The held-out pictures with the answers of the float32 graph; None where there are none.

    Raises:
        NothingFound: the pictures have no annotations, and the model finds nothing in them.
    """
    data = facts.calibration.data
    if data is None or not len(data.held_out):
        return None
    return facts.evaluation(data.held_out, any_batch(model, optimise=True))


def doubts(facts: Facts, model: ir.Model, evaluation: Evaluation | None) -> list[str]:
    """What the answers to the held-out pictures, or else to those that calibrate, say against all of them."""
    data = facts.calibration.data
    if data is None or data.calibration.kind == "random":
        return []
    if evaluation is not None:
        return facts.doubts(evaluation.reference.whole)
    return facts.doubts(any_batch(model)(first_pictures(data.calibration, DOUBTED)))


def judged(facts: Facts, model: ir.Model) -> Runner:
    """The graph as its engine computes it: on the engine itself where that runs here, with ONNX Runtime's integer kernels on
    target cpu; elsewhere Q and DQ as they are written."""
    engine = facts.engine(model, facts.calibration.recipe)
    return any_batch(model, optimise=facts.integer_kernels) if engine is None else engine


def within_budget(
    facts: Facts,
    model: ir.Model,
    sites: tuple[Site, ...],
    statistics: Statistics | None,
    moments: Moments | None = None,
    progress: Progress | None = None,
) -> Quantised:
    """The fully quantised graph, or the one with the fewest nodes high that holds the budget; without one, and without labels, the floor."""
    calibration = facts.calibration
    graph = quantise(model, statistics, calibration.recipe, sites, moments)
    if not graph.share:
        raise nothing_quantised(facts, graph)
    if calibration.data is not None and graph.recipe.form in ("qdq", "u8"):
        pictures = calibration.data.calibration
        graph = promote(
            graph, lambda recipe: quantise(model, statistics, recipe, sites), pictures, distance=facts.distance
        )
    try:
        evaluation = evaluation_of(facts, model)
    except NothingFound as nothing:
        if calibration.max_drop is not None:
            raise
        evaluation, graph = None, replace(graph, notes=(*graph.notes, f"accuracy not measured: {nothing.what}"))
    graph = replace(graph, notes=(*graph.notes, *doubts(facts, model, evaluation)))
    if evaluation is None or calibration.data is None:
        if calibration.max_drop is not None:
            raise not_measured(facts)
        return with_report(facts, graph, statistics)
    if calibration.max_drop is None:
        figures = evaluation.evaluate(judged(facts, graph.model))
        if facts.floor_db is None or evaluation.metric is not AGREEMENT or figures.sqnr_db >= facts.floor_db:
            return with_report(facts, graph, statistics, evaluation, figures)
        floor = reach(
            graph, evaluation, figures, facts.floor_db, calibration.data.calibration,
            run=lambda found: judged(facts, found), progress=progress,
        )  # fmt: skip
        return with_report(facts, floor.graph, statistics, evaluation, floor.row.figures, floor)
    budget = keep_within(
        graph, evaluation, calibration.max_drop, calibration.data.calibration,
        run=lambda found: judged(facts, found), progress=progress,
    )  # fmt: skip
    return with_report(facts, budget.graph, statistics, evaluation, budget.row.figures, budget)


def nothing_quantised(facts: Facts, graph: QuantisedGraph) -> UserMistake:
    """A graph without one quantised node would be int8 in name only."""
    reasons = Counter(decision.why for decision in graph.decisions.values())
    static = facts.integer_kernels and graph.recipe.form == "qdq"
    return UserMistake(
        f"Nothing in {facts.name} can be quantised to {facts.precision} in the form {graph.recipe.form}",
        found="\n".join(f"{count} x {why}" for why, count in reasons.most_common(4)),
        expected="at least one layer that gains",
        attempt="leave --int8-form out" if static else f"--precision {facts.otherwise}",
    )


def not_measured(facts: Facts) -> UserMistake:
    """A budget that nothing measured does not hold."""
    return UserMistake(
        f"The accuracy budget of {facts.name} in {facts.precision} cannot be measured",
        found="no picture to judge by beside those that calibrate",
        expected="at least one held-out picture",
        because="what a budget allows is lost on pictures that did not set the ranges",
        attempt="more pictures, or leave --max-drop out",
    )


def with_report(
    facts: Facts,
    graph: QuantisedGraph,
    statistics: Statistics | None,
    evaluation: Evaluation | None = None,
    figures: Figures | None = None,
    search: Budget[QuantisedGraph] | Floor | None = None,
) -> Quantised:
    """The graph with everything that was measured of it as plain data."""
    from ..report.report import accuracy_report, data_report, describe

    data = facts.calibration.data
    report = describe(graph, {row.node: row.sqnr_db for row in search.sensitivities} if search else None)
    notes = [*graph.notes, *(statistics.notes if statistics else ())]
    if data is not None:
        report["data"] = data_report(data)
        notes += data.notes
    if evaluation is not None and figures is not None:
        report["accuracy"] = accuracy_report(figures, evaluation.expected)
        notes += search.notes if search else evaluation.notes()
    if search is not None:
        report[search.key] = search.to_json()
    met = search.met if isinstance(search, Budget) else None
    return Quantised(graph, report, tuple(dict.fromkeys(notes)), met, figures, search.rows if search else ())


def calibration_words(facts: Facts, statistics: Statistics | None, moments: Moments | None = None) -> str:
    """``128 pictures of photos/, 85 tensors`` and whether the cache had them."""
    if statistics is None and moments is None:
        return "no pictures: the form needs none"
    assert facts.calibration.data is not None
    images, others = facts.calibration.data.calibration, len(facts.calibration.data.held_out)
    judge = f", {others} others judge" if others else ""
    kind = "RANDOM NUMBERS, not pictures" if images.kind == "random" else f"pictures of {images.source}"
    if statistics is None:
        return f"{len(images)} {kind}, second moments of {len(moments or {})} tensors{judge}"
    cached = ", from the cache" if statistics.from_cache else ""
    return f"{len(images)} {kind}, {len(statistics.tensors)} tensors{cached}{judge}"


def accuracy_words(figures: Figures | None) -> str:
    """``, 33.1 dB, top1 97.1 % (-0.20)``; empty when nothing was measured."""
    if figures is None:
        return ""
    return (
        f", {figures.sqnr_db:.1f} dB, {figures.score.metric} {figures.score.value:.1f} % ({-figures.drop.points:+.2f})"
    )
