"""The float types of a graph's weights: which of them ONNX Runtime cannot load, and the same numbers in types it can."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .edit import add_constant, clone, replace_value, sweep
from .read import attribute, constant, is_op

if TYPE_CHECKING:
    import onnx_ir as ir


def as_float(model: ir.Model) -> ir.Model:
    """A copy whose weights in 4 and 8 bits are floats again, of the type the graph computes with; the same numbers.

    ONNX Runtime has no FLOAT4E2M1: this is what it runs in place of an nvfp4 file, and what parity is judged on.
    """
    model = clone(model)
    for node in list(model.graph):
        if not is_op(node, "DequantizeLinear"):
            continue
        parts = [constant(value) for value in node.inputs]
        if any(part is None for part in parts) or len(parts) > 2:
            continue  # of an activation, or with a zero point: ONNX Runtime has those
        codes, scale = (np.asarray(part).astype(np.float32) for part in parts)
        block, axis = attribute(node, "block_size", 0), attribute(node, "axis", 1)
        if block:
            scale = np.repeat(scale, block, axis=axis)
        elif scale.ndim:
            scale = scale.reshape([-1 if index == axis % codes.ndim else 1 for index in range(codes.ndim)])
        weight = (codes * scale).astype(np.asarray(parts[1]).dtype)
        replace_value(node.outputs[0], add_constant(model, f"{node.outputs[0].name}_float", weight))
        model.graph.remove(node, safe=True)
    sweep(model)
    return model


def holds_fp4(model: ir.Model) -> bool:
    """Whether a weight of the graph has a type that ONNX Runtime cannot load."""
    import onnx_ir as ir

    return any(value.dtype == ir.DataType.FLOAT4E2M1 for value in model.graph.initializers.values())
