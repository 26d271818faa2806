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
from ..matchers.projection import of_one_input, packed
from ..matchers.views import reshaped

MICROSOFT = "com.microsoft"


class OrtAttention(Pattern):
    """Lower each attention block to ONNX Runtime's own node; declines where its layout is not known."""

    better_after = ("FoldShapes", "GateInAttention")

    def apply(self, model: ir.Model) -> int:
        count = 0
        for block in attention_blocks(model.graph, self.decline):
            if isinstance(block.out, str):
                self.decline(block.softmax, block.out)
            elif block.added is not None:
                self.decline(block.softmax, "a position term is added to the probabilities, which the node cannot do")
            elif not block.q.dim == block.k.dim == block.v.dim:
                self.decline(block.softmax, f"v is {block.v.dim} wide, q and k {block.q.dim}")
            else:
                tokens = _whole(model, block) or _from_projections(model, block)
                shape = sizes(block.out)
                if shape is not None and len(shape) != 3:
                    tokens = reshaped(model, block.scores, tokens, shape)
                replace_value(block.out, tokens)
                count += 1
        if count:
            model.graph.opset_imports.setdefault(MICROSOFT, 1)
            sweep(model)
        return count


def _whole(model: ir.Model, block: AttentionBlock) -> ir.Value | None:
    """The node with its projections inside, when nobody else reads them and they have one input."""
    found = of_one_input(block.heads, {*block.scores.inputs, block.context.inputs[1]}, "q, k, v")
    if isinstance(found, str):
        return None
    weights, bias = packed([layer.columns(heads) for layer, heads in zip(found, block.heads, strict=True)])
    x = _tokens(model, block, found[0].x, weights.shape[0])
    if x is None:
        return None
    if bias is None:  # optional by its schema, but ONNX Runtime 1.31 crashes without it
        bias = np.zeros(weights.shape[1], weights.dtype)
    names = found[0].weights_name
    inputs = [x, shared_constant(model, f"{names}_qkv", weights), shared_constant(model, f"{names}_qkv_bias", bias)]
    return _node(block, "Attention", inputs)


def _from_projections(model: ir.Model, block: AttentionBlock) -> ir.Value:
    """The node on the projections as they are, cut to the columns of q, k and v."""
    parts = []
    for heads in block.heads:
        columns = heads.root
        if heads.dim != heads.columns:
            columns = _columns(model, block, heads)
        parts.append(_tokens(model, block, columns, heads.dim) or columns)
    return _node(block, "MultiHeadAttention", parts)


def _node(block: AttentionBlock, op_type: str, inputs: list[ir.Value]) -> ir.Value:
    q = block.q
    return insert(
        block.scores, op_type, inputs, domain=MICROSOFT, shape=(q.batch, q.tokens, q.dim),
        num_heads=q.heads, scale=float(block.scale),
    )  # fmt: skip


def _tokens(model: ir.Model, block: AttentionBlock, value: ir.Value, columns: int) -> ir.Value | None:
    """``value`` as (B, N, columns)."""
    shape, wanted = sizes(value), (block.q.batch, block.q.tokens, columns)
    if shape is None:
        return None
    if len(shape) == 3:
        return value
    return reshaped(model, block.scores, value, wanted)


def _columns(model: ir.Model, block: AttentionBlock, heads: Heads) -> ir.Value:
    """The columns of one of q, k, v; the Split that cuts them already is used again."""
    shape = sizes(heads.root) or ()
    bounds = [
        shared_constant(model, "column", np.array([n], np.int64)) for n in (heads.offset, heads.offset + heads.dim, -1)
    ]
    return insert(block.scores, "Slice", [heads.root, *bounds], shape=(*shape[:-1], heads.dim))
