"""Convolutions and linear layers as exported, seen as their weights, and the small ways to write new ones.

    Conv:    x (B, I, ...) > y (B, O, ...), weight (O, I / groups, ...), bias (O,)
    Linear:  x (..., I) > y (..., O), weight (I, O), bias (O,), exported as MatMul and Add

Arithmetic on weights happens in float64 and is rounded once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import onnx_ir as ir

from ....graph.edit import insert, shared_constant
from ....graph.read import attribute, constant, only_consumer, sizes

TO_MAP, TO_TOKENS = (0, 3, 1, 2), (0, 2, 3, 1)  # (B, H, W, C) <> (B, C, H, W)


@dataclass(frozen=True)
class Convolution:
    """A Conv node with constant weights."""

    node: ir.Node
    stored: np.ndarray  # (O, I / groups, ...), in the type of the graph
    stored_bias: np.ndarray | None
    groups: int

    @cached_property  # widened only where it is computed with: most convolutions are looked at and left alone
    def weight(self) -> np.ndarray:
        """(O, I / groups, ...), float64"""
        return self.stored.astype(np.float64)

    @cached_property
    def bias(self) -> np.ndarray:
        """(O,), float64, zeros where the node has none"""
        return np.zeros(self.outputs) if self.stored_bias is None else self.stored_bias.astype(np.float64)

    @property
    def outputs(self) -> int:
        """Output channels."""
        return int(self.stored.shape[0])

    @property
    def inputs(self) -> int:
        """Input channels of a group."""
        return int(self.stored.shape[1])

    @property
    def kernel(self) -> tuple[int, ...]:
        return self.stored.shape[2:]

    @property
    def axes(self) -> int:
        """Axes of the map: 2 of an image."""
        return self.stored.ndim - 2

    @property
    def x(self) -> ir.Value:
        assert self.node.inputs[0] is not None
        return self.node.inputs[0]

    @property
    def y(self) -> ir.Value:
        return self.node.outputs[0]

    @property
    def channels(self) -> int:
        """Input channels."""
        return self.inputs * self.groups

    @property
    def pads(self) -> tuple[int, ...]:
        return tuple(attribute(self.node, "pads", (0,) * 2 * self.axes))

    @property
    def padded(self) -> bool:
        return any(self.pads) or attribute(self.node, "auto_pad", "NOTSET") not in ("NOTSET", "VALID")

    @property
    def depthwise(self) -> bool:
        return self.inputs == 1 and self.groups == self.outputs

    @property
    def same_size(self) -> bool:
        """Odd kernel, stride and dilation 1, zeros around: the map keeps its size and its centre."""
        half = tuple(size // 2 for size in self.kernel)
        return (
            all(size % 2 for size in self.kernel)
            and set(attribute(self.node, "strides", (1,))) == {1}
            and set(attribute(self.node, "dilations", (1,))) == {1}
            and attribute(self.node, "auto_pad", "NOTSET") == "NOTSET"
            and self.pads == half + half
        )

    def scaled_outputs(self, scale: np.ndarray) -> np.ndarray:
        """The weight that gives ``scale`` times what this one gives, one factor an output channel."""
        return self.weight * spread(scale, self.axes + 1)

    def scaled_inputs(self, scale: np.ndarray) -> np.ndarray:
        """The weight that gives on ``x`` what this one gives on ``scale * x``, one factor an input channel."""
        per_group = scale.reshape(self.groups, 1, -1, *(1,) * self.axes)  # (groups, 1, I / groups, ...)
        grouped = self.weight.reshape(self.groups, -1, *self.weight.shape[1:])
        return (grouped * per_group).reshape(self.weight.shape)

    def shifted_inputs(self, shift: np.ndarray) -> np.ndarray:
        """What ``shift`` added to every input channel adds to every output channel; exact only without padding."""
        taps = self.weight.sum(axis=tuple(range(2, self.weight.ndim))).reshape(self.groups, -1, self.weight.shape[1])
        return np.einsum("goi,gi->go", taps, shift.reshape(self.groups, -1)).ravel()


def convolution(node: ir.Node | None) -> Convolution | None:
    """The node as a convolution, None when it is none or its weights are not constants."""
    if node is None or node.op_type != "Conv" or node.domain:
        return None
    weight = constant(node.inputs[1])
    has_bias = len(node.inputs) > 2 and node.inputs[2] is not None
    bias = constant(node.inputs[2]) if has_bias else None
    if weight is None or (has_bias and bias is None):
        return None
    return Convolution(node, weight, bias, attribute(node, "group", 1))


def spread(vector: np.ndarray, axes_after: int) -> np.ndarray:
    """(C,) > (C, 1, ...), with so many axes of size 1 behind it."""
    return vector.reshape(-1, *(1,) * axes_after)


def set_weights(
    model: ir.Model, found: Convolution, weight: np.ndarray | None = None, bias: np.ndarray | None = None
) -> None:
    """Give the node new weights of its own, in the type of the old ones; the old tensors stay for other readers."""
    name = found.node.inputs[1].name  # type: ignore[union-attr]
    dtype = found.stored.dtype
    bias = found.bias if bias is None else bias
    if weight is not None:
        found.node.replace_input_with(1, shared_constant(model, f"{name}_folded", weight.astype(dtype)))
    if len(found.node.inputs) < 3:
        found.node.resize_inputs(3)
    found.node.replace_input_with(2, shared_constant(model, f"{name}_folded_bias", bias.astype(dtype)))


@dataclass(frozen=True)
class Linear:
    """MatMul by a constant matrix and, where there is one, the Add of a constant vector after it."""

    matmul: ir.Node
    add: ir.Node | None
    stored: np.ndarray  # (I, O), in the type of the graph
    stored_bias: np.ndarray | None

    @cached_property
    def weight(self) -> np.ndarray:
        """(I, O), float64"""
        return self.stored.astype(np.float64)

    @cached_property
    def bias(self) -> np.ndarray:
        """(O,), float64, zeros where there is none"""
        bias = self.stored_bias
        return np.zeros(self.outputs) if bias is None else bias.astype(np.float64).ravel()

    @property
    def dtype(self) -> np.dtype:
        return self.stored.dtype

    @property
    def inputs(self) -> int:
        return int(self.stored.shape[0])

    @property
    def outputs(self) -> int:
        return int(self.stored.shape[1])

    @property
    def x(self) -> ir.Value:
        assert self.matmul.inputs[0] is not None
        return self.matmul.inputs[0]

    @property
    def y(self) -> ir.Value:
        return (self.add or self.matmul).outputs[0]


def linear(value: ir.Value | None) -> Linear | None:
    """The linear layer that ends in ``value``, None when there is none or its weights are not constants."""
    node = value.producer() if value is not None else None
    if node is None or node.domain:
        return None
    if node.op_type == "MatMul":
        return _linear(node, None, None)
    if node.op_type != "Add":
        return None
    for index in (0, 1):
        bias, product = constant(node.inputs[index]), node.inputs[1 - index]
        matmul = product.producer() if product is not None else None
        if bias is None or matmul is None or matmul.op_type != "MatMul" or only_consumer(product) is not node:
            continue
        return _linear(matmul, node, bias)
    return None


def _linear(matmul: ir.Node, add: ir.Node | None, bias: np.ndarray | None) -> Linear | None:
    weight = constant(matmul.inputs[1])
    if weight is None or weight.ndim != 2:
        return None
    if bias is not None and not _one_a_channel(bias, weight.shape[1], matmul.outputs[0]):
        return None
    return Linear(matmul, add, weight, bias)


def _one_a_channel(array: np.ndarray, channels: int, value: ir.Value) -> bool:
    """Whether a constant holds one number for each entry of the last axis of ``value`` and adds no axis to it."""
    rank = len(sizes(value) or (None,))
    return array.size == channels and array.shape[-1:] == (channels,) and array.ndim <= rank


def set_linear(model: ir.Model, found: Linear, weight: np.ndarray, bias: np.ndarray) -> None:
    """Give the layer new weights of its own; a layer without bias stays without."""
    name = found.matmul.inputs[1].name  # type: ignore[union-attr]
    found.matmul.replace_input_with(1, shared_constant(model, f"{name}_folded", weight.astype(found.dtype)))
    if found.add is not None:
        index = 0 if constant(found.add.inputs[0]) is not None else 1
        name = found.add.inputs[index].name  # type: ignore[union-attr]
        found.add.replace_input_with(index, shared_constant(model, f"{name}_folded", bias.astype(found.dtype)))


def channel_vector(value: ir.Value | None, channels: int, axes_after: int, rank: int) -> np.ndarray | None:
    """A constant with one number a channel and ``axes_after`` axes of size 1 behind it, as a (channels,) vector.

    ``rank`` is that of what it multiplies: a constant of more axes would give the product more.
    """
    array = constant(value)
    if array is None or array.size != channels or channels == 1 or not axes_after < array.ndim <= rank:
        return None
    return array.astype(np.float64).ravel() if array.shape[array.ndim - 1 - axes_after] == channels else None


def transposed(value: ir.Value | None, perm: Sequence[int]) -> ir.Value | None:
    """What ``value`` is the ``perm`` transpose of, else None."""
    node = value.producer() if value is not None else None
    if node is None or node.op_type != "Transpose" or node.domain or tuple(attribute(node, "perm", ())) != tuple(perm):
        return None
    return node.inputs[0]


def transpose_of(before: ir.Node, value: ir.Value, perm: Sequence[int]) -> ir.Value:
    """``value`` transposed: itself undone where it is the opposite transpose, a node that is there, or a new one."""
    undone = transposed(value, TO_TOKENS if tuple(perm) == TO_MAP else TO_MAP)
    if undone is not None:
        return undone
    shape = sizes(value)
    new_shape = [shape[axis] for axis in perm] if shape is not None else None
    return insert(before, "Transpose", [value], perm=list(perm), shape=new_shape)
