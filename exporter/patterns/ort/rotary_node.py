"""Rotary positions for ONNX Runtime on a CPU: seven nodes over halves of every head become one.

    x (B, N, H, d) > Split into halves a, b > Concat(a cos - b sin, b cos + a sin), tables (N, 1, d/2)
    x (B, N, H d), tables (N, d/2) > com.microsoft.RotaryEmbedding > (B, N, H d)

RoPE: Su et al., arXiv:2104.09864, in the rotate-half form. The nodes read and write x about five times, the one node once.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ....graph.edit import insert, replace_value, shared_constant, sweep
from ....graph.read import attribute, constant, is_op, sizes
from ..attention.ort_attention import MICROSOFT
from ..base import Pattern
from ..matchers.views import merge_views, reshaped


class RotaryNode(Pattern):
    """Put the node in where the tables are constants of one row a token."""

    def apply(self, model: ir.Model) -> int:
        count = 0
        for node in list(model.graph):
            halves = _halves(node)
            if halves is None:
                continue
            x, cos, sin = halves
            shape = sizes(x) or ()
            if why := _unfit(x, cos, sin):
                self.decline(node, why)
                continue
            batch, tokens, heads, width = shape
            flat = (batch, tokens, heads * width)  # type: ignore[operator]
            tables = [
                shared_constant(model, f"{table.name}_rows", array.reshape(-1, width // 2))  # type: ignore[union-attr, operator]
                for table, array in ((cos, constant(cos)), (sin, constant(sin)))
            ]
            start = shared_constant(model, "first_position", np.zeros(1, np.int64))
            inputs = [reshaped(model, node, x, flat), start, *tables]
            y = insert(node, "RotaryEmbedding", inputs, domain=MICROSOFT, shape=flat, num_heads=heads, interleaved=0)
            replace_value(node.outputs[0], reshaped(model, node, y, shape))
            count += 1
        if count:
            model.graph.opset_imports.setdefault(MICROSOFT, 1)
            sweep(model)
            merge_views(model)
        return count


def _halves(joined: ir.Node) -> tuple[ir.Value, ir.Value, ir.Value] | None:
    """x, cos and sin of Concat(a cos - b sin, b cos + a sin), a and b the halves of x; None for another Concat."""
    if not is_op(joined, "Concat") or len(joined.inputs) != 2:
        return None
    less, more = (_maker(value) for value in joined.inputs)
    if not is_op(less, "Sub") or not is_op(more, "Add"):
        return None
    a_cos, b_sin = (_factors(value) for value in less.inputs)
    sums = [_factors(value) for value in more.inputs]
    if a_cos is None or b_sin is None or None in sums:
        return None
    (a, cos), (b, sin) = a_cos, b_sin
    split = a.producer()
    if not is_op(split, "Split") or list(split.outputs) != [a, b] or b.producer() is not split:
        return None
    if {(b, cos), (a, sin)} != set(sums):
        return None
    x, axis, shape = split.inputs[0], attribute(split, "axis", 0), sizes(a)
    last = shape is not None and {axis, attribute(joined, "axis")} <= {-1, len(shape) - 1}
    return (x, cos, sin) if x is not None and last and shape == sizes(b) else None


def _factors(value: ir.Value | None) -> tuple[ir.Value, ir.Value] | None:
    """(half, table) of their product, in whichever order it was written; the half is what a Split makes."""
    node = _maker(value)
    if not is_op(node, "Mul"):
        return None
    first, second = node.inputs
    if is_op(_maker(second), "Split"):
        first, second = second, first
    return (first, second) if first is not None and second is not None else None


def _unfit(x: ir.Value, cos: ir.Value, sin: ir.Value) -> str:
    shape = sizes(x)
    if shape is None or len(shape) != 4 or not all(isinstance(size, int) for size in shape[1:]):
        return f"x has the shape {shape}, expected (batch, tokens, heads, width) with an open batch at most"
    if x.dtype != ir.DataType.FLOAT:
        return "the node computes in float32 alone"
    wanted = (shape[1], 1, shape[3] // 2)  # type: ignore[operator]
    for table in (cos, sin):
        array = constant(table)
        if array is None or array.shape[-3:] != wanted or array.size != wanted[0] * wanted[2]:  # type: ignore[operator]
            return f"a table is no constant of {wanted}"
    return ""


def _maker(value: ir.Value | None) -> ir.Node | None:
    return value.producer() if value is not None else None
