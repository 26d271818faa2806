"""GGeM pooling: powers with learned exponents as engines that run node by node compute them fast.

Paper: Ko et al., Group Generalized Mean Pooling for Vision Transformer, arXiv:2212.04114. B batch, N tokens, C channels,
G groups, contiguous (G, 1) or interleaved (1, G) exponents p; either layout passes through unchanged.

    x (B, N, C) > Clip eps > Reshape (B, N, G, C/G) > Pow p > ReduceMean over N > Pow 1/p > Reshape (B, C)
    ... > Reshape > Log > Mul p > Exp > ReduceMean over N > Pow 1/p > ...

A power with an exponent for each group is one call of the C library an element; logarithm and exponential are vectorised.
Equal for x >= eps > 0. Exponents that are all the same small whole number become one number, which engines multiply out.
All nodes of the pooling are marked to stay in float32: a cube leaves fp16's range at 40.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ....graph.edit import insert, replace_value, shared_constant, sweep
from ....graph.read import constant, only_consumer, sizes
from ..base import Pattern

FLOAT32 = "edgesmith.float32"  # metadata of a node: why it stays in float32 (exporter/precision/floats.py)
WHY = "GGeM pooling: powers with learned exponents"


class GGeMPowers(Pattern):
    """Rewrite the powers before the mean; declines without a positive lower bound or with exponents that do not pair."""

    runs_after = ("FoldConstants",)

    def apply(self, model: ir.Model) -> int:
        count = 0
        for mean in list(model.graph):
            power = mean.inputs[0].producer() if mean.op_type == "ReduceMean" and mean.inputs[0] is not None else None
            if power is None or power.op_type != "Pow" or power.domain:
                continue
            why = refusal(mean, power)
            if why:
                self.decline(power, why)
                continue
            p = constant(power.inputs[1])
            assert p is not None and power.inputs[0] is not None
            value, before = power.inputs[0], power
            if p.size > 1 and (p == p.flat[0]).all() and p.flat[0] in (2, 3):
                power.replace_input_with(1, shared_constant(model, "exponent", p.ravel()[0]))
            elif p.size > 1:
                shape = sizes(value)
                logarithm = insert(before, "Log", [value], shape=shape)
                exponent = insert(before, "Mul", [logarithm, power.inputs[1]], shape=shape)
                replace_value(power.outputs[0], insert(before, "Exp", [exponent], shape=shape))
                for node in (logarithm.producer(), exponent.producer(), mean.inputs[0].producer(), mean):  # type: ignore[union-attr]
                    _mark(node)
                _mark(value.producer(), _bound(value), only_consumer(mean.outputs[0]))
            else:
                continue
            count += 1
        if count:
            sweep(model)
        return count


def refusal(mean: ir.Node, power: ir.Node) -> str:
    """Why the powers stay as they are; empty when nothing stands against it."""
    root = only_consumer(mean.outputs[0])
    if only_consumer(power.outputs[0]) is not mean:
        return "the powers have other uses than the mean"
    if root is None or root.op_type != "Pow":
        return "a mean of powers without its root is not GGeM"
    p, inverse = constant(power.inputs[1]), constant(root.inputs[1])
    if p is None or inverse is None:
        return "the exponents are not constants"
    # 1e-5 covers p -> 1/p in float32; a wider gap is another operator, not rounding
    if p.size != inverse.size or not np.allclose(p.ravel() * inverse.ravel(), 1.0, rtol=1e-5):
        return f"exponents {p.ravel()} and {inverse.ravel()} are not reciprocal"
    bound = _bound(power.inputs[0])
    low = constant(bound.inputs[1]) if bound is not None and len(bound.inputs) > 1 else None
    if low is None or not low.item() > 0:
        return "no positive lower bound before the power, so there is no logarithm"
    return ""


def _bound(value: ir.Value | None) -> ir.Node | None:
    """The Clip or Max above a reshape."""
    node = value.producer() if value is not None else None
    while node is not None and node.op_type in ("Reshape", "Transpose", "Cast"):
        node = node.inputs[0].producer() if node.inputs[0] is not None else None
    return node if node is not None and node.op_type in ("Clip", "Max") else None


def _mark(*nodes: ir.Node | None) -> None:
    for node in nodes:
        if node is not None:
            node.metadata_props[FLOAT32] = WHY
