"""float32 graph + statistics + recipe -> quantised graph: the whole flow on this screen.

    place > smooth > equalise > ranges and codes > insert

Nothing here looks at an image, so another recipe for the same statistics costs seconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..graph.read import nodes_by_name
from ..runtime.errors import EdgesmithError
from .balance.equalise import equalise
from .balance.smooth import smooth
from .codes.scales import build_table
from .forms.compact import compact
from .forms.forms import FORMS
from .forms.weight_only import quantise_weights
from .nouns import WEIGHT_ONLY, QuantisedGraph, Recipe, ScaleTable, Site
from .sites.placement import place
from .sites.sites import find_sites
from .statistics.observers import Statistics

if TYPE_CHECKING:
    import onnx_ir as ir


def quantise(
    model: ir.Model, statistics: Statistics | None, recipe: Recipe, sites: Sequence[Site] | None = None,
    moments: Mapping[str, np.ndarray] | None = None,
) -> QuantisedGraph:  # fmt: skip
    """``model`` (float32, left as it is) quantised as ``recipe`` says; ``statistics`` may be None for a form without ranges.

    ``moments`` (input -> E[x x^T]) improve the rounding of 4-bit weights, whose forms read no statistics.

    Raises:
        EdgesmithError: a static form without statistics, or a form nobody inserts.
    """
    if recipe.form not in FORMS:
        raise EdgesmithError(f"no form is called {recipe.form!r}", expected=", ".join(FORMS))
    sites = tuple(find_sites(model, blank(model)) if sites is None else sites)
    if recipe.form in WEIGHT_ONLY:
        return quantise_weights(model, recipe, sites, moments)
    decisions = place(sites, recipe)
    chosen = [site for site in sites if decisions[site.node].quantise]
    groups: tuple[dict[str, Any], ...] = ()
    if statistics is not None and recipe.smooth:
        model, statistics, found = smooth(model, chosen, statistics, recipe.smooth)
        groups += found
    if statistics is not None and recipe.equalise:
        model, statistics, found = equalise(model, chosen, statistics)
        groups += found
    table = build_table(model, chosen, decisions, statistics, recipe)
    sites = with_weights_of(model, sites)
    inputs = {site.input for site in chosen}
    kept = {name: one for name, one in statistics.tensors.items() if name in inputs} if statistics is not None else {}
    quantised = FORMS[recipe.form](model, sites, table, recipe)
    if recipe.form in ("dynamic", "u8"):  # files for a CPU engine alone, which widens constants as it loads them
        compact(quantised)
    return QuantisedGraph(quantised, recipe, sites, decisions, table, groups, statistics=kept, base=model)


def alone(graph: QuantisedGraph, site: Site) -> ir.Model:
    """The same graph with this one site quantised and every other in float32: what a sensitivity scan runs."""
    assert graph.base is not None
    scales = graph.scales
    table = ScaleTable(
        {name: found for name, found in scales.activations.items() if name == site.node},
        {name: found for name, found in scales.weights.items() if name == site.node},
        scales.values,
    )
    return FORMS[graph.recipe.form](graph.base, [site], table, graph.recipe)


def with_weights_of(model: ir.Model, sites: Sequence[Site]) -> tuple[Site, ...]:
    """The sites as they stand in ``model``: a weight that two layers share has a copy of its own once it is scaled."""
    nodes = nodes_by_name(model)
    weights = {site.node: nodes[site.node].inputs[1] for site in sites}
    return tuple(replace(site, weight=str(weight.name)) if (weight := weights[site.node]) else site for site in sites)


def blank(model: ir.Model) -> dict[str, np.ndarray]:
    """One image of zeros (an open size counts 1), from which the shapes inside the graph follow."""
    shapes = {
        str(value.name): [size if isinstance(size, int) else 1 for size in value.shape or ()]
        for value in model.graph.inputs
    }
    return {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
