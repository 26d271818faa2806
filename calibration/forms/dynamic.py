"""sites -> integer products whose activation is quantised as it arrives: the form of transformers on a CPU.

    MatMul(x, w)  ->  q, s, z = DynamicQuantizeLinear(x)
                      Mul(Cast(MatMulInteger(q, codes, z)), Mul(s, scale))            codes (K, N) int8, scale (N,)

All of it is standard ONNX.  ONNX Runtime turns it, and the bias behind it, into one DynamicQuantizeMatMul where x has one
reader, and into one MatMulIntegerToFloat a product where several read the same x: then x is quantised once.  There is no
range to choose and nothing to calibrate.

DynamicQuantizeLinear takes one range for the whole tensor.  In a graph that takes several pictures at a time an answer would
depend on the pictures beside it, so there each row of x has its own range, symmetric about code 128:

    r = max |x| of each row / 127                     q = QuantizeLinear(x / r, 1, 128)
    MatMul(x, w)  ->  Mul(Mul(Cast(MatMulInteger(q, codes, 128)), scale), r)

No engine fuses that: a product of a ViT runs at 0.8 to 1.4 of its float32 speed where the other runs at 1.3 to 2.1 (AVX2).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...graph.edit import add_constant, insert, sweep, take_over
from ...graph.read import attribute, is_op, nodes_by_name
from ..nouns import Site, WeightScales

if TYPE_CHECKING:
    from typing import TypeAlias

    import onnx_ir as ir

    # codes, scale of all of them or None, zero point, scale of each row or None
    Quantised: TypeAlias = tuple[ir.Value, ir.Value | None, ir.Value, ir.Value | None]

SMALLEST = 1e-30  # range of a row of zeros, whose codes are then 128 and not NaN


def insert_dynamic(model: ir.Model, sites: Sequence[Site], weights: Mapping[str, WeightScales]) -> ir.Model:
    """A copy of ``model`` (float32) in which the MatMul and Gemm nodes named in ``weights`` (int8) compute in integers.

    A graph that takes one picture has one range a tensor, any other has one a row.
    """
    model = model.clone()
    nodes, seen = nodes_by_name(model), dict[str, "Quantised"]()
    by_row = not takes_one(model)
    for site in sites:
        if site.node in weights:
            if site.op == "Conv":
                raise ValueError(f"{site.node} is a Conv: placement.py leaves it in float32 in this form")
            _integer_product(model, nodes[site.node], weights[site.node], seen, by_row)
    sweep(model)
    return model


def takes_one(model: ir.Model) -> bool:
    """Whether the graph takes one picture at a time and no more."""
    return all(value.shape is not None and value.shape[0] == 1 for value in model.graph.inputs if value.shape != ())


def _integer_product(
    model: ir.Model, node: ir.Node, weight: WeightScales, seen: dict[str, Quantised], by_row: bool
) -> None:
    """The site's name stays on the last node of the chain; further nodes are called after it."""
    import onnx_ir as ir

    name, x = str(node.name), node.inputs[0]
    assert x is not None
    if str(x.name) not in seen:
        seen[str(x.name)] = _quantise_rows(model, node, x) if by_row else quantise(node, x)
    codes, scale = weight.codes, weight.scale.astype(np.float32).reshape(-1)
    if weight.axis == 0:  # Gemm with transB
        codes = codes.T
    w, w_scale = add_constant(model, f"{name}_codes", codes), add_constant(model, f"{name}_scale", scale)
    y = product(node, seen[str(x.name)], w, w_scale)
    bias = node.inputs[2] if is_op(node, "Gemm") and len(node.inputs) > 2 else None
    if bias is not None:
        shape, real = node.outputs[0].shape, ir.DataType.FLOAT
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


def product(node: ir.Node, x: Quantised, w: ir.Value, w_scale: ir.Value) -> ir.Value:
    """The product that ``node`` makes, of codes: ``w`` int8 (K, N), ``w_scale`` float32 (N,); without its bias."""
    import onnx_ir as ir

    name, (q, s, z, rows) = str(node.name), x
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
    factor = w_scale
    if s is not None:
        factor = insert(
            node, "Mul", [s, w_scale], output=f"{name}_factor", name=f"{name}_factor", dtype=real, shape=w_scale.shape
        )
    y = insert(node, "Mul", [y, factor], output=f"{name}_real", name=f"{name}_real", dtype=real, shape=shape)
    if rows is not None:
        y = insert(node, "Mul", [y, rows], output=f"{name}_rows", name=f"{name}_rows", dtype=real, shape=shape)
    return y


def quantise(before: ir.Node, x: ir.Value) -> Quantised:
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
    return outputs[0], outputs[1], outputs[2], None


def _quantise_rows(model: ir.Model, before: ir.Node, x: ir.Value) -> Quantised:
    """``x`` in uint8 about 128, each row (along the last axis, which the product sums over) in a range of its own."""
    import onnx_ir as ir

    name, real = str(x.name), ir.DataType.FLOAT

    def step(op: str, inputs: list[ir.Value], part: str, dtype: ir.DataType = real, **attributes: Any) -> ir.Value:
        label = f"{name}_{part}"
        shape = x.shape if part in ("abs", "shares", "codes") else None
        return insert(before, op, inputs, output=label, name=label, dtype=dtype, shape=shape, **attributes)

    def number(value: np.ndarray | np.generic, part: str) -> ir.Value:
        return add_constant(model, f"{name}_{part}", np.asarray(value))

    most = step("ReduceMax", [step("Abs", [x], "abs"), number(np.array([-1]), "last")], "most", keepdims=1)
    most = step("Max", [most, number(np.float32(127 * SMALLEST), "least")], "above")
    rows = step("Mul", [most, number(np.float32(1 / 127), "steps")], "rows")
    zero = number(np.uint8(128), "zero")
    shares = step("Div", [x, rows], "shares")
    codes = step("QuantizeLinear", [shares, number(np.float32(1), "one"), zero], "codes", ir.DataType.UINT8)
    return codes, None, zero, rows
