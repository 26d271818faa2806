"""A quantised graph and a budget -> the same graph with as few nodes high as the budget needs (budget.py has the search).

Ranges, codes and smoothing stay those of the full graph, so a node costs the same alone, together, and at the end; no graph
of the search needs more than the insertion of its Q/DQ nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ...graph.run import Runner
from ..forms.forms import FORMS
from ..judge.accuracy import sqnr_db
from ..judge.evaluation import Distance, Evaluation, Pictures, any_batch
from ..judge.sensitivity import Sensitivity, pictures_for, scan
from ..nouns import Decision, QuantisedGraph, ScaleTable
from ..quantise import alone
from .search import Budget, Row, meet

if TYPE_CHECKING:
    import onnx_ir as ir

Progress = Callable[[str, int, int], None]  # what is done, how many, of how many


def keep_within(
    graph: QuantisedGraph,
    evaluation: Evaluation,
    max_drop: float,
    pictures: Pictures,
    *,
    run: Callable[[ir.Model], Runner] | None = None,
    progress: Progress | None = None,
    on_row: Callable[[Row], None] | None = None,
) -> Budget[QuantisedGraph]:
    """The graph that loses at most ``max_drop`` points on ``evaluation``; the nodes are scanned on ``pictures``, which should
    not be those of the evaluation.

    ``run`` makes the runner of the graphs that are judged: the types around the quantised nodes, integer kernels or not.
    ``on_row`` gets each row of the trade curve as it is measured.
    """
    make = run or any_batch
    return meet(
        lambda keep: without(graph, keep),
        lambda found: found.share,
        lambda found: make(found.model),
        evaluation,
        max_drop,
        lambda: scanned(graph, pictures, progress=progress, distance=evaluation.view.sqnr_db),
        progress=on_row,
    )


def scanned(
    graph: QuantisedGraph,
    pictures: Pictures,
    *,
    count: int | None = None,
    progress: Progress | None = None,
    distance: Distance = sqnr_db,
) -> tuple[Sensitivity, ...]:
    """Every quantised site of ``graph`` alone, worst first, on the first ``count`` pictures (None: 64, or fewer of a big graph)."""
    assert graph.base is not None, "a graph that was read from a file has no float32 twin to scan"
    sites = [site for site in graph.sites if graph.decisions[site.node].quantise]
    if not sites:
        return ()
    wanted = min(count or pictures_for(sites), len(pictures))
    images = first_pictures(pictures, wanted)
    return scan(
        sites,
        lambda site: alone(graph, site),
        images,
        any_batch(graph.base)(images),
        progress=None if progress is None else (lambda done, total: progress("scanning nodes", done, total)),
        distance=distance,
    )


def without(graph: QuantisedGraph, keep: Mapping[str, str]) -> QuantisedGraph:
    """The same graph with the nodes of ``keep`` high, each with its reason; ranges and codes of the others stay."""
    if not keep:
        return graph
    assert graph.base is not None
    decisions = {
        node: Decision(False, keep[node]) if node in keep else decision for node, decision in graph.decisions.items()
    }
    scales = ScaleTable(
        {node: found for node, found in graph.scales.activations.items() if node not in keep},
        {node: found for node, found in graph.scales.weights.items() if node not in keep},
        graph.scales.values,
    )
    recipe = replace(graph.recipe, keep={**graph.recipe.keep, **keep})
    model = FORMS[recipe.form](graph.base, graph.sites, scales, recipe)
    return replace(graph, model=model, recipe=recipe, decisions=decisions, scales=scales)


def first_pictures(pictures: Pictures, count: int) -> np.ndarray:
    """(count, 3, H, W): the first ones."""
    return next(iter(pictures.batches(count)))
