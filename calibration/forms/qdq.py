"""sites + scales -> explicit Q/DQ: one file that TensorRT takes and that ONNX Runtime runs with integer kernels.

    x > QuantizeLinear > DequantizeLinear > MatMul(., DequantizeLinear(codes)) > Sub(-bias)

- The activation: symmetric, one scale for the tensor, zero point 0 (TensorRT refuses any other), a pair of its own for
  each site: ONNX Runtime does not fuse a pair that several products read.
- The weight: int8 (or E4M3) codes and a DequantizeLinear with one scale a channel; the float weight is gone from the file.
- The bias: ``Sub`` of its negative.  An Add of a vector is merged with the MatMul by ONNX Runtime before it looks for
  Q/DQ, and a Gemm in float32 is what remains; Gemm nodes therefore become MatMul and Sub.

Everything else of the graph stays as it is, names included.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...graph.edit import add_constant, insert, sweep, take_over
from ...graph.read import attribute, constant, is_op, nodes_by_name
from ..nouns import Range, Recipe, ScaleTable, Site, WeightScales
from ..precisions import PRECISIONS, Codes

if TYPE_CHECKING:
    import onnx_ir as ir


def insert_qdq(model: ir.Model, sites: Sequence[Site], scales: ScaleTable, recipe: Recipe) -> ir.Model:
    """A copy of ``model`` (float32) with Q/DQ at the sites that have an entry in ``scales``; the rest stays float32.

    A site with a weight but no range gets weight codes only.
    """
    model = model.clone()
    nodes, zero = nodes_by_name(model), _zero(recipe.precision)
    for site in sites:
        if site.node not in scales.weights:
            continue
        node, weight = nodes[site.node], scales.weights[site.node]
        if is_op(node, "Gemm"):
            node, weight = _as_matmul(model, node, weight)
        node.replace_input_with(1, _weight(model, node, weight))
        if site.node in scales.activations:
            node.replace_input_with(0, _pair(model, node, scales.activations[site.node], zero))
        if is_op(node, "MatMul"):
            _bias_as_sub(model, node)
    sweep(model)
    return model


def _zero(precision: str) -> Any:
    """The zero point: its type is the type of the codes."""
    codes = PRECISIONS[precision].codes
    if codes is Codes.INT8:
        return np.int8(0)
    if codes is Codes.E4M3:
        import ml_dtypes

        return ml_dtypes.float8_e4m3fn(0)
    raise ValueError(f"{precision} has no Q/DQ of activations")


def _pair(model: ir.Model, node: ir.Node, found: Range, zero: Any) -> ir.Value:
    """x > QuantizeLinear > DequantizeLinear, for this reader alone."""
    import onnx_ir as ir

    x, name = node.inputs[0], str(node.name)
    assert x is not None
    if found.zero_point != 0:
        raise ValueError(f"{name}: zero point {found.zero_point}, this form is symmetric")
    scale = add_constant(model, f"{name}_scale", np.float32(found.scale))
    point = add_constant(model, f"{name}_zero", zero)
    codes = insert(
        node,
        "QuantizeLinear",
        [x, scale, point],
        output=f"{name}_codes",
        name=f"{name}_Q",
        dtype=point.dtype,
        shape=x.shape,
    )
    return insert(
        node, "DequantizeLinear", [codes, scale, point], output=f"{name}_real", name=f"{name}_DQ",
        dtype=ir.DataType.FLOAT, shape=x.shape,
    )  # fmt: skip


def _weight(model: ir.Model, node: ir.Node, weight: WeightScales) -> ir.Value:
    """DequantizeLinear of the codes; two sites with equal codes share the arrays, each has its own node."""
    import onnx_ir as ir

    name = str(node.name)
    scale = weight.scale.astype(np.float32)
    codes = add_constant(model, f"{name}_weight_codes", weight.codes)
    steps = add_constant(model, f"{name}_weight_scale", scale.reshape(-1) if not weight.block else scale)
    block: dict[str, Any] = {"block_size": weight.block} if weight.block else {}
    return insert(
        node, "DequantizeLinear", [codes, steps], output=f"{name}_weight", name=f"{name}_weight_DQ",
        dtype=ir.DataType.FLOAT, shape=ir.Shape(weight.codes.shape), axis=weight.axis, **block,
    )  # fmt: skip


def _as_matmul(model: ir.Model, node: ir.Node, weight: WeightScales) -> tuple[ir.Node, WeightScales]:
    """Gemm -> MatMul (+ Sub); the MatMul has the node's name, and its codes are (K, N)."""
    name, bias = str(node.name), constant(node.inputs[2]) if len(node.inputs) > 2 else None
    output = node.outputs[0]
    y = insert(
        node, "MatMul", list(node.inputs[:2]), output=f"{name}_product", name=f"{name}_product", dtype=output.dtype,
        shape=output.shape,
    )  # fmt: skip
    product = y.producer()
    assert product is not None
    if bias is not None:
        negative = add_constant(model, f"{name}_minus_bias", -bias * np.float32(attribute(node, "beta", 1.0)))
        y = insert(node, "Sub", [y, negative], output=f"{name}_sum", name=f"{name}_bias", dtype=output.dtype)
    take_over(node, y)
    product.name = name
    if weight.axis == 0:
        weight = WeightScales(
            np.ascontiguousarray(weight.codes.T), weight.scale, 1, weight.block, weight.rule, weight.sqnr_db
        )
    return product, weight


def _bias_as_sub(model: ir.Model, node: ir.Node) -> None:
    """Add(product, b) -> Sub(product, -b), wherever the product is read by an Add of a constant."""
    for use in list(node.outputs[0].uses()):
        add = use.node
        if not is_op(add, "Add"):
            continue
        other = add.inputs[1 - use.idx]
        bias = constant(other)
        if bias is None or other is None:
            continue
        sub = insert(
            add, "Sub", [node.outputs[0], add_constant(model, f"{other.name}_minus", -bias)], output=f"{add.name}_sum",
            name=f"{add.name}_sub", dtype=add.outputs[0].dtype,
        ).producer()  # fmt: skip
        assert sub is not None
        name = add.name
        take_over(add, sub.outputs[0])
        sub.name = name
