"""Channel attention of DaViT, channels attending to channels, with as few copies as an engine allows.

Paper: Ding et al., DaViT: Dual Attention Vision Transformers, arXiv:2204.03645. With a, b, c = k, v, q (timm's first form)
or q, k, v (its second), each (B, heads, width, N):

    A = softmax(scale * a b^T) (B, heads, width, width)        out^T = A c (B, heads, width, N)

    exported:   x (..., C) > MatMul, Add (..., 3 C) > Reshape, Transpose (3, B, heads, N, width) > three Slices and Squeezes
                > Mul, Transposes > MatMul > Softmax > MatMul > Transposes > Reshape (B, N, C)
    packed:     MatMul, Add (B, N, 3 C) > Transpose (B, 3 C, N) > Reshape > Split > MatMul > Softmax > MatMul (B, heads, width, N)
                one transpose in, one out; the product is written transposed by TensorRT, which reads the parts in place
    separate:   a MatMul and Add each, transposed straight into place: ONNX Runtime writes three small products faster than
                one of three times the width, which leaves its cache, and there is nothing to cut

The scale goes into the weights of a.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from ....graph.edit import insert, insert_node, replace_value, shared_constant
from ....graph.read import attribute, only_consumer, sizes
from ..base import Pattern
from ..matchers.heads import Heads, find_heads, unscaled
from ..matchers.held import unheld
from ..matchers.layers import TO_TOKENS
from ..matchers.moves import move
from ..matchers.projection import Projection, new_layer, of_one_input, packed
from ..matchers.views import as_shape, merge_views, reshaped

ALIGNED = 4  # tokens a row, below which TensorRT-RTX does not write a product turned (measured: 196 is, 49 is not)


@dataclass(frozen=True)
class ChannelBlock:
    """The parts of one block; ``out`` (B, N, C) is what the next layer reads."""

    parts: tuple[Heads, Heads, Heads]  # a, b, c
    layers: tuple[Projection, ...]
    scale: float
    softmax: ir.Node
    context: ir.Node
    out: ir.Value

    @property
    def shape(self) -> tuple[int | str, int, int, int]:
        """(B, heads, width, N)"""
        a = self.parts[0]
        return a.batch, a.heads, a.width, a.tokens


class _ChannelAttention(Pattern):
    """Finds the blocks; the subclasses write the way from x to a, b^T and c."""

    better_after = ("FoldShapes",)

    def apply(self, model: ir.Model) -> int:
        count = 0
        for node in list(model.graph):
            found = channel_block(node) if node.op_type == "Softmax" and not node.domain else None
            if isinstance(found, str):
                self.decline(node, found)
            elif found is not None and (why := _unheld(found)):
                self.decline(node, why)
            elif found is not None and not self.is_normal(found):
                self._write(model, found)
                count += 1
        if count:
            merge_views(model)
        return count

    def is_normal(self, block: ChannelBlock) -> bool:
        raise NotImplementedError

    def sources(self, model: ir.Model, block: ChannelBlock) -> tuple[ir.Value, ir.Value, ir.Value]:
        """a (B, heads, width, N), b^T (B, heads, N, width), c (B, heads, width, N)."""
        raise NotImplementedError

    def _write(self, model: ir.Model, block: ChannelBlock) -> None:
        before = block.context
        batch, heads, width, tokens = block.shape
        a, b, c = self.sources(model, block)
        scores = insert(before, "MatMul", [a, b], shape=(batch, heads, width, width))
        weights = insert(before, "Softmax", [scores], axis=-1, shape=(batch, heads, width, width))
        out = insert(before, "MatMul", [weights, c], shape=block.shape)
        image, shape = sizes(block.layers[0].x), sizes(block.out)
        assert image is not None and shape is not None
        if (
            len(image) == 4
            and image[0] == batch
            and math.prod(size for size in image[1:3] if isinstance(size, int)) == tokens
        ):  # tokens that are a map: say so, a convolution may follow
            flat = reshaped(model, before, out, (batch, heads * width, *image[1:3]))
            turned = insert(before, "Transpose", [flat], perm=TO_TOKENS, shape=(*image[:3], heads * width))
        else:
            flat = reshaped(model, before, out, (batch, heads * width, tokens))
            turned = insert(before, "Transpose", [flat], perm=(0, 2, 1), shape=(batch, tokens, heads * width))
        replace_value(block.out, turned if sizes(turned) == shape else reshaped(model, before, turned, shape))


class PackedChannels(_ChannelAttention):
    """One product for a, b and c, transposed once: for engines that fuse."""

    def is_normal(self, block: ChannelBlock) -> bool:
        first = block.context.inputs[1].producer()  # type: ignore[union-attr]
        return first is not None and first.op_type == "Split" and len(first.outputs) == 3 and block.scale == 1

    def sources(self, model: ir.Model, block: ChannelBlock) -> tuple[ir.Value, ir.Value, ir.Value]:
        before = block.context
        batch, heads, width, tokens = block.shape
        weights, bias = packed([_columns(block, index) for index in range(3)])
        # seen as tokens before the product: a view after it keeps TensorRT from writing it turned
        x = as_shape(model, before, block.layers[0].x, (batch, tokens, weights.shape[0]))
        product = new_layer(model, before, x, weights, bias, f"{block.layers[0].weights_name}_abc")
        if tokens % ALIGNED:  # TensorRT would pad and copy to write such rows turned: cut the channels first
            tall = reshaped(model, before, product, (batch, tokens, 3 * heads, width))
            turned = insert(before, "Transpose", [tall], perm=(0, 2, 3, 1), shape=(batch, 3 * heads, width, tokens))
        else:
            wide = (batch, 3 * heads * width, tokens)
            turned = insert(before, "Transpose", [product], perm=(0, 2, 1), shape=wide)
            turned = reshaped(model, before, turned, (batch, 3 * heads, width, tokens))
        thirds = shared_constant(model, "thirds", np.array([heads] * 3, np.int64))
        a, b, c = insert_node(before, "Split", [turned, thirds], axis=1, outputs=3).outputs
        for value in (a, b, c):
            value.shape = ir.Shape(block.shape)
        return a, insert(before, "Transpose", [b], perm=(0, 1, 3, 2), shape=(batch, heads, tokens, width)), c


class SeparateChannels(_ChannelAttention):
    """A product each for a, b and c: for engines that run node by node."""

    def is_normal(self, block: ChannelBlock) -> bool:
        whole = all(part.columns == part.dim for part in block.parts)
        return whole and len({part.root for part in block.parts}) == 3 and block.scale == 1

    def sources(self, model: ir.Model, block: ChannelBlock) -> tuple[ir.Value, ir.Value, ir.Value]:
        before = block.context
        batch, heads, width, tokens = block.shape
        values = []
        for index, (letter, perm) in enumerate(zip("abc", ((0, 2, 3, 1), (0, 2, 1, 3), (0, 2, 3, 1)), strict=True)):
            first = block.layers[0]
            value = new_layer(model, before, first.x, *_columns(block, index), f"{first.weights_name}_{letter}")
            view = (batch, tokens, heads, width)
            value = reshaped(model, before, value, view)
            values.append(insert(before, "Transpose", [value], perm=perm, shape=[view[axis] for axis in perm]))
        return values[0], values[1], values[2]


def _columns(block: ChannelBlock, index: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Weights and bias of a, b or c; those of a times the scale, in float64 and rounded once."""
    weights, bias = block.layers[index].columns(block.parts[index])
    if index == 0 and block.scale != 1:
        weights = (weights.astype(np.float64) * block.scale).astype(weights.dtype)
        bias = None if bias is None else (bias.astype(np.float64) * block.scale).astype(bias.dtype)
    return np.ascontiguousarray(weights), None if bias is None else np.ascontiguousarray(bias)


