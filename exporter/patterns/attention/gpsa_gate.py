"""ConViT's gated positional attention: the position half is a constant, and the renormalisation is one.

Paper: d'Ascoli et al., ConViT, arXiv:2103.10697, equations 7 and 8; heads H, tokens N, gate g = sigmoid(lambda) a head.

    S = softmax(scale q k^T)        (B, H, N, N)  depends on the image
    P = softmax(W [dx, dy, d2] + b) (1, H, N, N)  does not; b is the same for every key and cancels
    A = (1 - g) S + g P;  A / sum(A);  A v

Both rows sum to 1, S being a softmax over the keys, so sum(A) = 1: ReduceSum, Unsqueeze and Div go. P is computed here, in float64, once. What is left is
written in one of two ways, each exact:

    GateBesideAttention   (1 - g) (S v) + (g P) v    the attention stays whole, so that it can become one fused kernel
    GateInAttention       (S + g/(1-g) P) v'         one product; v' = (1 - g) v, folded into the weights of v
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from ....graph.edit import insert, replace_value, shared_constant, sweep
from ....graph.read import attribute, constant, only_consumer, sizes
from ..base import Pattern
from ..matchers.heads import Heads, find_heads, read_only_by
from ..matchers.held import unheld

LARGEST_RATIO = 1e4  # 1 / (1 - g) beyond which float32 would lose the content half beside the position half


@dataclass(frozen=True)
class _Gate:
    """One gated block: softmax S, v as heads, 1 - g (1, H, 1, 1), g P (1, H, N, N), and the product with v."""

    content: ir.Value
    values: ir.Value
    keep: np.ndarray
    position: np.ndarray
    product: ir.Node
    short: bool  # nothing to leave out: the position term is a constant, and nobody divides by the sum


class _GpsaGate(Pattern):
    """Finds the gates; the subclasses write what is left."""

    better_after = ("FoldConstants", "FoldShapes")

    def apply(self, model: ir.Model) -> int:
        count = 0
        for node in list(model.graph):
            if node.op_type != "Add" or node.domain:
                continue
            gate = self._find(node)
            if isinstance(gate, _Gate):
                done = self.write(model, gate)
                count += done
            elif gate:
                self.decline(node, gate)
        if count:
            sweep(model)
        return count

    def write(self, model: ir.Model, gate: _Gate) -> int:
        """Build the block anew in front of the product with v; 1 when done."""
        raise NotImplementedError

    def _find(self, added: ir.Node) -> _Gate | str:
        """The gate whose sum is ``added``; an empty reason where the node is no gate at all."""
        for index in (0, 1):
            content, position = gated(added.inputs[index]), _position_term(added.inputs[1 - index])
            if content is not None and position is not None:
                break
        else:
            return ""
        shape = sizes(content[1])
        if shape is None or not _is_softmax(content[1], len(shape)):
            return "the content half is no softmax over the keys, so the rows would need their own sum"
        if shape[1:] != position.shape[1:]:
            return f"a position term of shape {position.shape} beside a content half of shape {shape}"
        keep = content[0].astype(np.float64).reshape(1, -1, 1, 1)
        if keep.shape[1] != shape[1] or np.abs(keep[..., 0] + position.sum(-1) - 1).max() > 1e-5:
            return f"gate {keep.ravel()} and the position term do not sum to 1, so the rows would need their own sum"
        product = product_with_v(added.outputs[0])
        if isinstance(product, str):
            return product
        short = product.inputs[0] is added.outputs[0] and constant(added.inputs[1 - index]) is not None
        return _Gate(content[1], product.inputs[1], keep, position, product, short)  # type: ignore[arg-type]


def _share(model: ir.Model, name: str, numbers: np.ndarray, like: ir.Value) -> ir.Value:
    """A constant in the type of ``like``, in which these graphs are written throughout."""
    kind = like.dtype.numpy() if like.dtype is not None else np.float32
    return shared_constant(model, name, numbers.astype(kind))


class GateBesideAttention(_GpsaGate):
    """(1 - g) (S v) + (g P) v: for engines that fuse a whole attention into one kernel."""

    def write(self, model: ir.Model, gate: _Gate) -> int:
        product, shape = gate.product, sizes(gate.product.outputs[0])
        weighed = _share(model, "position_term", gate.position, gate.content)
        keep = _share(model, "content_share", gate.keep, gate.content)
        content = insert(product, "MatMul", [gate.content, gate.values], shape=shape)
        content = insert(product, "Mul", [content, keep], shape=shape)
        position = insert(product, "MatMul", [weighed, gate.values], shape=shape)
        replace_value(product.outputs[0], insert(product, "Add", [content, position], shape=shape))
        return 1


class GateInAttention(_GpsaGate):
    """(S + g/(1-g) P) v' with 1 - g in the weights of v; beside a gate near 1 it stays a factor of its own."""

    def write(self, model: ir.Model, gate: _Gate) -> int:
        product, shape = gate.product, sizes(gate.content)
        if (gate.keep * LARGEST_RATIO > 1).all() and _scale_columns(model, gate):
            position, content = gate.position / gate.keep, gate.content
        elif gate.short:
            return 0
        else:
            position = gate.position
            keep = _share(model, "content_share", gate.keep, gate.content)
            content = insert(product, "Mul", [gate.content, keep], shape=shape)
        weighed = _share(model, "position_term", position, gate.content)
        mixed = insert(product, "Add", [content, weighed], shape=shape)
        product.replace_input_with(0, mixed)
        return 1


