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

import onnx_ir as ir

from ....graph.edit import insert, replace_value, shared_constant, sweep
from ....graph.read import constant, only_consumer, sizes
from ..base import Pattern
from ..matchers.mean_of_powers import bound_of, means_of_powers, refusal

FLOAT32 = "edgesmith.float32"  # metadata of a node: why it stays in float32 (exporter/precision/casts.py)
WHY = "GGeM pooling: powers with learned exponents"


class GGeMPowers(Pattern):
    """Rewrite the powers before the mean; declines without a positive lower bound or with exponents that do not pair."""

    better_after = ("FoldConstants",)

    def apply(self, model: ir.Model) -> int:
        count = 0
        for mean, power in means_of_powers(model.graph):
            why = refusal(mean, power)
            if why:
                self.decline(power, why)
                continue
            p = constant(power.inputs[1])
            assert p is not None and power.inputs[0] is not None
            value, before, shape = power.inputs[0], power, sizes(power.outputs[0])
            one = p.size > 1 and (p == p.flat[0]).all() and p.flat[0] in (2, 3)
            if one and shape is not None and None not in shape and shape == sizes(value):  # no group is made by p
                power.replace_input_with(1, shared_constant(model, "exponent", p.ravel()[0]))
            elif p.size > 1:
                exponents, kind = power.inputs[1], value.dtype
                assert kind is not None  # floating point: refusal asked
                if p.dtype != kind.numpy():  # a power takes whole numbers, a product does not
                    exponents = shared_constant(model, "exponents", p.astype(kind.numpy()))
                logarithm = insert(before, "Log", [value], shape=sizes(value))
                exponent = insert(before, "Mul", [logarithm, exponents], shape=shape)
                replace_value(power.outputs[0], insert(before, "Exp", [exponent], shape=shape))
                for node in (logarithm.producer(), exponent.producer(), mean.inputs[0].producer(), mean):  # type: ignore[union-attr]
                    _mark(node)
                _mark(value.producer(), bound_of(value), only_consumer(mean.outputs[0]))
            else:
                continue
            count += 1
        if count:
            sweep(model)
        return count


def _mark(*nodes: ir.Node | None) -> None:
    for node in nodes:
        if node is not None:
            node.metadata_props[FLOAT32] = WHY
