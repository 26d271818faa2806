"""float32 graph -> the same graph with 4-bit weights: int4 for TensorRT and ONNX Runtime, nvfp4 for TensorRT.

    place_blocks > codes (to nearest, or to the data where second moments of the inputs are given) > insert

Only weights get smaller; activations stay in floating point, so no ranges and no pictures are needed, and pictures
improve the rounding (rounding.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ...graph.read import constant, nodes_by_name
from ...runtime.errors import UserMistake
from ..codes.blocks import BLOCKS
from ..codes.rounding import round_to_data
from ..codes.table import quantise_weight
from ..nouns import Decision, QuantisedGraph, Recipe, ScaleTable, Site, WeightScales
from ..precisions import PRECISIONS
from .forms import FORMS

if TYPE_CHECKING:
    import onnx_ir as ir

HIGH = {
    "stem": "the first layer is small and reads the picture",
    "head": "the last layer makes the scores: its error is not averaged by anything behind it",
}


def quantise_weights(
    model: ir.Model, recipe: Recipe, sites: Sequence[Site], moments: Mapping[str, np.ndarray] | None = None
) -> QuantisedGraph:
    """``model`` (left as it is) with the weights of ``sites`` in ``recipe.precision`` (int4 or nvfp4).

    ``moments`` maps an input of a site to E[x x^T] (K, K), see ``moments.collect_moments``; sites without are rounded
    to nearest.

    Raises:
        UserMistake: no site can take the blocks; the sizes are listed with the block that would fit.
    """
    decisions = place_blocks(sites, recipe)
    if not any(decision.quantise for decision in decisions.values()):
        raise _nothing(sites, decisions, recipe)
    nodes = nodes_by_name(model)
    codes: dict[str, WeightScales] = {}
    done: dict[tuple[str, str], WeightScales] = {}
    for site in sites:
        if not decisions[site.node].quantise:
            continue
        key = site.weight, site.input  # two sites may share a weight, and have inputs of their own
        if key not in done:
            array = constant(nodes[site.node].inputs[1])
            assert array is not None, f"{site.node} is no site: its weight is computed"
            done[key] = _codes(array, site, recipe, (moments or {}).get(site.input))
        codes[site.node] = done[key]
    table = ScaleTable({}, codes)
    quantised = FORMS[recipe.form](model, sites, table, recipe)
    note = f"weights of {len(codes)} layers in {recipe.precision}, blocks of {recipe.block}, " + (
        "rounded to the data" if moments else "rounded to nearest: pictures (--data) would improve that"
    )
    return QuantisedGraph(quantised, recipe, tuple(sites), decisions, table, notes=(note,), base=model)


def inputs_of(sites: Sequence[Site], recipe: Recipe) -> dict[str, int]:
    """Input of every site that takes blocks -> its channel axis: what ``collect_moments`` is to watch."""
    decisions = place_blocks(sites, recipe)
    return {site.input: site.in_axis for site in sites if decisions[site.node].quantise}


def widest_block(sites: Sequence[Site], recipe: Recipe, least: float = 0.95) -> int:
    """The widest block that takes nearly all of the MACs that the narrowest takes: fewer scales, as many layers."""

    def share(block: int) -> float:
        decisions = place_blocks(sites, replace(recipe, block=block))
        return sum(site.share for site in sites if decisions[site.node].quantise)

    narrow, *wider = sorted(BLOCKS)
    return max([narrow, *(block for block in wider if share(block) >= least * share(narrow) > 0)])


def place_blocks(sites: Sequence[Site], recipe: Recipe) -> dict[str, Decision]:
    """Site node -> whether its weight takes blocks of ``recipe.block``, and why not."""
    return {site.node: _decide(site, recipe) for site in sites}


def _decide(site: Site, recipe: Recipe) -> Decision:
    channels = site.weight_shape[site.weight_in_axis]
    if site.node in recipe.keep:
        return Decision(False, recipe.keep[site.node])
    if site.kind in HIGH and site.node not in recipe.also:
        return Decision(False, HIGH[site.kind])
    if site.op == "Conv":
        kernel = site.weight_shape[2:]
        if recipe.form == "nbits":
            return Decision(False, "Conv: ONNX Runtime has 4-bit kernels for MatMul only")
        if site.groups > 1 or max(kernel) > 1:
            what = f"{site.groups} groups" if site.groups > 1 else "x".join(map(str, kernel)) + " kernel"
            return Decision(False, f"Conv with {what}: blocks lie along the input channels of a matrix")
    if channels % recipe.block:
        return Decision(False, f"{channels} input channels do not split into blocks of {recipe.block}")
    return Decision(True, f"{site.op} with {channels} input channels: {channels // recipe.block} blocks")


def _codes(array: np.ndarray, site: Site, recipe: Recipe, moments: np.ndarray | None) -> WeightScales:
    if moments is None:
        return quantise_weight(
            array, site.weight_out_axis, precision=recipe.precision, rule=recipe.weights, low=recipe.low,
            block=recipe.block,
        )  # fmt: skip
    return round_to_data(
        array, site.weight_in_axis, moments, block=recipe.block, precision=recipe.precision, rule=recipe.weights,
        low=recipe.low,
    )  # fmt: skip


def _nothing(sites: Sequence[Site], decisions: Mapping[str, Decision], recipe: Recipe) -> UserMistake:
    """Nothing was quantised: which sizes there are, and what would help."""
    short = [site for site in sites if decisions[site.node].why.endswith(f"blocks of {recipe.block}")]
    sizes = sorted({site.weight_shape[site.weight_in_axis] for site in short})
    fits = [block for block in sorted(BLOCKS, reverse=True) if any(size % block == 0 for size in sizes)]
    reasons = sorted({decision.why for decision in decisions.values()})
    attempt = "--precision int8"
    if fits and not PRECISIONS[recipe.precision].block:
        count = sum(site.weight_shape[site.weight_in_axis] % fits[0] == 0 for site in short)
        attempt = f"--block {fits[0]}, which {count} of its {len(sites)} layers can take"
    return UserMistake(
        f"No weight of this model takes {recipe.precision} in blocks of {recipe.block}",
        found=f"input channels {', '.join(map(str, sizes))}" if sizes else "; ".join(reasons) or "no linear layer",
        expected=f"linear layers whose input channels are a multiple of {recipe.block}",
        because="all values of a block share a scale, and engines read whole blocks only",
        attempt=attempt,
    )
