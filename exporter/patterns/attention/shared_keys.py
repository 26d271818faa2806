"""Keys and values that all heads share are written once for each head: TensorRT fuses attention of as many keys as queries.

    q (B, h, N, w), k^T (B, 1, w, M), v (B, 1, M, w)      MatMul > Softmax > MatMul, each spread over the heads by itself
    q (B, h, N, w), k^T (B, h, w, M), v (B, h, M, w)      the same products, in one kernel

Multi-query attention (Shazeer, arXiv:1911.02150), as in MobileNetV4 (arXiv:2404.10518). The copies are small beside the
scores, which then never leave the chip.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ....graph.edit import insert, shared_constant
from ....graph.read import attribute, constant, is_op, only_consumer, sizes
from ..base import Pattern
from ..matchers.heads import unscaled


class RepeatKeys(Pattern):
    """Expand the one head of keys and of values to the heads of the queries."""

    better_after = ("FoldShapes", "DropEmptyMask", "DropExpands")

    def apply(self, model: ir.Model) -> int:
        count = 0
        for node in list(model.graph):
            if not is_op(node, "Softmax") or attribute(node, "axis", -1) not in (-1, 3):
                continue
            scores, context = _product_before(node), only_consumer(node.outputs[0])
            if scores is None or not is_op(context, "MatMul") or context.inputs[0] is not node.outputs[0]:
                continue
            heads = _heads(scores.inputs[0])
            if (
                heads < 2
                or heads != _heads(node.outputs[0])
                or not _heads(scores.inputs[1]) == _heads(context.inputs[1]) == 1
            ):
                continue
            for product in (scores, context):
                _repeat(model, product, heads)
            count += 1
        return count


def _product_before(softmax: ir.Node) -> ir.Node | None:
    """The MatMul whose result, scaled and with a term or without, the softmax reads."""
    value, _ = unscaled(softmax.inputs[0])
    node = value.producer() if value is not None else None
    if is_op(node, "Add"):
        found = [each for term in node.inputs if is_op(each := _unscaled_producer(term), "MatMul")]
        return found[0] if len(found) == 1 else None
    return node if is_op(node, "MatMul") else None


def _unscaled_producer(value: ir.Value | None) -> ir.Node | None:
    source, _ = unscaled(value)
    return source.producer() if source is not None else None


def _heads(value: ir.Value | None) -> int:
    """The second of four axes where it is a number, else 0; 0 for a constant too, which all heads may share as it is."""
    shape = sizes(value)
    known = shape is not None and len(shape) == 4 and isinstance(shape[1], int) and constant(value) is None
    return int(shape[1]) if known and shape is not None and isinstance(shape[1], int) else 0


def _repeat(model: ir.Model, product: ir.Node, heads: int) -> None:
    value = product.inputs[1]
    assert value is not None
    shape = sizes(value) or ()
    target = shared_constant(model, "heads", np.array([1, heads, 1, 1], np.int64))
    product.replace_input_with(1, insert(product, "Expand", [value, target], shape=(shape[0], heads, *shape[2:])))
