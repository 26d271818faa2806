"""The last block computes only the tokens that are read: a classifier on the class token needs one row of many.

    x (B, N, C) > ... last attention block, MLP, LayerNorm ... (B, N, C) > Gather token 0 > head

Everything after the last exchange between tokens is done token by token, so the Gather moves up through it: through
LayerNorm, the linear layers, the activation and both residual sums, to the queries of the last attention. Keys and values
are still made of all tokens. Exact; for ConViT (arXiv:2103.10697) and any ViT that reads its class token.

    q (B, heads, 1, width), k^T (B, heads, width, N), v (B, heads, N, width) > (B, 1, C) > ... > head
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from ....graph.edit import insert, replace_value, shared_constant, sweep
from ....graph.read import attribute, constant, sizes
from ..base import Pattern
from ..matchers.attention_block import AttentionBlock, attention_blocks
from ..matchers.projection import Projection, new_layer, projection
from ..matchers.views import reshaped

ALONE = {"LayerNormalization", "Gelu", "Relu", "Sigmoid", "Tanh", "Erf", "Identity", "Sqrt", "Neg"}
TOGETHER = {"Add", "Sub", "Mul", "Div"}
LARGEST_SHARE = 0.5  # of the tokens; above it the extra Slices cost more than the rows that they save


class DropUnreadTokens(Pattern):
    """Move the choice of tokens up to the queries of the last attention; declines where most tokens are read."""

    better_after = ("FoldShapes", "GateInAttention")

    def apply(self, model: ir.Model) -> int:
        count = 0
        for node in list(model.graph):
            window = _window(node)
            if window is None:
                continue
            first, last, tokens = window
            if last - first > LARGEST_SHARE * tokens:
                self.decline(node, f"{last - first} of {tokens} tokens are read")
                continue
            blocks = {block.out: block for block in attention_blocks(model.graph, lambda *_: None)
                      if isinstance(block.out, ir.Value) and not block.turned_out
                      and (sizes(block.out) or ())[1:] == (tokens, block.v.dim)
                      and block.q.tokens == tokens}  # fmt: skip
            rows = _Rows(model, node, first, last, tokens, blocks)
            if rows.reach:
                source = node.inputs[0]
                assert source is not None
                chosen = rows.of(source)
                if node.op_type == "Gather":
                    axis = shared_constant(model, "axis", np.array([1], np.int64))
                    chosen = insert(node, "Squeeze", [chosen, axis], shape=sizes(node.outputs[0]))
                replace_value(node.outputs[0], chosen)
                sweep(model)
                count += 1
        return count


def _window(node: ir.Node) -> tuple[int, int, int] | None:
    """First token, one past the last, and their number, where a node chooses tokens of (B, N, C)."""
    shape = sizes(node.inputs[0]) if node.inputs else None
    if node.domain or shape is None or len(shape) != 3 or not isinstance(shape[1], int):
        return None
    arrays = [constant(value) for value in node.inputs[1:]]
    if any(array is None or array.size != 1 for array in arrays):
        return None
    numbers = [int(array.item()) for array in arrays if array is not None]
    if node.op_type == "Gather" and attribute(node, "axis", 0) == 1 and arrays[0] is not None and arrays[0].ndim == 0:
        first = numbers[0] % shape[1]
        return first, first + 1, shape[1]
    if node.op_type == "Slice" and len(numbers) >= 3 and numbers[2] == 1 and (len(numbers) < 4 or numbers[3] == 1):
        first, last, _ = slice(numbers[0], numbers[1]).indices(shape[1])
        return (first, last, shape[1]) if last > first else None
    return None


class _Rows:
    """Builds the chosen rows of values, as far up as nobody else needs the others."""

    def __init__(
        self,
        model: ir.Model,
        anchor: ir.Node,
        first: int,
        last: int,
        tokens: int,
        blocks: dict[ir.Value, AttentionBlock],
    ) -> None:
        self.model, self.anchor, self.first, self.last, self.tokens = model, anchor, first, last, tokens
        self.blocks, self.done = blocks, dict[ir.Value, ir.Value]()
        self.reach: set[ir.Node] = set()
        inside = {anchor}
        for node in reversed(list(model.graph)):
            if len(node.outputs) != 1 or node.outputs[0].is_graph_output():
                continue
            readers = {usage.node for usage in node.outputs[0].uses()}
            if not readers or not readers <= inside:
                continue
            if (block := blocks.get(node.outputs[0])) and self._layers(block) or self._by_token(node):
                self.reach.add(node)
                inside.add(node)

    def of(self, value: ir.Value) -> ir.Value:
        """The chosen rows of ``value`` (..., N, C)."""
        if value not in self.done:
            node = value.producer()
            if node is None or node not in self.reach:
                self.done[value] = self._cut(value)
            elif block := self.blocks.get(value):
                self.done[value] = self._attend(block)
            else:
                self.done[value] = self._again(node)
        return self.done[value]

    def _has_tokens(self, value: ir.Value | None) -> bool:
        shape = sizes(value)
        return shape is not None and len(shape) >= 2 and shape[-2] == self.tokens

    def _by_token(self, node: ir.Node) -> bool:
        """Whether row t of the result needs nothing but row t of the inputs."""
        shape = sizes(node.outputs[0])
        if node.domain or shape is None or len(shape) != 3 or shape[1] != self.tokens:
            return False
        if node.op_type == "LayerNormalization":
            return attribute(node, "axis", -1) in (-1, 2)
        if node.op_type == "MatMul":
            weights = constant(node.inputs[1])
            return weights is not None and weights.ndim == 2
        return node.op_type in ALONE | TOGETHER

    def _cut(self, value: ir.Value) -> ir.Value:
        array = constant(value)
        if array is not None:
            return shared_constant(self.model, f"{value.name}_rows", array[..., self.first : self.last, :])
        shape = sizes(value) or ()
        axis = len(shape) - 2  # of the tokens: a position term may come without a batch
        bounds = [shared_constant(self.model, "token", np.array([n], np.int64)) for n in (self.first, self.last, axis)]
        rows = (*shape[:axis], self.last - self.first, shape[-1])
        return insert(self.anchor, "Slice", [value, *bounds], shape=rows)

    def _again(self, node: ir.Node) -> ir.Value:
        """The node once more, on the chosen rows of its inputs."""
        along = node.inputs if node.op_type in TOGETHER else node.inputs[:1]
        inputs = [self.of(value) if value is not None and i < len(along) and self._has_tokens(value) else value
                  for i, value in enumerate(node.inputs)]  # fmt: skip
        shape = sizes(node.outputs[0]) or ()
        options = {name: attr.value for name, attr in node.attributes.items()}
        return insert(self.anchor, node.op_type, inputs, shape=(shape[0], self.last - self.first, shape[2]), **options)

    def _layers(self, block: AttentionBlock) -> tuple[Projection, Projection, Projection] | None:
        layers = [projection(heads.root) for heads in block.heads]
        shape = sizes(layers[0].x) if layers[0] is not None else None
        if any(layer is None for layer in layers) or (shape or ())[1:-1] != (self.tokens,):
            return None
        return tuple(layers) if block.added is None else None  # type: ignore[return-value]

    def _attend(self, block: AttentionBlock) -> ir.Value:
        """The attention of the chosen queries over all keys and values, each from a product of its own."""
        layers = self._layers(block)
        assert layers is not None
        q, k, v = block.heads
        rows = self.last - self.first
        ready = []
        for layer, heads, letter in zip(layers, block.heads, "qkv", strict=True):
            weights, bias = layer.columns(heads)
            tokens = rows if heads is q else heads.tokens
            x = self.of(layer.x) if heads is q else layer.x
            value = new_layer(self.model, self.anchor, x, weights, bias, f"{layer.weights_name}_{letter}")
            value = self._reshape(value, (heads.batch, tokens, heads.heads, heads.width))
            perm = (0, 2, 3, 1) if heads is k else (0, 2, 1, 3)
            full = (heads.batch, tokens, heads.heads, heads.width)
            ready.append(self._node("Transpose", [value], [full[axis] for axis in perm], perm=perm))
        grid = (q.batch, q.heads, rows, k.tokens)
        scale = shared_constant(self.model, "scale", np.array(block.scale, layers[0].weights.dtype))
        scores = self._node("Mul", [self._node("MatMul", ready[:2], grid), scale], grid)
        context = self._node("Softmax", [scores], grid, axis=-1)
        context = self._node("MatMul", [context, ready[2]], (q.batch, q.heads, rows, v.width))
        context = self._node("Transpose", [context], (q.batch, rows, q.heads, v.width), perm=(0, 2, 1, 3))
        return self._reshape(context, (q.batch, rows, v.dim))

    def _reshape(self, value: ir.Value, shape: tuple) -> ir.Value:
        return reshaped(self.model, self.anchor, value, shape)

    def _node(self, op_type: str, inputs: list, shape: tuple | list, **options: Any) -> ir.Value:
        return insert(self.anchor, op_type, inputs, shape=shape, **options)
