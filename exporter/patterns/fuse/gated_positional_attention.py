"""ConViT's gated positional attention as one op; the position scores are computed from four numbers a head.

Paper: d'Ascoli et al., ConViT, arXiv:2103.10697, equations 7 and 8; heads H, tokens N on a side x side grid, gate g a head.

    x (B, N, C) > MatMul qk > Reshape, Transpose, Gather > MatMul, Mul scale > Softmax S (B, H, N, N)
    table (1, N, N, 3) > MatMul, Add, Transpose > Softmax P (1, H, N, N)
    (1 - g) S + g P > ReduceSum, Unsqueeze, Div > MatMul v (B, H, N, D)

    x > MatMul qkv > Reshape, Transpose (B, 3 H, N, D) > Split > GatedPositionalAttention(q, k, v, pos) (B, H, N, D)

The scores before P must be w0 dx + w1 dy + w2 (dx^2 + dy^2) + a number a query, which its softmax cancels: w is fitted in
float64, and refused where anything is left over.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from ....graph.edit import insert, insert_node, replace_value, shared_constant, sweep
from ....graph.read import attribute, constant, only_consumer, sizes
from ..attention.gpsa_gate import gated, position_scores, product_with_v
from ..matchers.attention_block import origins
from ..matchers.heads import Heads, unscaled
from ..matchers.projection import Projection, of_one_input, one_product
from ..matchers.views import reshaped
from .fused import Fuse, fused

OP = "GatedPositionalAttention"
HEADS_SECOND = (0, 2, 1, 3)
LEFT_OVER = 1e-6  # of the largest score: float32 weights give 1e-15, a table that was stored in float32 gives 1e-7
ROUNDED = 2e-6  # the logarithm of a probability that was computed and stored in float32, a few units in the last place
SMALLEST = 1e-30  # of such a probability: below it float32 has fewer digits


@dataclass(frozen=True)
class _Block:
    parts: tuple[Heads, Heads, Heads]  # q, k, v
    layers: tuple[Projection, ...]
    scale: float
    position: np.ndarray  # (H, 4): w0, w1, w2, gate
    side: int
    product: ir.Node


class FuseGatedPositionalAttention(Fuse):
    """One node a gated block; refuses scores that are no quadratic form of the distance on a square grid."""

    better_after = ("FoldConstants", "FoldShapes")
    ops = (OP,)

    def apply(self, model: ir.Model) -> int:
        count = 0
        for node in list(model.graph):
            if node.op_type != "Add" or node.domain:
                continue
            found = _block(node)
            why = found if isinstance(found, str) else self._write(model, found)
            if why:
                self.decline(node, why)
            count += not isinstance(found, str) and not why
        if count:
            sweep(model)
        return count

    def _write(self, model: ir.Model, block: _Block) -> str:
        q, before = block.parts[0], block.product
        shape = (q.batch, q.heads, q.tokens, q.width)
        attributes = {"side": block.side, "scale": block.scale}
        if why := self.lacking(OP, [shape, shape, shape, (q.heads, 4)], attributes):
            return why
        product = one_product(model, before, block.layers[0].x, block.layers, block.parts)
        tall = reshaped(model, before, product, (q.batch, q.tokens, 3 * q.heads, q.width))
        turned = insert(before, "Transpose", [tall], perm=HEADS_SECOND, shape=(q.batch, 3 * q.heads, q.tokens, q.width))
        thirds = shared_constant(model, "thirds", np.array([q.heads] * 3, np.int64))
        heads = insert_node(before, "Split", [turned, thirds], axis=1, outputs=3).outputs
        for value in heads:
            value.shape = ir.Shape(shape)
        position = shared_constant(model, "position", block.position.astype(np.float32))
        (made,) = fused(model, before, OP, [*heads, position], [shape], attributes, name=before.name or "")
        replace_value(before.outputs[0], made)
        return ""


def _block(added: ir.Node) -> _Block | str:
    """The block whose gated sum is ``added``; an empty reason where the node is none."""
    for index in (0, 1):
        content, position = gated(added.inputs[index]), _position_term(added.inputs[1 - index])
        if content is not None and position is not None:
            break
    else:
        return ""
    if isinstance(position, str):
        return position
    keep, (gate, scores, rounding) = content[0].astype(np.float64).ravel(), position
    if keep.shape != gate.shape or np.abs(keep + gate - 1).max() > LEFT_OVER:
        return f"gates {gate} and {keep} do not sum to 1"
    product = product_with_v(added.outputs[0])
    if isinstance(product, str):
        return product
    found = _attention(content[1], product)
    if isinstance(found, str):
        return found
    parts, layers, scale = found
    fitted = fit_positions(scores, parts[0].heads, parts[0].tokens, rounding)
    if isinstance(fitted, str):
        return fitted
    side = math.isqrt(parts[0].tokens)
    return _Block(parts, layers, scale, np.concatenate([fitted, gate[:, None]], axis=1), side, product)


def _position_term(value: ir.Value | None) -> tuple[np.ndarray, np.ndarray, float] | str | None:
    """For g P: g (H,), the scores (1, H, N, N) of its softmax in float64, and what rounding may have done to them."""
    found = gated(value)
    source = _softmax_of(found[1]) if found is not None else None
    scores = position_scores(source) if source is not None else None
    if found is not None and scores is not None:
        return found[0].astype(np.float64).ravel(), scores, 0.0
    folded = constant(value)  # of a small network: g P itself, computed before this pass
    if folded is None or folded.ndim != 4 or folded.shape[0] != 1 or folded.shape[2] != folded.shape[3]:
        return None
    if folded.min() < SMALLEST:
        return f"the position term is a constant of values down to {folded.min():.1e}, too small to recover its scores"
    shares = folded.astype(np.float64)
    return shares.sum(axis=-1).mean(axis=-1).ravel(), np.log(shares), ROUNDED


def _softmax_of(value: ir.Value) -> ir.Value | None:
    """What a softmax over the last axis that makes ``value`` reads."""
    node = value.producer()
    if node is None or node.op_type != "Softmax" or attribute(node, "axis", -1) not in (-1, 3):
        return None
    return node.inputs[0]


def _attention(
    content: ir.Value, product: ir.Node
) -> tuple[tuple[Heads, Heads, Heads], tuple[Projection, ...], float] | str:
    """q, k, v, their linear layers and the scale, from the content half and the product with v; or why not."""
    value, scale = unscaled(_softmax_of(content))
    scores = value.producer() if value is not None else None
    if scores is None or scores.op_type != "MatMul" or only_consumer(scores.outputs[0]) is None:
        return "the content half is no softmax of a product q k"
    parts = origins(scores, product)
    if isinstance(parts, str):
        return parts
    q, k, v = parts
    if any(part.turned for part in parts):
        return "q, k or v comes from a projection that counts its tokens before its pictures"
    if len({(part.batch, part.heads, part.tokens, part.width) for part in parts}) > 1 or v.scale != 1:
        return "q, k and v differ in size, or v is multiplied by a number of its own"
    layers = of_one_input(parts, {*scores.inputs, product.inputs[1]}, "q, k, v")
    if isinstance(layers, str):
        return layers
    if len(sizes(layers[0].x) or ()) != 3:
        return "the tokens are no (batch, tokens, channels)"
    return parts, layers, scale * q.scale * k.scale


def fit_positions(scores: np.ndarray, heads: int, tokens: int, rounding: float = 0.0) -> np.ndarray | str:
    """w (H, 3) with scores (1, H, N, N) = w0 dx + w1 dy + w2 (dx^2 + dy^2) + a number a query; or why there is none.

    dx and dy are columns and rows from the query to the key, as in the authors' code; float64.
    """
    side = math.isqrt(tokens)
    if side * side != tokens:
        return f"{tokens} tokens are no square grid"
    if scores.shape != (1, heads, tokens, tokens):
        return f"position scores of shape {scores.shape}, expected {(1, heads, tokens, tokens)}"
    place = np.arange(tokens)
    dx = (place % side)[None, :] - (place % side)[:, None]
    dy = (place // side)[None, :] - (place // side)[:, None]
    terms = np.stack([dx, dy, dx**2 + dy**2], axis=-1).astype(np.float64)  # (N, N, 3)
    centred = (terms - terms.mean(axis=1, keepdims=True)).reshape(-1, 3)
    wanted = (scores[0] - scores[0].mean(axis=-1, keepdims=True)).reshape(heads, -1).T  # (N N, H)
    fitted, *_ = np.linalg.lstsq(centred, wanted, rcond=None)
    left = np.abs(centred @ fitted - wanted).max(axis=0)
    limit = LEFT_OVER * np.maximum(np.abs(wanted).max(axis=0), 1e-30) + rounding
    if (left > limit).any():
        head = int((left / limit).argmax())
        return (
            f"position scores of head {head} are no w0 dx + w1 dy + w2 (dx^2 + dy^2): "
            f"{left[head]:.1e} is left over, at most {limit[head]:.1e} is rounding"
        )
    return np.asarray(fitted.T)
