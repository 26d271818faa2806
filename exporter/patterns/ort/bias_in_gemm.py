"""Products with a bias for ONNX Runtime on a CPU: on rows of a 2-D view, so that one kernel adds the bias.

    x (..., N, C) > MatMul W (C, D) > Add b (D)
    x (rows, C) > Gemm W, b > (rows, D)

ONNX Runtime joins the two by itself where x has two axes; of more, the sum is a pass over memory of its own. The weight need
not have a value yet.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import onnx_ir as ir

from ....graph.edit import insert, replace_value, sweep
from ....graph.read import is_op, only_consumer, sizes
from ..base import Pattern
from ..matchers.views import as_shape, merge_views


class BiasInGemm(Pattern):
    """Join each product by a stored matrix with the stored vector that is added to it."""

    def apply(self, model: ir.Model) -> int:
        count = 0
        for node in list(model.graph):
            weight = node.inputs[1] if is_op(node, "MatMul") else None
            summed = only_consumer(node.outputs[0]) if weight is not None else None
            if weight is None or not weight.is_initializer() or not is_op(summed, "Add"):
                continue
            x, bias = node.inputs[0], summed.inputs[summed.inputs[0] is node.outputs[0]]
            if bias is None or not bias.is_initializer() or len(sizes(bias) or (1, 1)) != 1:
                continue  # a sum of two streams, as behind every block
            if why := _unfit(x, weight, bias):
                self.decline(node, why)
                continue
            inputs, outputs = sizes(weight) or ()
            shape = sizes(summed.outputs[0]) or ()
            rows = _count(shape[:-1])
            y = insert(
                node, "Gemm", [as_shape(model, node, x, (rows, inputs)), weight, bias],  # type: ignore[arg-type]
                name=f"{node.name}_with_bias" if node.name else "", shape=(rows, outputs),
            )  # fmt: skip
            replace_value(summed.outputs[0], as_shape(model, node, y, shape))
            count += 1
        if count:
            sweep(model)
            merge_views(model)
        return count


def _count(shape: Sequence[int | str | None]) -> int | str | None:
    """How many rows of this shape there are; of an open batch the product with its name."""
    known = math.prod(size for size in shape if isinstance(size, int))
    opened = next((size for size in shape if not isinstance(size, int)), 1)
    return known if opened == 1 else opened if known == 1 or opened is None else f"{known}*({opened})"


def _unfit(x: ir.Value | None, weight: ir.Value, bias: ir.Value) -> str:
    """Why the two do not become one product of rows; empty when they do."""
    shape, matrix = sizes(x), sizes(weight)
    if shape is None or sum(not isinstance(size, int) for size in shape) > 1:
        return f"rows of shape {shape} cannot be counted: more than one size is open"
    if matrix is None or len(matrix) != 2 or sizes(bias) != matrix[1:] or len(shape) < 2:
        return f"{shape} times {matrix} plus {sizes(bias)} is no product of rows with a bias of its width"
    return ""
