"""What a mask leaves behind that masks nothing: an Add of zeros, and the guard against rows that are masked as a whole.

PyTorch gives 0 where no key may be seen, so its exporter writes behind every softmax over masked scores:

    q k^T > Add mask > Softmax (NaN in a row of nothing but -inf) > Where(IsNaN, 0, softmax) > product with v

A constant mask shows whether there is such a row. Where there is none, the softmax of finite numbers is finite, and the
guard is a comparison and a choice over all scores for nothing; transformers' ViT and DINOv2 add zeros in every block and
guard them. With the guard in place no engine knows the attention. (PyTorch's own softmax asks for rows of -inf, not for NaN: of
scores that are not finite the guard makes a 0 that the network never gave.)
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ....graph.edit import drop_unread, replace_value
from ....graph.read import attribute, constant, is_op, sizes
from ..base import Pattern
from ..matchers.heads import scaled_by
from ..matchers.sums import within


class DropEmptyMask(Pattern):
    """Remove guards and zeros that change nothing; declines where a row may be masked as a whole, or nobody can tell."""

    better_after = ("FoldConstants", "FoldShapes")

    def apply(self, model: ir.Model) -> int:
        count = 0
        for node in list(model.graph):
            if is_op(node, "Where"):
                count += self._unguard(node)
            elif is_op(node, "Softmax"):
                count += _drop_zeros(node)
        return count

    def _unguard(self, where: ir.Node) -> int:
        asked, zero, rows = where.inputs
        test = asked.producer() if asked is not None else None
        softmax = rows.producer() if rows is not None else None
        if not is_op(test, "IsNaN") or not is_op(softmax, "Softmax") or test.inputs[0] is not rows:
            return 0
        number, shape = constant(zero), sizes(rows)
        if number is None or number.any() or shape is None or not within(number.shape, shape):
            return 0
        if attribute(softmax, "axis", -1) not in (-1, len(shape) - 1):
            self.decline(where, "a softmax over another axis than the last")
            return 0
        if not _every_row_sees(softmax.inputs[0]):
            self.decline(where, "what is added to the scores is no constant that leaves each row a finite number")
            return 0
        assert rows is not None
        if where.outputs[0].is_graph_output() and rows.is_graph_output():
            return 0
        replace_value(where.outputs[0], rows)
        drop_unread(where, test)
        return 1


def _every_row_sees(scores: ir.Value | None) -> bool:
    """Whether scores are a product, scaled or not, and what is added to it leaves every row a number that is no -inf."""
    node = scores.producer() if scores is not None else None
    for _ in range(2):  # scale and term in either order
        if node is None or (scaled := scaled_by(node)) is None or not np.isfinite(scaled[1]):
            break
        node = scaled[0].producer()
    if is_op(node, "MatMul"):
        return True
    if not is_op(node, "Add"):
        return False
    for index in (0, 1):
        mask, product = constant(node.inputs[index]), node.inputs[1 - index]
        shape = sizes(product)
        if mask is None or shape is None or not within(mask.shape, shape) or not mask.size:
            continue
        seen = bool(
            (mask < np.inf).all() and (np.isfinite(mask).any(axis=-1).all() if mask.ndim else np.isfinite(mask))
        )
        return seen and _is_scaled_product(product)
    return False


def _is_scaled_product(value: ir.Value | None) -> bool:
    node = value.producer() if value is not None else None
    while node is not None and (scaled := scaled_by(node)) is not None and np.isfinite(scaled[1]):
        node = scaled[0].producer()
    return is_op(node, "MatMul")


def _drop_zeros(softmax: ir.Node) -> int:
    """The scores themselves where a constant of zeros is added to them."""
    scores = softmax.inputs[0]
    add = scores.producer() if scores is not None else None
    if scores is None or not is_op(add, "Add") or scores.is_graph_output():
        return 0
    for index in (0, 1):
        zeros, value = constant(add.inputs[index]), add.inputs[1 - index]
        shape = sizes(value)
        if zeros is None or value is None or shape is None or constant(value) is not None or zeros.any():
            continue
        if within(zeros.shape, shape):
            softmax.replace_input_with(0, value)
            drop_unread(add)
            return 1
    return 0
