"""A generalised mean as it is exported: powers, their mean, its root.

x > Clip eps > Reshape (B, N, G, C/G) > Pow p > ReduceMean over N > Pow 1/p > Reshape (B, C)
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from ....graph.read import constant, only_consumer

FLOATS = {ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16, ir.DataType.DOUBLE}


def means_of_powers(graph: ir.Graph) -> Iterator[tuple[ir.Node, ir.Node]]:
    """(mean, power) of every ReduceMean that reads a Pow."""
    for mean in list(graph):
        source = mean.inputs[0] if mean.op_type == "ReduceMean" and not mean.domain else None
        power = source.producer() if source is not None else None
        if power is not None and power.op_type == "Pow" and not power.domain:
            yield mean, power


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
    if power.inputs[0] is None or power.inputs[0].dtype not in FLOATS:
        return f"powers of {power.inputs[0].dtype if power.inputs[0] is not None else None}, expected floating point"
    # 1e-5 covers p -> 1/p in float32; a wider gap is another operator, not rounding
    if p.size != inverse.size or not np.allclose(p.ravel() * inverse.ravel(), 1.0, rtol=1e-5):
        return f"exponents {p.ravel()} and {inverse.ravel()} are not reciprocal"
    bound = bound_of(power.inputs[0])
    low = constant(bound.inputs[1]) if bound is not None and len(bound.inputs) > 1 else None
    if low is None or not (low > 0).all():
        return "no positive lower bound before the power, so there is no logarithm"
    return ""


def bound_of(value: ir.Value | None) -> ir.Node | None:
    """The Clip or Max above a reshape."""
    node = value.producer() if value is not None else None
    while node is not None and node.op_type in ("Reshape", "Transpose", "Cast"):
        node = node.inputs[0].producer() if node.inputs[0] is not None else None
    return node if node is not None and node.op_type in ("Clip", "Max") else None
