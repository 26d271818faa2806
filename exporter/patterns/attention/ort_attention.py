"""Attention for ONNX Runtime on the CPU: a whole block becomes one node that keeps the scores in cache.

    x (B, N, C) > MatMul (C, 3 dim), Add > split into heads, transposes > softmax(scale q k^T) v > transposes
    x (B, N, C), W (C, 3 dim), b (3 dim) > com.microsoft.Attention > (B, N, dim)

The node projects by itself, head by head, so no copy of q, k or v is made. Where others read a projection too (SMT's
depthwise convolution of v), the projections stay and com.microsoft.MultiHeadAttention takes them:

    q, k, v (B, N, dim) > com.microsoft.MultiHeadAttention > (B, N, dim)

A constant that is added to the scores, positions or a mask (1 or B, 1 or heads, N, N), is an input of either node; a table of
positions that the file has as a chain of gathers stays one, which ONNX Runtime computes once. v may be wider than q and k.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from ....graph.edit import insert, insert_node, replace_value, shared_constant, sweep
from ....graph.read import constant, sizes
from ..base import Pattern
from ..cleanup.no_ops import split_slices
from ..cleanup.tidy import CleanUp
from ..matchers.attention_block import AttentionBlock, attention_blocks
from ..matchers.heads import Heads
from ..matchers.projection import Projection, of_one_input, packed
from ..matchers.sums import known
from ..matchers.views import as_shape, merge_views, reshaped

MICROSOFT = "com.microsoft"


class OrtAttention(Pattern):
    """Lower each attention block to ONNX Runtime's own node; declines where its layout is not known."""

    better_after = ("FoldShapes", "GateInAttention")

    def apply(self, model: ir.Model) -> int:
        count = rounds = 0
        while more := self._once(model):  # what one attention hands to the next is plain only when that one is fused
            count, rounds = count + more, rounds + 1
            self.refusals = []  # those of the last round are what is left
        if rounds > 1:  # a projection that two of them read was cut twice
            CleanUp().apply(model)
            if split_slices(model):
                sweep(model)
        return count

    def _once(self, model: ir.Model) -> int:
        count = 0
        for block in attention_blocks(model.graph, self.decline, biased=True):
            if why := _unfit(block):
                self.decline(block.softmax, why)
                continue
            assert isinstance(block.out, ir.Value)
            tokens = _whole(model, block) or _from_projections(model, block)
            if block.turned_out:
                shape = (block.q.tokens, block.q.batch, block.v.dim)
                tokens = insert(block.scores, "Transpose", [tokens], perm=(1, 0, 2), shape=shape)
            replace_value(block.out, as_shape(model, block.scores, tokens, sizes(block.out) or ()))
            count += 1
        if count:
            model.graph.opset_imports.setdefault(MICROSOFT, 1)
            sweep(model)
            merge_views(model)
            model.graph.sort()  # a table of positions may be computed behind the product that it is added to
            if split_slices(model):  # the columns that _columns cut one by one, where nobody else reads the projection
                sweep(model)
        return count


def _unfit(block: AttentionBlock) -> str:
    """Why the node cannot stand for the block; empty when it can."""
    if isinstance(block.out, str):
        return block.out
    if block.added is not None:
        return "a position term is added to the probabilities, which the node cannot do"
    if not 0 < abs(np.float32(block.scale)) < np.inf:
        return f"the scale is {block.scale:g}, and the node takes 0 for the usual one"
    if any(value.dtype != ir.DataType.FLOAT for value in (block.out, *(heads.root for heads in block.heads))):
        return "the node computes in float32 alone"
    if block.bias is not None and not _fits(block, known(block.bias)):
        return "what is added to the scores is no finite bias or mask of (1 or batch, 1 or heads, queries, keys)"
    if any(heads.offset < 0 for heads in block.heads) and isinstance(_layers(block), str):
        return "the columns of q, k or v do not follow each other in a projection that others read"
    if (sizes(block.out) or (None,)).count(None) or sum(isinstance(size, str) for size in sizes(block.out) or ()) > 1:
        return f"the tokens of shape {sizes(block.out)} have more than one open size"
    return ""


