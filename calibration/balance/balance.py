"""Channel groups of a graph -> the same function with activations that fit one scale (smooth.py, equalise.py).

Xiao et al., SmoothQuant, arXiv:2211.10438: with a_c the largest |x_c| of an activation and w_c the largest weight it meets,

    s_c = a_c^alpha / w_c^(1 - alpha)        x_c / s_c,  w_c * s_c

at alpha 1/2 both end equally far from their own mean; at 3/4 more of the spread moves into the weights, which measured
better (docs/quantisation.md).  The function stays the same but for float32 rounding, below -130 dB; factors rounded to
powers of two would be exact to the last bit and cost up to 1 dB of the quantised graph.
Weights have one scale for each *output* channel, so a layer pays nothing for dividing its own outputs.
Statistics of the scaled activation follow from the old ones: no second pass over the images.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ...graph.read import constant, is_op, nodes_by_name
from ..nouns import Site
from ..statistics.observers import Statistics, TensorStats
from .channels import Group, follow
from .labels import with_ones

if TYPE_CHECKING:
    import onnx_ir as ir

FLOOR = 1e-6  # of the largest: a channel that is never used gets no larger factor than this
WIDEST = 2.0**10  # factor: gamma, weights and activations stay in fp16's range


def balance(
    model: ir.Model, sources: Iterable[ir.Node], sites: Iterable[Site], statistics: Statistics, alpha: float, kind: str
) -> tuple[Statistics, tuple[dict[str, Any], ...]]:
    """Scale the channels of every source that reaches one of ``sites``, in ``model`` itself.

    Returns the statistics of the new graph and one record a group: kind, source, nodes, strength, the largest ratio of
    two factors, and what was refused.
    """
    tensors, records = dict(statistics.tensors), []
    by_node = {site.node: site for site in sites if site.input in tensors}
    nodes = nodes_by_name(model)
    for source in sources:
        group = follow(model, source, set(tensors))
        sinks = [by_node[name] for name in group.sinks() if name in by_node]
        record = {"kind": kind, "source": str(source.name), "nodes": [site.node for site in sinks], "strength": alpha}
        if not sinks:
            if group.refused and is_op(source, "LayerNormalization"):
                records.append(record | {"strength": 0.0, "ratio": 1.0, "refused": list(group.refused)})
            continue
        factors = strengths(group, sinks, nodes, tensors, alpha)
        ratio = float(factors.max() / factors.min())
        if ratio > 1:
            group.apply(model, factors)
            for name, labels in group.labels.items():
                tensors[name] = tensors[name].scaled(1 / with_ones(factors)[labels])
        records.append(record | {"ratio": ratio, "refused": list(group.refused)})
    return replace(statistics, tensors=tensors), tuple(records)


def strengths(
    group: Group, sinks: list[Site], nodes: Mapping[str, ir.Node], tensors: Mapping[str, TensorStats], alpha: float
) -> np.ndarray:
    """(size,) factors that channels are divided by, of geometric mean 1; 1 for channels that must stay."""
    act, weight = np.zeros(group.size + 2), np.zeros(group.size + 2)
    for site in sinks:
        np.maximum.at(act, group.labels[site.input], tensors[site.input].absmax)
        met = group.sinks()[site.node]
        array = constant(nodes[site.node].inputs[1])
        assert array is not None
        size = np.abs(array).max(axis=tuple(at for at in range(array.ndim) if met.shape[at] == 1), keepdims=True)
        np.maximum.at(weight, met.ravel(), size.ravel())
    return factors_of(act[:-2], weight[:-2], alpha)


def factors_of(act: np.ndarray, weight: np.ndarray, alpha: float) -> np.ndarray:
    """The same of the largest |x_c| and |w_c| of each channel, (C,) and (C,)."""
    free = (act > 0) & (weight > 0)
    factors = np.ones(len(act))
    if not free.any():
        return factors
    act, weight = act[free], weight[free]
    act, weight = np.maximum(act, act.max() * FLOOR), np.maximum(weight, weight.max() * FLOOR)
    power = alpha * np.log2(act) - (1 - alpha) * np.log2(weight)
    power = np.clip(power - power.mean(), -np.log2(WIDEST), np.log2(WIDEST))
    factors[free] = np.exp2(power).astype(np.float32)
    return factors