def gated(value: ir.Value | None) -> tuple[np.ndarray, ir.Value] | None:
    """For c * x with one number a head, (1, H, 1, 1): c and x."""
    node = value.producer() if value is not None else None
    if node is None or node.op_type != "Mul" or node.domain or only_consumer(node.outputs[0]) is None:
        return None
    for index in (0, 1):
        number, other = constant(node.inputs[index]), node.inputs[1 - index]
        if number is not None and other is not None and number.ndim in (3, 4) and number.size == number.shape[-3]:
            return number, other
    return None


def _is_softmax(value: ir.Value, rank: int) -> bool:
    """Whether every row of ``value`` along its last axis is a softmax, so that it sums to 1."""
    node = value.producer()
    if node is None or node.op_type != "Softmax" or node.domain:
        return False
    return attribute(node, "axis", -1) in (-1, rank - 1)


def _position_term(value: ir.Value | None) -> np.ndarray | None:
    """g P (1, H, N, N) in float64 where ``value`` does not depend on the image: a constant, or gated position scores."""
    known = constant(value)
    if known is not None:
        return known.astype(np.float64) if known.ndim == 4 and known.shape[0] == 1 else None
    share = gated(value)
    if share is None or not _is_softmax(share[1], 4):
        return None
    scores = position_scores(share[1].producer().inputs[0])  # type: ignore[union-attr]
    if scores is None or scores.ndim != 4 or scores.shape[0] != 1 or scores.shape[1] != share[0].size:
        return None
    exponentials = np.exp(scores - scores.max(-1, keepdims=True))
    gate = share[0].astype(np.float64).reshape(1, -1, 1, 1)
    return gate * exponentials / exponentials.sum(-1, keepdims=True)


def position_scores(value: ir.Value | None) -> np.ndarray | None:
    """Position scores in float64: constants through Transpose, Add, MatMul, Mul and Expand to an open batch."""
    array = constant(value)
    if array is not None:
        return array.astype(np.float64)
    node = value.producer() if value is not None else None
    if node is None or node.domain:
        return None
    if node.op_type == "Expand":  # to the batch: P is the same for every image
        source = position_scores(node.inputs[0])
        return source if source is not None and source.ndim == 4 and source.shape[0] == 1 else None
    if node.op_type == "Transpose":
        source = position_scores(node.inputs[0])
        perm = attribute(node, "perm")
        return None if source is None or perm is None or perm[0] != 0 else source.transpose(perm)
    if node.op_type in _ARITHMETIC:
        left, right = position_scores(node.inputs[0]), position_scores(node.inputs[1])
        return None if left is None or right is None else _ARITHMETIC[node.op_type](left, right)
    return None


_ARITHMETIC = {"Add": np.add, "Mul": np.multiply, "MatMul": np.matmul}


def renormalised(rows: ir.Value) -> ir.Value:
    """The rows divided by their own sum, where that is done; else the rows."""
    for usage in rows.uses():
        node = usage.node
        if node.op_type == "Div" and usage.idx == 0 and _is_row_sum(node.inputs[1], rows):
            others = [use.node for use in rows.uses() if use.node is not node]
            if len(others) == 1 and not rows.is_graph_output():
                return node.outputs[0]
    return rows


def product_with_v(rows: ir.Value) -> ir.Node | str:
    """The product that takes the gated rows, divided by their own sum where that is done; or why there is none."""
    normalised = renormalised(rows)
    product = only_consumer(normalised)
    if product is None or product.op_type != "MatMul" or product.inputs[0] is not normalised:
        return "the gated rows have other uses than the product with v"
    return product


def _is_row_sum(value: ir.Value | None, rows: ir.Value) -> bool:
    node = value.producer() if value is not None else None
    kept = node is not None and node.op_type == "ReduceSum"
    if node is not None and node.op_type == "Unsqueeze" and _last_axis(node):
        node = node.inputs[0].producer() if node.inputs[0] is not None else None
    if node is None or node.op_type != "ReduceSum" or node.inputs[0] is not rows:
        return False
    return _last_axis(node) and attribute(node, "keepdims", 1) == kept


def _last_axis(node: ir.Node) -> bool:
    axes = constant(node.inputs[1]) if len(node.inputs) > 1 else None
    return axes is not None and axes.ravel().tolist() in ([-1], [3])


def _scale_columns(model: ir.Model, gate: _Gate) -> bool:
    """Fold one factor a head into the projection of v; False where others read it or it is no plain product that can."""
    values = find_heads(gate.values)
    if not isinstance(values, Heads) or only_consumer(gate.values) is not gate.product:
        return False
    node, factors = values.root.producer(), np.repeat(gate.keep.ravel(), values.width)
    if values.offset or values.columns != values.dim or node is None or not read_only_by(values.root, {gate.values}):
        return False
    bias = None
    if node.op_type == "Add":
        bias = next((value for value in node.inputs if constant(value) is not None), None)
        inner = next((value for value in node.inputs if value is not bias), None)
        adder, node = node, inner.producer() if inner is not None else None
        if bias is None or node is None or only_consumer(inner) is not adder:
            return False
    weights = constant(node.inputs[1]) if node.op_type == "MatMul" else None
    if weights is None or weights.ndim != 2:
        return False
    exact = weights.astype(np.float64) * factors
    if unheld(weights.dtype, exact):
        return False
    scaled = exact.astype(weights.dtype)
    node.replace_input_with(1, shared_constant(model, f"{node.inputs[1].name}_gated", scaled))  # type: ignore[union-attr]
    if bias is not None:
        array = constant(bias)
        assert array is not None
        moved = (array.astype(np.float64) * factors).astype(array.dtype)
        adder.replace_input_with(list(adder.inputs).index(bias), shared_constant(model, f"{bias.name}_gated", moved))
    return True
