"""sites -> integer products whose activation is quantised as it arrives: the form of transformers on a CPU.

    MatMul(x, w)  ->  q, s, z = DynamicQuantizeLinear(x)
                      Mul(Cast(MatMulInteger(q, codes, z)), Mul(s, scale))            codes (K, N) int8, scale (N,)

All of it is standard ONNX.  ONNX Runtime turns it, and the bias behind it, into one DynamicQuantizeMatMul where x has one
reader, and into one MatMulIntegerToFloat a product where several read the same x: then x is quantised once.  There is no
range to choose and nothing to calibrate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ...graph.edit import add_constant, insert, sweep, take_over
from ...graph.read import attribute, nodes_by_name
from ..nouns import Site, WeightScales

if TYPE_CHECKING:
    import onnx_ir as ir

    Quantised = tuple[ir.Value, ir.Value, ir.Value]  # codes, scale, zero point


def insert_dynamic(model: ir.Model, sites: Sequence[Site], weights: Mapping[str, WeightScales]) -> ir.Model:
    """A copy of ``model`` (float32) in which the MatMul and Gemm nodes named in ``weights`` (int8) compute in integers."""
    model = model.clone()
    nodes, seen = nodes_by_name(model), dict[str, "Quantised"]()
    for site in sites:
        if site.node in weights:
            if site.op == "Conv":
                raise ValueError(f"{site.node} is a Conv: placement.py leaves it in float32 in this form")
            _integer_product(model, nodes[site.node], weights[site.node], seen)
    sweep(model)
    return model


def _integer_product(model: ir.Model, node: ir.Node, weight: WeightScales, seen: dict[str, Quantised]) -> None:
    """The site's name stays on the last node of the chain; further nodes are called after it."""
    import onnx_ir as ir

    name, x = str(node.name), node.inputs[0]
    assert x is not None
    if str(x.name) not in seen:
        seen[str(x.name)] = _quantise(node, x)
    q, s, z = seen[str(x.name)]
    codes, scale = weight.codes, weight.scale.astype(np.float32).reshape(-1)
    if weight.axis == 0:  # Gemm with transB
        codes = codes.T
    w, w_scale = add_constant(model, f"{name}_codes", codes), add_constant(model, f"{name}_scale", scale)
    shape, real = node.outputs[0].shape, ir.DataType.FLOAT
    y = insert(
        node,
        "MatMulInteger",
        [q, w, z],
        output=f"{name}_integer",
        name=f"{name}_integer",
        dtype=ir.DataType.INT32,
        shape=shape,
    )
    y = insert(node, "Cast", [y], output=f"{name}_cast", name=f"{name}_cast", dtype=real, shape=shape, to=int(real))
    factor = insert(
        node,
        "Mul",
        [s, w_scale],
        output=f"{name}_factor",
        name=f"{name}_factor",
        dtype=real,
        shape=ir.Shape(scale.shape),
    )
    y = insert(node, "Mul", [y, factor], output=f"{name}_real", name=f"{name}_real", dtype=real, shape=shape)
    bias = node.inputs[2] if node.op_type == "Gemm" and len(node.inputs) > 2 else None
    if bias is not None:
        beta = attribute(node, "beta", 1.0)
        if beta != 1.0:
            bias = insert(
                node, "Mul", [bias, add_constant(model, f"{name}_beta", np.float32(beta))], output=f"{name}_bias",
                name=f"{name}_bias", dtype=real,
            )  # fmt: skip
        y = insert(node, "Add", [y, bias], output=f"{name}_sum", name=f"{name}_sum", dtype=real, shape=shape)
    last = y.producer()
    assert last is not None
    take_over(node, y)
    last.name = name


def _quantise(before: ir.Node, x: ir.Value) -> Quantised:
    """DynamicQuantizeLinear of ``x``: uint8, range and zero point of this very tensor."""
    import onnx_ir as ir

    types = (ir.DataType.UINT8, ir.DataType.FLOAT, ir.DataType.UINT8)
    shapes = (x.shape, ir.Shape(()), ir.Shape(()))
    outputs = [
        ir.Value(name=f"{x.name}_{part}", type=ir.TensorType(dtype), shape=shape)
        for part, dtype, shape in zip(("codes", "scale", "zero"), types, shapes, strict=True)
    ]
    node = ir.node("DynamicQuantizeLinear", [x], outputs=outputs, name=f"{x.name}_quantise")
    assert isinstance(before.graph, ir.Graph)
    before.graph.insert_before(before, node)
    return outputs[0], outputs[1], outputs[2]
