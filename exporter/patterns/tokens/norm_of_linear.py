"""BatchNorm into the linear layers around it, also through the views between them.

    x (B, N, I) > MatMul, Add (B, N, C) > Reshape (B N, C) > BatchNormalization > ...    x > MatMul', Add' > Reshape > ...
    x (B, C) > BatchNormalization > Gemm, ...                                              x > Gemm', ...

LeViT (Graham et al., arXiv:2104.01136) has one behind every layer, and classifiers often one before the last. With
s = weight / sqrt(var + eps) and t = bias - s * mean, BatchNorm is s * x + t; a linear layer pads nothing, so both sides are
exact. Convolutions are those of FoldBatchNorm.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from ....graph.edit import replace_value, shared_constant
from ....graph.read import attribute, constant, is_op, only_consumer, sizes
from ..base import Pattern
from ..convolutions.fold_batchnorm import affine
from ..matchers.held import unheld
from ..matchers.layers import linear
from ..matchers.views import merge_views


@dataclass(frozen=True)
class Dense:
    """A MatMul by a constant matrix, with the Add of a constant vector or without; or a Gemm that is both."""

    product: ir.Node
    add: ir.Node | None
    stored: np.ndarray  # (I, O), in the type of the graph
    bias: np.ndarray  # (O,), float64, zeros where there is none

    @property
    def y(self) -> ir.Value:
        return (self.add or self.product).outputs[0]

    def write(self, model: ir.Model, weight: np.ndarray, bias: np.ndarray) -> None:
        """The layer with another weight (I, O) and bias; the old tensors stay for other readers."""
        dtype, name = self.stored.dtype, self.product.inputs[1].name  # type: ignore[union-attr]
        vector = shared_constant(model, f"{name}_folded_bias", bias.astype(dtype))
        if is_op(self.product, "Gemm"):
            turned = weight.T if attribute(self.product, "transB", 0) else weight
            self.product.replace_input_with(1, shared_constant(model, f"{name}_folded", turned.astype(dtype)))
            self.product.resize_inputs(3)
            self.product.replace_input_with(2, vector)
            return
        self.product.replace_input_with(1, shared_constant(model, f"{name}_folded", weight.astype(dtype)))
        if self.add is not None:
            self.add.replace_input_with(0 if constant(self.add.inputs[0]) is not None else 1, vector)
        elif bias.any():
            product, graph = self.product.outputs[0], self.product.graph
            assert isinstance(graph, ir.Graph)
            readers = [(usage.node, usage.idx) for usage in product.uses()]
            total = ir.Value(type=product.type, shape=product.shape)
            graph.insert_after(self.product, ir.node("Add", [product, vector], outputs=[total]))
            for node, index in readers:
                node.replace_input_with(index, total)

    @property
    def may_add(self) -> bool:
        """Whether a bias can be written behind it: an output of the graph keeps its place."""
        return self.add is not None or is_op(self.product, "Gemm") or not self.y.is_graph_output()


def dense(node: ir.Node | None) -> Dense | None:
    """The layer that ``node`` ends, None when it is none or its numbers are no constants."""
    if is_op(node, "Gemm"):
        weight = constant(node.inputs[1])
        has_bias = len(node.inputs) > 2 and node.inputs[2] is not None
        bias = constant(node.inputs[2]) if has_bias else None
        plain = attribute(node, "alpha", 1.0) == attribute(node, "beta", 1.0) == 1 and not attribute(node, "transA", 0)
        if weight is None or not plain or (has_bias and bias is None):
            return None
        weight = weight.T if attribute(node, "transB", 0) else weight
        if bias is not None and bias.shape not in ((), (1,), (weight.shape[1],), (1, weight.shape[1]), (1, 1)):
            return None
        zeros = np.zeros(weight.shape[1])
        return Dense(node, None, weight, zeros if bias is None else zeros + bias.astype(np.float64).ravel())
    found = linear(node.outputs[0]) if node is not None else None
    return None if found is None else Dense(found.matmul, found.add, found.stored, found.bias)


class FoldLinearNorm(Pattern):
    """Fold each BatchNorm that has a linear layer before it, or nothing but linear layers behind it."""

    better_after = ("FoldShapes",)

    def apply(self, model: ir.Model) -> int:
        count = sum(self._fold(model, node) for node in list(model.graph) if is_op(node, "BatchNormalization"))
        if count:  # the views to and from the norm are read by each other now
            merge_views(model)
        return count

    def _fold(self, model: ir.Model, node: ir.Node) -> bool:
        numbers, x, y = affine(node), node.inputs[0], node.outputs[0]
        if numbers is None or x is None:
            return False
        scale, shift = numbers
        before = _layer_above(node)
        if before is not None:
            weight, bias = before.stored.astype(np.float64) * scale, before.bias * scale + shift
            if why := unheld(before.stored.dtype, weight, bias):
                self.decline(node, why)
                return False
            replace_value(y, x)
            model.graph.remove(node, safe=True)
            before.write(model, weight, bias)
            return True
        shape = sizes(y)
        layers = [_layer_below(usage.node) if usage.idx == 0 else None for usage in y.uses()]
        behind = [layer for layer in layers if layer is not None]
        if y.is_graph_output() or not behind or len(behind) < len(layers) or shape is None or len(shape) != 2:
            return False
        written = []
        for layer in behind:
            stored = layer.stored.astype(np.float64)
            weight, bias = stored * scale[:, None], layer.bias + shift @ stored
            if why := unheld(layer.stored.dtype, weight, bias):
                self.decline(node, why)
                return False
            written.append((layer, weight, bias))
        for layer, weight, bias in written:
            layer.product.replace_input_with(0, x)
            layer.write(model, weight, bias)
        model.graph.remove(node, safe=True)
        return True


def _layer_below(node: ir.Node) -> Dense | None:
    """The layer that starts at ``node``; None too where a bias would have no place."""
    after = only_consumer(node.outputs[0]) if is_op(node, "MatMul") else None
    found = dense(after) if is_op(after, "Add") else None
    found = found or dense(node)
    return found if found is not None and found.product is node and found.may_add else None


def _layer_above(norm: ir.Node) -> Dense | None:
    """The layer whose outputs a BatchNorm takes as its channels, through views that nobody else reads."""
    value, axis = norm.inputs[0], 1
    while value is not None and only_consumer(value) is not None:
        node, shape = value.producer(), sizes(value)
        if node is None or shape is None:
            return None
        layer = dense(node)
        if layer is not None:
            return layer if axis == len(shape) - 1 and layer.y is value else None
        source = sizes(node.inputs[0]) if node.inputs else None
        if is_op(node, "Transpose"):
            axis = attribute(node, "perm", tuple(reversed(range(len(shape)))))[axis]
        elif (
            is_op(node, "Reshape")
            and source
            and axis == len(shape) - 1
            and source[-1] == shape[-1]
            and isinstance(shape[-1], int)
        ):
            axis = len(source) - 1
        elif not is_op(node, "Identity"):
            return None
        value = node.inputs[0]
    return None