def _fits(block: AttentionBlock, bias: np.ndarray | None) -> bool:
    """Whether the node takes a bias of this shape; rows that are masked as a whole are NaN before it and not behind it."""
    if bias is None or bias.dtype != np.float32 or bias.shape[-2:] != (block.q.tokens, block.k.tokens):
        return False
    batch, heads = (1, 1, *bias.shape)[-4:-2]
    sizes_fit = (
        len(sizes(block.softmax.outputs[0]) or ()) == 4 and batch in (1, block.q.batch) and heads in (1, block.q.heads)
    )
    return sizes_fit and bool((bias < np.inf).all() and np.isfinite(bias).any(axis=-1).all())


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
    widths = [heads.dim for heads in block.heads]
    told = {"qkv_hidden_sizes": widths} if len(set(widths)) > 1 else {}  # values may be wider than keys
    return _node(block, "Attention", [*inputs, *_bias(model, block)], **told)


def _from_projections(model: ir.Model, block: AttentionBlock) -> ir.Value:
    """The node on the projections as they are, cut to the columns of q, k and v."""
    parts: list[ir.Value | None] = []
    thirds = _thirds(model, block)
    for index, heads in enumerate(block.heads):
        columns = thirds[index] if thirds else heads.root
        if not thirds and heads.dim != heads.columns:
            columns = _columns(model, block, heads)
        parts.append(as_shape(model, block.scores, columns, (heads.batch, heads.tokens, heads.dim)))
    return _node(block, "MultiHeadAttention", [*parts, *_bias(model, block)])


def _bias(model: ir.Model, block: AttentionBlock) -> list[ir.Value | None]:
    """What is added to the scores as the sixth input of either node."""
    array, bias = known(block.bias), block.bias
    if array is None or bias is None:
        return []
    if array.ndim < 4:
        full = (1,) * (4 - array.ndim) + array.shape
        stored = constant(bias) is not None
        bias = (
            shared_constant(model, f"{bias.name}_heads", array.reshape(full))
            if stored
            else reshaped(model, block.scores, bias, full)
        )
    return [None, None, bias]


def _node(block: AttentionBlock, op_type: str, inputs: list[ir.Value | None], **told: Any) -> ir.Value:
    q = block.q
    return insert(
        block.scores, op_type, inputs, domain=MICROSOFT, shape=(q.batch, q.tokens, block.v.dim),
        num_heads=q.heads, scale=float(block.scale), **told,
    )  # fmt: skip


def _thirds(model: ir.Model, block: AttentionBlock) -> Sequence[ir.Value]:
    """q, k and v of one value that is cut into just these; none where it is not."""
    q, dim = block.q, block.q.dim
    whole = {heads.root for heads in block.heads} == {q.root} and q.columns == 3 * dim and block.v.dim == dim
    if not whole or [heads.offset for heads in block.heads] != [0, dim, 2 * dim]:
        return ()
    widths = shared_constant(model, "thirds", np.array([dim] * 3, np.int64))
    split = insert_node(block.scores, "Split", [q.root, widths], axis=-1, outputs=3)
    for value in split.outputs:
        value.shape = ir.Shape((*(sizes(q.root) or ())[:-1], dim))
    return split.outputs


def _columns(model: ir.Model, block: AttentionBlock, heads: Heads) -> ir.Value:
    """The columns of one of q, k, v; the Split that cuts them already is used again."""
    shape = sizes(heads.root) or ()
    bounds = [
        shared_constant(model, "column", np.array([n], np.int64)) for n in (heads.offset, heads.offset + heads.dim, -1)
    ]
    return insert(block.scores, "Slice", [heads.root, *bounds], shape=(*shape[:-1], heads.dim))
