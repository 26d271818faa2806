"""Keys and values that all heads share are written once for each head: TensorRT fuses attention of as many keys as queries.

    q (B, h, N, w), k^T (B, 1, w, M), v (B, 1, M, w)      MatMul > Softmax > MatMul, each spread over the heads by itself
    q (B, h, N, w), k^T (B, h, w, M), v (B, h, M, w)      the same products, in one kernel

Multi-query attention (Shazeer, arXiv:1911.02150), as in MobileNetV4 (arXiv:2404.10518). The copies are small beside the
scores, which then never leave the chip.

Attention of one head alone is not fused either (TensorRT-RTX 1.7, whatever its width): equal parts of its queries are as good as
heads, since each query is answered by itself. First stages of PVT v2 (arXiv:2106.13797) and MViT v2 (arXiv:2112.01526) have
one head, and EfficientViT's cascaded groups (arXiv:2305.07027), which multiply from the other side:

    q (B, N, w), k^T (B, w, M), v (B, M, w)               softmax(q k^T + bias) v, or v^T softmax(q k^T + bias)^T
    q (B, h, N / h, w), k^T (B, 1, w, M), v (B, 1, M, w)  the same products of h heads, whose keys RepeatKeys writes out
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ....graph.edit import insert, replace_value, shared_constant, sweep
from ....graph.read import attribute, constant, is_op, only_consumer, sizes
from ..base import Pattern
from ..matchers.heads import unscaled
from ..matchers.one_head import OneHead, one_head, turned
from ..matchers.views import reshaped
from .wide_values import WIDEST


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


class SplitQueries(Pattern):
    """Make heads of the queries of an attention that has one; refuses an odd term, other uses and widths that differ."""

    better_after = ("FoldShapes", "FoldConstants", "DropEmptyMask", "DropExpands", "WidenKeys")

    def apply(self, model: ir.Model) -> int:
        count = sum([self._split(model, node) for node in list(model.graph) if is_op(node, "Softmax")])
        if count:
            sweep(model)
        return count

    def _split(self, model: ir.Model, softmax: ir.Node) -> bool:
        scores = _product_before(softmax)
        found = one_head(softmax, scores) if scores is not None else None
        if scores is None or found is None:
            return False
        added, factor = _between(softmax, scores)
        parts = next((n for n in range(2, found.rows) if found.rows % n == 0), 0)
        term = None if added is None else _in_parts(added, found, parts)
        if why := _refusal(softmax, scores, found, parts, factor is not None and (added is None or term is not None)):
            self.decline(softmax, why)
            return False
        before, keys, width = found.context, found.keys, found.width
        heads = (found.batch, parts, found.rows // parts)
        q = reshaped(model, before, found.q, (*heads, width))
        k = reshaped(model, before, found.k, (found.batch, 1, width, keys))
        v = turned(before, found.v) if found.from_left else found.v
        if found.values > width:  # zeros add nothing to a product, and of three equal widths one kernel is made
            q = _padded(model, before, q, (*heads, found.values), 7)
            k = _padded(model, before, k, (found.batch, 1, found.values, keys), 6)
            width = found.values
        rows = insert(before, "MatMul", [q, k], shape=(*heads, keys))
        if factor != 1:
            assert q.dtype is not None
            number = shared_constant(model, "scale", np.array(factor, q.dtype.numpy()))
            rows = insert(before, "Mul", [rows, number], shape=(*heads, keys))
        if added is not None and term is not None:
            rows = insert(before, "Add", [rows, reshaped(model, before, added, term)], shape=(*heads, keys))
        rows = insert(before, "Softmax", [rows], shape=(*heads, keys), name=softmax.name or "", axis=-1)
        rows = insert(before, "MatMul", [rows, reshaped(model, before, v, (found.batch, 1, keys, width))], shape=(*heads, width))  # fmt: skip
        out = before.outputs[0]
        full = sizes(out) or ()
        if found.from_left:
            rows = turned(before, reshaped(model, before, rows, (*full[:-2], found.rows, width)))
        else:
            rows = reshaped(model, before, rows, full)
        replace_value(out, rows)
        return True


def _between(softmax: ir.Node, scores: ir.Node) -> tuple[ir.Value | None, float | None]:
    """What is added to the scaled product, and its scale; no scale where the sum is scaled as well."""
    value, factor = unscaled(softmax.inputs[0])
    node = value.producer() if value is not None else None
    if node is scores:
        return None, factor
    assert node is not None  # _product_before came through here
    own = [unscaled(term) for term in node.inputs]
    index = next(i for i, (source, _) in enumerate(own) if source is not None and source.producer() is scores)
    return node.inputs[1 - index], own[index][1] if factor == 1 else None


def _padded(model: ir.Model, before: ir.Node, value: ir.Value, shape: tuple[int | str, ...], end: int) -> ir.Value:
    """Zeros behind the last or the last but one axis of four, up to ``shape``; ``end`` is where Pad counts them."""
    amounts = np.zeros(8, np.int64)
    amounts[end] = int(shape[end - 4]) - int((sizes(value) or ())[end - 4] or 0)
    return insert(before, "Pad", [value, shared_constant(model, "zeros", amounts)], shape=shape)


def _in_parts(added: ir.Value, head: OneHead, parts: int) -> tuple[int | str | None, ...] | None:
    """The shape of a term (1 or B, 1, N, M), with fewer axes too, beside scores whose rows are in parts."""
    shape = sizes(added)
    if shape is None or not parts or len(shape) > 4 or shape[-2:] != (head.rows, head.keys):
        return None
    leading = [size for size in shape[:-2] if size != 1]
    if leading and (leading != [head.batch] or shape[0] != head.batch):
        return None
    return (head.batch if leading else 1, parts, head.rows // parts, head.keys)


def _refusal(softmax: ir.Node, scores: ir.Node, head: OneHead, parts: int, known: bool) -> str:
    if not head.width <= head.values <= WIDEST * head.width:
        return f"one head whose values are {head.values} wide and keys {head.width}"
    if not parts:
        return f"one head whose {head.rows} queries have no equal parts"
    if not known:
        return "one head with a term on its scores that is not of their size, or scaled with them"
    if only_consumer(scores.outputs[0]) is None or only_consumer(softmax.inputs[0]) is None:
        return "scores have other uses"
    return ""


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
