"""Attention for ONNX Runtime on the CPU: a whole block becomes one node that keeps the scores in cache.

    x (B, N, C) > MatMul (C, 3 dim), Add > split into heads, transposes > softmax(scale q k^T) v > transposes
    x (B, N, C), W (C, 3 dim), b (3 dim) > com.microsoft.Attention > (B, N, dim)

The node projects by itself, head by head, so no copy of q, k or v is made. Where others read a projection too (SMT's
depthwise convolution of v), the projections stay and com.microsoft.MultiHeadAttention takes them:

    q, k, v (B, N, dim) > com.microsoft.MultiHeadAttention > (B, N, dim)
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ....graph.edit import insert, replace_value, shared_constant, sweep
from ....graph.read import sizes
from ..base import Pattern
from ..matchers.attention_block import AttentionBlock, attention_blocks
from ..matchers.heads import Heads
from ..matchers.projection import Projection, of_one_input, packed
from ..matchers.views import as_shape

MICROSOFT = "com.microsoft"


class OrtAttention(Pattern):
    """Lower each attention block to ONNX Runtime's own node; declines where its layout is not known."""

    better_after = ("FoldShapes", "GateInAttention")

    def apply(self, model: ir.Model) -> int:
        count = 0
        for block in attention_blocks(model.graph, self.decline):
            if why := _unfit(block):
                self.decline(block.softmax, why)
                continue
            assert isinstance(block.out, ir.Value)
            tokens = _whole(model, block) or _from_projections(model, block)
            if block.turned_out:
                shape = (block.q.tokens, block.q.batch, block.q.dim)
                tokens = insert(block.scores, "Transpose", [tokens], perm=(1, 0, 2), shape=shape)
            replace_value(block.out, as_shape(model, block.scores, tokens, sizes(block.out) or ()))
            count += 1
        if count:
            model.graph.opset_imports.setdefault(MICROSOFT, 1)
            sweep(model)
        return count


def _unfit(block: AttentionBlock) -> str:
    """Why the node cannot stand for the block; empty when it can."""
    if isinstance(block.out, str):
        return block.out
    if block.added is not None:
        return "a position term is added to the probabilities, which the node cannot do"
    if not block.q.dim == block.k.dim == block.v.dim:
        return f"v is {block.v.dim} wide, q and k {block.q.dim}"
    if not 0 < abs(np.float32(block.scale)) < np.inf:
        return f"the scale is {block.scale:g}, and the node takes 0 for the usual one"
    if any(value.dtype != ir.DataType.FLOAT for value in (block.out, *(heads.root for heads in block.heads))):
        return "the node computes in float32 alone"
    if any(heads.offset < 0 for heads in block.heads) and isinstance(_layers(block), str):
        return "the columns of q, k or v do not follow each other in a projection that others read"
    if (sizes(block.out) or (None,)).count(None) or sum(isinstance(size, str) for size in sizes(block.out) or ()) > 1:
        return f"the tokens of shape {sizes(block.out)} have more than one open size"
    return ""


def _layers(block: AttentionBlock) -> tuple[Projection, ...] | str:
    return of_one_input(block.heads, {*block.scores.inputs, block.context.inputs[1]}, "q, k, v")


def _whole(model: ir.Model, block: AttentionBlock) -> ir.Value | None:
    """The node with its projections inside, when nobody else reads them and they have one input."""
    found = _layers(block)
    if isinstance(found, str):
        return None
    weights, bias = packed([layer.columns(heads) for layer, heads in zip(found, block.heads, strict=True)])
    x = as_shape(model, block.scores, found[0].x, (block.q.batch, block.q.tokens, weights.shape[0]))
    if bias is None:  # optional by its schema, but ONNX Runtime 1.31 crashes without it
        bias = np.zeros(weights.shape[1], weights.dtype)
    names = found[0].weights_name
    inputs = [x, shared_constant(model, f"{names}_qkv", weights), shared_constant(model, f"{names}_qkv_bias", bias)]
    return _node(block, "Attention", inputs)


def _from_projections(model: ir.Model, block: AttentionBlock) -> ir.Value:
    """The node on the projections as they are, cut to the columns of q, k and v."""
    parts = []
    for heads in block.heads:
        columns = heads.root if heads.dim == heads.columns else _columns(model, block, heads)
        parts.append(as_shape(model, block.scores, columns, (heads.batch, heads.tokens, heads.dim)))
    return _node(block, "MultiHeadAttention", parts)


def _node(block: AttentionBlock, op_type: str, inputs: list[ir.Value]) -> ir.Value:
    q = block.q
    return insert(
        block.scores, op_type, inputs, domain=MICROSOFT, shape=(q.batch, q.tokens, q.dim),
        num_heads=q.heads, scale=float(block.scale),
    )  # fmt: skip


def _columns(model: ir.Model, block: AttentionBlock, heads: Heads) -> ir.Value:
    """The columns of one of q, k, v; the Split that cuts them already is used again."""
    shape = sizes(heads.root) or ()
    bounds = [
        shared_constant(model, "column", np.array([n], np.int64)) for n in (heads.offset, heads.offset + heads.dim, -1)
    ]
    return insert(block.scores, "Slice", [heads.root, *bounds], shape=(*shape[:-1], heads.dim))
