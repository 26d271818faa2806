"""Sites that are quantised + statistics -> the table of scales: a range for each input, codes for each weight."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from ...graph.read import constant, nodes_by_name
from ...runtime.errors import EdgesmithError
from ..nouns import Decision, Range, Recipe, ScaleTable, Site
from ..sites.observed import chain_values
from ..statistics.observers import Statistics
from .ranges import choose_range
from .table import quantise_weight

if TYPE_CHECKING:
    import onnx_ir as ir

STATIC = ("qdq", "u8")  # forms whose activations have a range; the others measure it while they run, or not at all


def build_table(
    model: ir.Model,
    sites: Iterable[Site],
    decisions: Mapping[str, Decision],
    statistics: Statistics | None,
    recipe: Recipe,
) -> ScaleTable:
    """The numbers of every site that ``decisions`` quantises; the same statistics give the same table, bit for bit.

    Raises:
        EdgesmithError: the form needs a range and ``statistics`` has none for an input.
    """
    nodes = nodes_by_name(model)
    sites = [site for site in sites if decisions[site.node].quantise]
    energies = input_energies(nodes, sites)
    activations: dict[str, Range] = {}
    weights = {}
    for site in sites:
        array = constant(nodes[site.node].inputs[1])
        assert array is not None, f"{site.node} is no site: its weight is computed"
        weights[site.node] = quantise_weight(
            array,
            site.weight_out_axis,
            precision=recipe.precision,
            rule=recipe.weights,
            low=recipe.low,
            block=recipe.block,
        )
        if recipe.form in STATIC:
            if statistics is None or site.input not in statistics.tensors:
                raise EdgesmithError(
                    f"{site.node} has no range",
                    found=f"no statistics of {site.input!r}",
                    because=f"the form {recipe.form!r} fixes the range of every input beforehand",
                    attempt="give calibration images: --data FOLDER",
                )
            activations[site.node] = choose_range(
                statistics.tensors[site.input], energies[site.input], rules=recipe.rules,
                precision=recipe.precision, symmetric=recipe.form != "u8", low=recipe.low,
            )  # fmt: skip
    values = chain_ranges(model, set(weights), statistics, recipe) if statistics and recipe.form == "u8" else {}
    return ScaleTable(activations, weights, values)


def input_energies(nodes: Mapping[str, ir.Node], sites: Iterable[Site]) -> dict[str, np.ndarray]:
    """Input -> (C,) energy of all the weights that meet each of its channels.

    q, k and v read one value: with one range for the three, TensorRT makes one product of them.
    """
    energies: dict[str, np.ndarray] = {}
    for site in sites:
        array = constant(nodes[site.node].inputs[1])
        assert array is not None, f"{site.node} is no site: its weight is computed"
        energies[site.input] = energies.get(site.input, 0.0) + weight_energy(array, site)
    return energies


def chain_ranges(model: ir.Model, sites: set[str], statistics: Statistics, recipe: Recipe) -> dict[str, Range]:
    """Form "u8": the range of every value that becomes codes; all channels count alike, since several nodes read it.

    A value that is only moved has one too: it starts a chain where the sites before it stay in float32.
    """
    ranges, chained = {}, chain_values(model, sites)
    for name in dict.fromkeys(str(value.name) for value in (*chained, *chained.values())):
        stats = statistics.tensors[name]
        energy = np.ones(len(stats.low))
        ranges[name] = choose_range(
            stats, energy, rules=recipe.rules, precision=recipe.precision, symmetric=False, low=recipe.low
        )
    return ranges


def weight_energy(array: np.ndarray, site: Site) -> np.ndarray:
    """(C,) sum of squares of the weights that meet each input channel; groups of a Conv have channels of their own."""
    squares = np.square(array, dtype=np.float64)
    if site.groups == 1:
        return squares.sum(axis=tuple(axis for axis in range(array.ndim) if axis != site.weight_in_axis))
    grouped = squares.reshape(site.groups, array.shape[0] // site.groups, array.shape[1], -1)  # (g, O/g, I/g, k)
    return grouped.sum(axis=(1, 3)).ravel()
