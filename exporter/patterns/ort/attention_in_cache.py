"""Attention for ONNX Runtime on a CPU: heads that were computed before the attention go into one node.

    q, k, v (B, N, H, d) > Transpose each > softmax(scale q k^T) v > Transpose > (B, N, H, d)
    q, k, v (B, N, H d) > com.microsoft.MultiHeadAttention > (B, N, H d)

The node keeps the scores of a few rows at a time in cache (FlashAttention, Dao, arXiv:2205.14135), so the tensor of all tokens
by all tokens that the nodes before it would make is never there. ``OrtAttention`` takes the projections in as well and follows
element numbers to find them; here the heads are rotated, and sequences of ten thousand tokens have too many elements for that.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from ....graph.edit import insert, replace_value, sweep
from ....graph.read import attribute, is_op, only_consumer, sizes
from ..attention.ort_attention import MICROSOFT
from ..base import Pattern
from ..matchers.heads import unscaled
from ..matchers.views import merge_views, reshaped

HEADS_FIRST = [0, 2, 1, 3]
KEYS_TURNED = [0, 2, 3, 1]
LAST_TURNED = [0, 1, 3, 2]


@dataclass(frozen=True)
class _Found:
    """q, k, v (B, N, H, d), the scale, and the value (B, N, H, d) that comes out."""

    sides: tuple[ir.Value, ir.Value, ir.Value]
    scale: float
    out: ir.Value


class AttentionInCache(Pattern):
    """Put the node in for every softmax between two products of heads; nothing may be added to the scores."""

    better_after = ("RotaryNode",)

    def apply(self, model: ir.Model) -> int:
        count = 0
        for node in list(model.graph):
            if not is_op(node, "Softmax") or not is_op(_maker(unscaled(node.inputs[0])[0]), "MatMul"):
                continue
            found = _find(node)
            if isinstance(found, str):
                self.decline(node, found)
                continue
            batch, tokens, heads, width = sizes(found.out) or ()
            sides = [_flat(model, node, side) for side in found.sides]
            y = insert(
                node, "MultiHeadAttention", sides, domain=MICROSOFT, shape=(batch, tokens, heads * width),  # type: ignore[operator]
                num_heads=heads, scale=found.scale,
            )  # fmt: skip
            replace_value(found.out, reshaped(model, node, y, (batch, tokens, heads, width)))
            count += 1
        if count:
            model.graph.opset_imports.setdefault(MICROSOFT, 1)
            sweep(model)
            merge_views(model)
        return count


def _find(softmax: ir.Node) -> _Found | str:
    product, scale = unscaled(softmax.inputs[0])
    scores = _maker(product)
    context = only_consumer(softmax.outputs[0])
    if scores is None or attribute(softmax, "axis", -1) not in (-1, 3) or only_consumer(scores.outputs[0]) is None:
        return "the softmax is not over the keys of one product"
    if not is_op(context, "MatMul") or context.inputs[0] is not softmax.outputs[0]:
        return "the probabilities do not go straight into the product with v"
    turned = only_consumer(context.outputs[0])
    if not is_op(turned, "Transpose") or list(attribute(turned, "perm")) != HEADS_FIRST:
        return "what comes out is not brought back to (batch, tokens, heads, width)"
    q, q_scale = _tokens_first(scores.inputs[0])
    k, k_scale = _tokens_first(scores.inputs[1], turned=True)
    v, v_scale = _tokens_first(context.inputs[1])
    if q is None or k is None or v is None or v_scale != 1:
        return "q, k or v is no Transpose of (batch, tokens, heads, width)"
    shapes = [sizes(side) for side in (q, k, v, turned.outputs[0])]
    if any(shape is None or shape != shapes[0] for shape in shapes) or not all(
        isinstance(size, int) for size in (shapes[0] or ())[1:]
    ):
        return f"q, k, v and what comes out have the shapes {shapes}, expected one with known tokens, heads and width"
    if any(side.dtype != ir.DataType.FLOAT for side in (q, k, v)):
        return "the node computes in float32 alone"
    whole = scale * q_scale * k_scale
    if whole == 0:
        return "the scale is 0, and the node takes 0 for the usual one"
    return _Found((q, k, v), whole, turned.outputs[0])


def _tokens_first(value: ir.Value | None, turned: bool = False) -> tuple[ir.Value | None, float]:
    """What was transposed to (B, H, N, d), or (B, H, d, N) where ``turned``, before its scale, and the scale."""
    value, scale = unscaled(value)
    perm, found = [0, 1, 2, 3], value
    while is_op(node := _maker(found), "Transpose"):
        inner = attribute(node, "perm")
        perm = [inner[axis] for axis in perm]
        found, more = unscaled(node.inputs[0])
        scale *= more
    return (found, scale) if perm == (KEYS_TURNED if turned else HEADS_FIRST) else (None, scale)


def _flat(model: ir.Model, before: ir.Node, side: ir.Value) -> ir.Value:
    batch, tokens, heads, width = sizes(side) or ()
    return reshaped(model, before, side, (batch, tokens, heads * width))  # type: ignore[operator]


def _maker(value: ir.Value | None) -> ir.Node | None:
    return value.producer() if value is not None else None
