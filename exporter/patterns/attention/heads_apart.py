"""Attention in one normal form, so that every engine's matcher knows it.

    q (B, heads, N, width), k^T (B, heads, width, N), v (B, heads, N, width)
    MatMul q k^T > Mul scale > Softmax > MatMul v          the scale once, on the product

How the heads come from x (B, N, C) is written as the target likes it; every form was measured (fp16 kernels on sm89, one
thread of CPU time), and the differences are those of copies:

    PackedHeads    one MatMul to (B, N, 3 dim); with a bias: Reshape (B, N, 3 heads, width) > Transpose > Split of heads,
                   one copy for all three; without: Split of columns first, and the fused attention reads the product
    SeparateHeads  one MatMul each for q, k and v: a copy each, straight into place, and nothing to split
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ....graph.edit import insert, insert_node, replace_value, shared_constant, sweep
from ....graph.read import sizes
from ..base import Pattern
from ..matchers.attention_block import AttentionBlock, attention_blocks
from ..matchers.heads import read_only_by
from ..matchers.held import unheld
from ..matchers.projection import Projection, new_layer, one_product, projection
from ..matchers.views import merge_views, reshaped

HEADS_SECOND, KEYS_LAST = (0, 2, 1, 3), (0, 2, 3, 1)


class _NormalForm(Pattern):
    """Finds the blocks; the subclasses write the way to the heads."""

    # whichever gate the order has; most networks have none
    better_after = ("FoldShapes", "GateInAttention", "GateBesideAttention")

    def apply(self, model: ir.Model) -> int:
        count, new_views = 0, False
        for block in attention_blocks(model.graph, self.decline):
            layers = layers_of(block)
            if isinstance(layers, str):
                self.decline(block.softmax, layers)
            elif (flat := len(sizes(block.context.outputs[0]) or ()) == 3) or not self.is_normal(block):
                new_views = new_views or flat
                self.write(model, block, layers)
                count += 1
        if count:
            sweep(model)
        if new_views:
            merge_views(model)
        return count

    def is_normal(self, block: AttentionBlock) -> bool:
        raise NotImplementedError

    def heads(self, model: ir.Model, block: AttentionBlock, layers: list[Projection]) -> tuple[ir.Value, ...]:
        """q, k^T and v, built before the scores."""
        raise NotImplementedError

    def write(self, model: ir.Model, block: AttentionBlock, layers: list[Projection]) -> None:
        old_values, context = block.values, block.context.outputs[0]
        q, keys, v = self.heads(model, block, layers)
        shape = (block.q.batch, block.q.heads, block.q.tokens, block.k.tokens)
        scores = insert(block.scores, "MatMul", [q, keys], shape=shape)
        scale = shared_constant(model, "scale", np.array(block.scale, layers[0].weights.dtype))
        scaled = insert(block.scores, "Mul", [scores, scale], shape=shape)
        if block.bias is not None:  # computed somewhere before the softmax
            scaled = insert(block.softmax, "Add", [scaled, block.bias], shape=shape)
        if len(sizes(context) or ()) == 4:
            block.softmax.replace_input_with(0, scaled)
            replace_value(old_values, v)
            return
        rows = insert(block.scores, "Softmax", [scaled], axis=-1, shape=shape)
        new = insert(block.scores, "MatMul", [rows, v], shape=(*shape[:3], block.v.width))
        replace_value(context, reshaped(model, block.scores, new, sizes(context) or ()))


class PackedHeads(_NormalForm):
    """One product for q, k and v: for engines that fuse a whole attention into one kernel."""

    def is_normal(self, block: AttentionBlock) -> bool:
        split = block.scores.inputs[0].producer()  # type: ignore[union-attr]
        moved = split.op_type == "Transpose" if split is not None else False
        if moved and split is not None:  # Split > Reshape > Transpose
            split = split.inputs[0].producer().inputs[0].producer()  # type: ignore[union-attr]
        return split is not None and split.op_type == "Split" and len(split.outputs) == 3 and _scaled_once(block)

    def heads(self, model: ir.Model, block: AttentionBlock, layers: list[Projection]) -> tuple[ir.Value, ...]:
        before, q, k = block.scores, block.q, block.k
        product = one_product(model, before, layers[0].x, layers, block.heads)
        thirds = np.array([q.heads] * 3 if _has_bias(layers) else [q.dim] * 3, np.int64)
        if not _has_bias(layers):
            split = insert_node(
                before, "Split", [product, shared_constant(model, "thirds", thirds)], axis=-1, outputs=3
            )
            shape = sizes(product) or ()
            for part in split.outputs:
                part.shape = ir.Shape((*shape[:-1], q.dim))
            return three_apart(model, block, tuple(split.outputs))
        shape = (q.batch, q.tokens, 3 * q.heads, q.width)
        value = reshaped(model, before, product, shape)
        shape = (q.batch, 3 * q.heads, q.tokens, q.width)
        value = insert(before, "Transpose", [value], perm=HEADS_SECOND, shape=shape)
        split = insert_node(before, "Split", [value, shared_constant(model, "thirds", thirds)], axis=1, outputs=3)
        for part in split.outputs:
            part.shape = ir.Shape((q.batch, q.heads, q.tokens, q.width))
        keys = insert(
            before, "Transpose", [split.outputs[1]], perm=(0, 1, 3, 2), shape=(k.batch, k.heads, k.width, k.tokens)
        )
        return split.outputs[0], keys, split.outputs[2]


class SeparateHeads(_NormalForm):
    """A product each for q, k and v: for engines that run node by node."""

    def is_normal(self, block: AttentionBlock) -> bool:
        return all(heads.columns == heads.dim for heads in block.heads) and _scaled_once(block)

    def heads(self, model: ir.Model, block: AttentionBlock, layers: list[Projection]) -> tuple[ir.Value, ...]:
        values = []
        for layer, heads, letter in zip(layers, block.heads, "qkv", strict=True):
            whole = heads.columns == heads.dim
            name = f"{layer.weights_name}_{letter}"
            new = None if whole else new_layer(model, block.scores, layer.x, *layer.columns(heads), name)
            values.append(heads.root if new is None else new)
        return three_apart(model, block, tuple(values))


def layers_of(block: AttentionBlock, *, wider: bool = False) -> list[Projection] | str:
    """The linear layers of q, k and v when they can be written anew: no other reader; one input and width, or ``wider``."""
    layers = [projection(heads.root) for heads in block.heads]
    found = [layer for layer in layers if layer is not None]
    if len(found) < 3:
        return "q, k or v is not a linear layer with constant weights"
    if why := unheld(found[0].weights.dtype, np.array(block.scale)):
        return why
    alike = len({layer.x for layer in found}) == 1 and block.q.dim == block.k.dim == block.v.dim
    if not alike and not wider:
        return "q, k and v have different inputs or widths"
    ends = {block.scores.inputs[0], block.scores.inputs[1], block.values}
    context = sizes(block.context.outputs[0]) or ()
    if len(context) == 3 and (block.added is not None or None in context[1:]):
        return f"the context of shape {context} has no axis of heads"
    if not all(read_only_by(heads.root, ends) for heads in block.heads):  # type: ignore[arg-type]
        return "q, k or v is read outside the attention too"
    return found


def _has_bias(layers: list[Projection]) -> bool:
    return any(layer.bias is not None for layer in layers)


def _scaled_once(block: AttentionBlock) -> bool:
    return all(heads.scale == 1 for heads in block.heads) and block.softmax.inputs[0] is not block.scores.outputs[0]


def three_apart(model: ir.Model, block: AttentionBlock, columns: tuple[ir.Value, ...]) -> tuple[ir.Value, ...]:
    """(B, N, dim) each > q, k^T, v."""
    values = []
    for value, heads, perm in zip(columns, block.heads, (HEADS_SECOND, KEYS_LAST, HEADS_SECOND), strict=True):
        shape = (heads.batch, heads.tokens, heads.heads, heads.width)
        split = reshaped(model, block.scores, value, shape)
        values.append(insert(block.scores, "Transpose", [split], perm=perm, shape=[shape[axis] for axis in perm]))
    return tuple(values)