def _unheld(block: ChannelBlock) -> str:
    """Why the type of the graph does not hold the weights of a times the scale; empty where it does."""
    weights, bias = block.layers[0].columns(block.parts[0])
    if block.scale == 1:
        return ""
    exact = [array.astype(np.float64) * block.scale for array in (weights, bias) if array is not None]
    return unheld(weights.dtype, *exact)


def channel_block(softmax: ir.Node) -> ChannelBlock | str | None:
    """The block around a softmax; None where it is another attention, a reason where one part does not fit."""
    shape = sizes(softmax.inputs[0])
    if shape is None or len(shape) != 4 or shape[2] != shape[3] or attribute(softmax, "axis", -1) not in (-1, 3):
        return None
    value, scale = unscaled(softmax.inputs[0])
    scores = value.producer() if value is not None else None
    context = only_consumer(softmax.outputs[0])
    if scores is None or scores.op_type != "MatMul" or context is None or context.op_type != "MatMul":
        return None
    if context.inputs[0] is not softmax.outputs[0] or only_consumer(scores.outputs[0]) is None:
        return None
    a = find_heads(scores.inputs[0], transposed=True)  # type: ignore[arg-type]
    b = find_heads(scores.inputs[1])  # type: ignore[arg-type]
    c = find_heads(context.inputs[1], transposed=True)  # type: ignore[arg-type]
    if not isinstance(a, Heads) or not isinstance(b, Heads) or not isinstance(c, Heads):
        return None
    if len({(part.batch, part.heads, part.width, part.tokens) for part in (a, b, c)}) > 1 or a.width != shape[2]:
        return None
    if a.turned or b.turned or c.turned:
        return "a projection counts its tokens before its pictures"
    if c.scale != 1:
        return "c, the factor after the softmax, is multiplied by a number of its own"
    layers = of_one_input((a, b, c), {*scores.inputs, context.inputs[1]}, "a, b, c")
    if isinstance(layers, str):
        return layers
    out = tokens_after(context.outputs[0], (a.tried, a.heads, a.width, a.tokens))
    shape = sizes(out)
    if out is None or shape is None or None in shape or sum(isinstance(size, str) for size in shape) > 1:
        return "the result is not brought back to (batch, tokens, channels)"
    return ChannelBlock((a, b, c), layers, scale * a.scale * b.scale, softmax, context, out)


def tokens_after(value: ir.Value, shape: tuple[int, int, int, int]) -> ir.Value | None:
    """From (B, heads, width, N) down to (..., C) with the elements of (B, N, C); None where it does not get there."""
    numbers = np.arange(math.prod(shape)).reshape(shape)
    wanted = numbers.transpose(0, 3, 1, 2).ravel()
    while (node := only_consumer(value)) is not None and node.op_type in ("Transpose", "Reshape"):
        value = node.outputs[0]
        moved = move(numbers, [(node, value, value)])
        if moved is None:
            return None
        numbers = moved
        if numbers.shape[-1] == shape[1] * shape[2] and np.array_equal(numbers.ravel(), wanted):
            return value
    return None
