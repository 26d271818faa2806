"""Einsum of two values as the MatMul that it is, so that attention written with it is found.

    q (B, h, N, d), k (B, h, M, d) > Einsum "bhnd,bhmd->bhnm"
    q, k > Transpose (B, h, d, M) > MatMul (B, h, N, M)

Axes of both inputs and the result are the batch, axes of both inputs alone are summed over, and each input has at most one
axis of its own; every other equation stays as it is. The transposes to and fro are left out where they change nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from ....graph.edit import insert, replace_value, sweep
from ....graph.read import attribute, sizes
from ..base import Pattern
from ..matchers.views import merge_views


class EinsumProduct(Pattern):
    """Write Einsum as MatMul; refuses equations that are no product of two matrices."""

    better_after = ("FoldShapes",)

    def apply(self, model: ir.Model) -> int:
        count = 0
        for node in list(model.graph):
            if node.op_type != "Einsum" or node.domain:
                continue
            letters = product_letters(str(attribute(node, "equation", "")))
            if letters is None or not _fits(node, letters):
                self.decline(node, f"{attribute(node, 'equation')!r} is not the product of two matrices")
                continue
            _write(node, *letters)
            count += 1
        if count:
            sweep(model)
            merge_views(model)
        return count


def product_letters(equation: str) -> tuple[str, str, str] | None:
    """The axes of left, right and result of a product of two matrices; None for other equations."""
    sides = equation.replace(" ", "").split("->")
    inputs = sides[0].split(",")
    if len(sides) != 2 or len(inputs) != 2:
        return None
    left, right, result = *inputs, sides[1]
    if any(len(set(axes)) < len(axes) or not axes.isalpha() for axes in (left, right, result)):
        return None
    batch, summed = set(left) & set(right) & set(result), (set(left) & set(right)) - set(result)
    own = [set(axes) - batch - summed for axes in (left, right)]
    one_each = len(summed) == len(own[0]) == len(own[1]) == 1
    return (left, right, result) if one_each and set(result) == batch | own[0] | own[1] else None


def _fits(node: ir.Node, letters: Sequence[str]) -> bool:
    """Whether both inputs have known ranks, and equal sizes where they share an axis (Einsum would broadcast a 1)."""
    shapes = [sizes(value) for value in node.inputs]
    if any(shape is None or len(shape) != len(axes) for shape, axes in zip(shapes, letters, strict=False)):
        return False
    left, right = (dict(zip(axes, shape or (), strict=True)) for shape, axes in zip(shapes, letters, strict=False))
    return all(left[axis] == right[axis] is not None for axis in set(left) & set(right))


def _write(node: ir.Node, left: str, right: str, result: str) -> None:
    batch = "".join(axis for axis in result if axis in left and axis in right)
    (summed,) = (axis for axis in left if axis in right and axis not in result)
    (row,), (column,) = ([axis for axis in axes if axis not in batch + summed] for axes in (left, right))
    a = _turned(node, node.inputs[0], left, batch + row + summed)
    b = _turned(node, node.inputs[1], right, batch + summed + column)
    made = batch + row + column
    shape = [*(sizes(a) or ())[:-1], (sizes(b) or (None,))[-1]]
    replace_value(node.outputs[0], _turned(node, insert(node, "MatMul", [a, b], shape=shape), made, result))


def _turned(before: ir.Node, value: ir.Value | None, axes: str, wanted: str) -> ir.Value:
    """``value`` with its ``axes`` in the order ``wanted``."""
    assert value is not None
    if axes == wanted:
        return value
    perm = [axes.index(axis) for axis in wanted]
    shape = sizes(value) or ()
    return insert(before, "Transpose", [value], perm=perm, shape=[shape[axis] for axis in perm])
