"""sites + codes in blocks -> DequantizeLinear with ``block_size`` in front of each weight: the weight-only file of TensorRT.

    int4    codes INT4 (K, N), scale (K / block, N) > DequantizeLinear<axis, block_size> > MatMul             opset 21
    nvfp4   block scale E4M3 > DequantizeLinear(outer) > scale;  codes FLOAT4E2M1 > DequantizeLinear(scale)   opset 23

Activations stay as they are.  TensorRT takes blocks along the last two axes only, so the weight of a 1x1 convolution is
dequantised as a matrix (O, I) and reshaped to (O, I, 1, 1) behind it.  The float weight is gone from the file.

The order of the graph's other operators is older than these opsets; none of those we use changed its meaning between 20
and 23 but GroupNormalization, which is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ...graph.edit import add_constant, insert, sweep
from ...graph.read import is_op, nodes_by_name
from ...runtime.errors import EdgesmithError
from ..nouns import Recipe, ScaleTable, Site, WeightScales
from ..precisions import PRECISIONS

if TYPE_CHECKING:
    import onnx_ir as ir


def insert_blocks(model: ir.Model, sites: Sequence[Site], scales: ScaleTable, recipe: Recipe) -> ir.Model:
    """A copy of ``model`` (float32) whose weights at the sites in ``scales`` are stored in 4 bits.

    Raises:
        EdgesmithError: the opset cannot be raised, or the codes are not in blocks.
    """
    model = model.clone()
    _raise_opset(model, PRECISIONS[recipe.precision].least_opset)
    nodes = nodes_by_name(model)
    for site in sites:
        if site.node in scales.weights:
            node = nodes[site.node]
            node.replace_input_with(1, _weight(model, node, scales.weights[site.node]))
    sweep(model)
    return model


def _raise_opset(model: ir.Model, opset: int) -> None:
    if model.graph.opset_imports.get("", 0) >= opset:
        return
    for node in model.graph:
        if is_op(node, "GroupNormalization"):
            raise EdgesmithError(
                f"{node.name} is a GroupNormalization of opset {model.graph.opset_imports['']}",
                because=f"its scale has another shape from opset 21, and weights in blocks need opset {opset}",
                attempt="--precision int8",
            )
    model.graph.opset_imports[""] = opset
    model.ir_version = max(model.ir_version or 0, 10)  # the first whose tensors may be 4 bits wide


def _weight(model: ir.Model, node: ir.Node, found: WeightScales) -> ir.Value:
    """The float32 weight as the graph computes it, in the shape that ``node`` reads."""
    import ml_dtypes
    import onnx_ir as ir

    if not found.block:
        raise EdgesmithError(f"the weight of {node.name} is not in blocks", because="weight-only files have them")
    name, float32 = str(node.name), ir.DataType.FLOAT
    matrix = found.codes.shape[:2]
    codes = found.codes.reshape(matrix)
    scale = found.scale.reshape(found.scale.shape[:2])
    steps = add_constant(model, f"{name}_weight_scale", scale)
    if scale.dtype == np.float32:
        codes = codes.astype(ml_dtypes.int4)
    else:  # two levels: block scales are stored in 8 bits
        outer = add_constant(model, f"{name}_weight_outer", np.float32(found.outer))
        steps = insert(
            node, "DequantizeLinear", [steps, outer], output=f"{name}_weight_steps", name=f"{name}_weight_scale_DQ",
            dtype=float32, shape=ir.Shape(scale.shape),
        )  # fmt: skip
    weight = insert(
        node, "DequantizeLinear", [add_constant(model, f"{name}_weight_codes", codes), steps], output=f"{name}_weight",
        name=f"{name}_weight_DQ", dtype=float32, shape=ir.Shape(matrix),
        axis=found.axis, block_size=found.block,
    )  # fmt: skip
    if found.codes.ndim == 2:
        return weight
    shape = add_constant(model, f"{name}_weight_shape", np.array(found.codes.shape, np.int64))
    return insert(
        node, "Reshape", [weight, shape], output=f"{name}_kernel", name=f"{name}_weight_reshape", dtype=float32,
        shape=ir.Shape(found.codes.shape),
    )  # fmt: skip
