"""The linear layers behind heads: which input, which columns of which weights, several of them as one, and new ones.

x (..., C_in) > MatMul W (C_in, columns) [> Add b (columns)]  =  the root of heads.Heads
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from ....graph.edit import insert, shared_constant
from ....graph.read import constant, sizes
from .heads import Heads, read_only_by


@dataclass(frozen=True)
class Projection:
    """``value`` = x W + b; ``bias`` is None where the layer has none."""

    value: ir.Value
    x: ir.Value
    weights: np.ndarray  # (C_in, columns)
    bias: np.ndarray | None  # (columns,)
    weights_name: str

    def columns(self, heads: Heads) -> tuple[np.ndarray, np.ndarray | None]:
        """The weights (C_in, dim) and the bias (dim,) of one of q, k, v."""
        part = list(heads.picked) if heads.offset < 0 else slice(heads.offset, heads.offset + heads.dim)
        return self.weights[:, part], None if self.bias is None else self.bias[part]


def projection(value: ir.Value) -> Projection | None:
    """The linear layer that computes ``value``, if it is one with constant weights."""
    node, bias = value.producer(), None
    if node is not None and node.op_type == "Add" and not node.domain:
        index = next((i for i in (0, 1) if constant(node.inputs[i]) is not None), None)
        inner = node.inputs[1 - index] if index is not None else None
        if index is None or inner is None:
            return None
        bias = constant(node.inputs[index])
        node = inner.producer()
    if node is None or node.domain or node.op_type != "MatMul":
        return None
    weights, x = constant(node.inputs[1]), node.inputs[0]
    if weights is None or x is None or weights.ndim != 2:
        return None
    if bias is not None:
        if bias.ndim > 1 and bias.size != bias.shape[-1] or bias.size not in (1, weights.shape[1]):
            return None
        bias = np.broadcast_to(bias.ravel(), weights.shape[1:])
    return Projection(value, x, weights, bias, node.inputs[1].name or "weights")  # type: ignore[union-attr]


def packed(parts: list[tuple[np.ndarray, np.ndarray | None]]) -> tuple[np.ndarray, np.ndarray | None]:
    """Several layers of one input as one: (C_in, sum of columns), and the bias, zeros where a layer has none."""
    weights = np.concatenate([weights for weights, _ in parts], axis=1)
    if all(bias is None for _, bias in parts):
        return weights, None
    biases = [np.zeros(w.shape[1], w.dtype) if b is None else b for w, b in parts]
    return weights, np.concatenate(biases)


def of_one_input(parts: Sequence[Heads], ends: set[ir.Value | None], words: str) -> tuple[Projection, ...] | str:
    """The linear layers of heads, when they have one input and nothing but ``ends`` reads them; or why not.

    ``words`` are the names of the parts, as "q, k, v".
    """
    layers = [projection(part.root) for part in parts]
    found = tuple(layer for layer in layers if layer is not None)
    *some, last = words.split(", ")
    if len(found) < len(parts) or len({layer.x for layer in found}) > 1:
        return f"{', '.join(some)} and {last} are not linear layers of one input"
    if not all(read_only_by(part.root, ends) for part in parts):  # type: ignore[arg-type]
        return f"{', '.join(some)} or {last} is read outside the attention too"
    return found


def new_layer(
    model: ir.Model, before: ir.Node, x: ir.Value, weights: np.ndarray, bias: np.ndarray | None, name: str
) -> ir.Value:
    """x W + b, with weights of its own."""
    shape = (*(sizes(x) or ())[:-1], weights.shape[1])
    value = insert(before, "MatMul", [x, shared_constant(model, name, weights)], shape=shape)
    if bias is None:
        return value
    return insert(before, "Add", [value, shared_constant(model, f"{name}_bias", bias)], shape=shape)


def one_product(
    model: ir.Model, before: ir.Node, x: ir.Value, layers: Sequence[Projection], parts: Sequence[Heads]
) -> ir.Value:
    """x (..., C) -> (..., 3 dim), q, k and v side by side: the layer that is so already, or a new one on ``x``."""
    first, dim = parts[0], parts[0].dim
    same = all(part.root is first.root for part in parts)
    if same and first.columns == 3 * dim and layers[0].x is x and [part.offset for part in parts] == [0, dim, 2 * dim]:
        return first.root
    weights, bias = packed([layer.columns(part) for layer, part in zip(layers, parts, strict=True)])
    return new_layer(model, before, x, weights, bias, f"{layers[0].weights_name}_qkv")
