"""How channel labels pass each operator (channels.py): along, into a weight, or not at all.

An operator is passed where f(x / s) = f(x) / s for one positive factor s a channel: views, Relu, products and sums with
what has no factor, the value side of attention.  A weight that meets the channels takes the factor back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ...graph.read import attribute, constant, is_op
from .labels import FROZEN, ZERO, Edit, NotLinear, collapse, guess

if TYPE_CHECKING:
    import onnx_ir as ir

    Labels = dict[ir.Value, np.ndarray]
    Passed = tuple[Labels, list[Edit]]


def step(node: ir.Node, carried: Mapping[ir.Value, np.ndarray]) -> Passed:
    """Labels of the outputs of ``node`` and the constants of it that change; NotLinear where it cannot be passed."""
    rule = (MICROSOFT if node.domain == "com.microsoft" else RULES if not node.domain else {}).get(node.op_type)
    labels = [carried[value] for value in node.inputs if value is not None and value in carried]
    if rule is None:
        raise NotLinear(labels[0], f"{node.op_type} {node.name} is not linear")
    try:
        return rule(node, [carried.get(value) if value is not None else None for value in node.inputs])
    except (ValueError, IndexError, TypeError) as error:  # a shape that is only guessed did not fit
        raise NotLinear(labels[0], f"{node.op_type} {node.name} could not be followed ({error})") from error


def _only_first(node: ir.Node, labels: list[Any]) -> np.ndarray:
    if labels[0] is None:
        raise NotLinear(
            next(one for one in labels if one is not None), f"{node.op_type} {node.name} takes no channels there"
        )
    return labels[0]


def _known(node: ir.Node, index: int, default: Any = None) -> Any:
    """The constant input ``index`` as a list, or ``default`` where there is none; ValueError where it is computed."""
    if index >= len(node.inputs) or node.inputs[index] is None:
        return default
    array = constant(node.inputs[index])
    if array is None:
        raise ValueError(f"input {index} is computed")
    return array.tolist()


def _reshape(node: ir.Node, labels: list[Any]) -> Passed:
    one, target = _only_first(node, labels), _known(node, 1)
    shape = [
        one.shape[at] if size == 0 and not attribute(node, "allowzero", 0) else size for at, size in enumerate(target)
    ]
    return {node.outputs[0]: one.reshape(shape)}, []


def _transpose(node: ir.Node, labels: list[Any]) -> Passed:
    return {node.outputs[0]: _only_first(node, labels).transpose(attribute(node, "perm"))}, []


def _squeeze(node: ir.Node, labels: list[Any]) -> Passed:
    axes = _known(node, 1)
    return {node.outputs[0]: np.squeeze(_only_first(node, labels), None if axes is None else tuple(axes))}, []


def _unsqueeze(node: ir.Node, labels: list[Any]) -> Passed:
    return {node.outputs[0]: np.expand_dims(_only_first(node, labels), tuple(_known(node, 1)))}, []


def _flatten(node: ir.Node, labels: list[Any]) -> Passed:
    one, axis = _only_first(node, labels), attribute(node, "axis", 1)
    return {node.outputs[0]: one.reshape(int(np.prod(one.shape[:axis])), -1)}, []


def _slice(node: ir.Node, labels: list[Any]) -> Passed:
    one = _only_first(node, labels)
    starts, ends = _known(node, 1), _known(node, 2)
    axes, steps = _known(node, 3, list(range(len(starts)))), _known(node, 4, [1] * len(starts))
    cut = [slice(None)] * one.ndim
    for axis, start, end, by in zip(axes, starts, ends, steps, strict=True):
        cut[axis] = slice(start, end if end > -(2**31) else None, by)
    return {node.outputs[0]: one[tuple(cut)]}, []


def _split(node: ir.Node, labels: list[Any]) -> Passed:
    one, axis = _only_first(node, labels), attribute(node, "axis", 0)
    sizes, count = _known(node, 1), len(node.outputs)
    width = -(-one.shape[axis] // count)
    borders = np.cumsum(sizes)[:-1] if sizes else np.arange(1, count) * width
    return dict(zip(node.outputs, np.split(one, borders, axis), strict=True)), []


def _pad(node: ir.Node, labels: list[Any]) -> Passed:
    one, pads = _only_first(node, labels), _known(node, 1)
    if attribute(node, "mode", "constant") != "constant" or np.any(_known(node, 2, 0.0)) or min(pads) < 0:
        raise NotLinear(one, f"Pad {node.name} adds something else than zeros")
    axes, width = _known(node, 3, list(range(one.ndim))), [(0, 0)] * one.ndim
    for at, axis in enumerate(axes):
        width[axis] = (pads[at], pads[at + len(axes)])
    return {node.outputs[0]: np.pad(one, width, constant_values=ZERO)}, []


def _expand(node: ir.Node, labels: list[Any]) -> Passed:
    one, target = _only_first(node, labels), tuple(_known(node, 1))
    return {node.outputs[0]: np.broadcast_to(one, np.broadcast_shapes(one.shape, target))}, []


def _gather(node: ir.Node, labels: list[Any]) -> Passed:
    index = np.asarray(_known(node, 1))
    return {node.outputs[0]: np.take(_only_first(node, labels), index, axis=attribute(node, "axis", 0))}, []


def _concat(node: ir.Node, labels: list[Any]) -> Passed:
    parts = [
        one if one is not None else np.full(_shape(value), FROZEN)
        for value, one in zip(node.inputs, labels, strict=True)
    ]
    return {node.outputs[0]: np.concatenate(parts, axis=attribute(node, "axis"))}, []


def _same(node: ir.Node, labels: list[Any]) -> Passed:
    """Relu, LeakyRelu, Identity: a positive factor passes."""
    return {node.outputs[0]: _only_first(node, labels)}, []


def _mean(node: ir.Node, labels: list[Any]) -> Passed:
    """A mean over axes on which the label does not change."""
    one = _only_first(node, labels)
    axes = list(range(2, one.ndim)) if is_op(node, "GlobalAveragePool") else _known(node, 1)
    keep = is_op(node, "GlobalAveragePool") or attribute(node, "keepdims", 1)
    for axis in axes:
        one = _constant_along(node, one, axis)
    return {node.outputs[0]: one if keep else np.squeeze(one, tuple(axes))}, []


def _mul(node: ir.Node, labels: list[Any]) -> Passed:
    """A gate or a constant times the channels; a Div only by what has no factor."""
    if labels[0] is not None and labels[1] is not None:
        raise NotLinear(
            np.concatenate([labels[0].ravel(), labels[1].ravel()]), f"{node.op_type} {node.name} squares them"
        )
    if is_op(node, "Div") and labels[0] is None:
        raise NotLinear(labels[1], f"Div {node.name} divides by them")
    index = 0 if labels[0] is not None else 1
    shape = np.broadcast_shapes(labels[index].shape, _shape(node.inputs[1 - index]))
    return {node.outputs[0]: np.broadcast_to(labels[index], shape)}, []


def _add(node: ir.Node, labels: list[Any]) -> Passed:
    """A bias, which divides as well, or two values with the same factors; not a residual stream."""
    if labels[0] is not None and labels[1] is not None:
        one, other = np.broadcast_arrays(*labels)
        clash = (one != other) & (one != ZERO) & (other != ZERO)
        if clash.any():
            raise NotLinear(
                np.concatenate([one[clash], other[clash]]), f"{node.op_type} {node.name} adds other channels"
            )
        return {node.outputs[0]: np.maximum(one, other)}, []
    index = 0 if labels[0] is not None else 1
    one, bias = labels[index], constant(node.inputs[1 - index])
    if bias is None:
        raise NotLinear(one, f"{node.op_type} {node.name} adds a value that is not scaled (a residual)")
    if (one == ZERO).any():
        raise NotLinear(one, f"{node.op_type} {node.name} adds a constant to padding")
    small = collapse(one, padding=False)
    small = np.broadcast_to(small, np.broadcast_shapes(small.shape, bias.shape))
    while small.ndim > bias.ndim and small.shape[0] == 1:
        small = small[0]
    shape = np.broadcast_shapes(one.shape, bias.shape)
    return {node.outputs[0]: np.broadcast_to(one, shape)}, [Edit(node, 1 - index, small, times=False)]


def _matmul(node: ir.Node, labels: list[Any]) -> Passed:
    """x W takes the factors back; a x passes them on where they belong to the columns of x (attention: v)."""
    left, right = labels[0], labels[1]
    if left is not None and right is not None:
        raise NotLinear(
            np.concatenate([left.ravel(), right.ravel()]), f"MatMul {node.name} multiplies them with each other"
        )
    if left is not None:
        if constant(node.inputs[1]) is None:
            raise NotLinear(left, f"MatMul {node.name} is a product of two activations")
        return {}, [Edit(node, 1, _channel_of(node, left, left.ndim - 1)[:, None], times=True)]
    columns = _constant_along(node, right, right.ndim - 2)
    shape = _shape(node.inputs[0])
    batch = np.broadcast_shapes(shape[:-2], right.shape[:-2])
    return {node.outputs[0]: np.broadcast_to(columns, (*batch, shape[-2], right.shape[-1]))}, []


def _gemm(node: ir.Node, labels: list[Any]) -> Passed:
    one = _only_first(node, labels)
    if constant(node.inputs[1]) is None or attribute(node, "transA", 0):
        raise NotLinear(one, f"Gemm {node.name} is a product of two activations")
    channel = _channel_of(node, one, 1)
    return {}, [Edit(node, 1, channel[None] if attribute(node, "transB", 0) else channel[:, None], times=True)]


def _conv(node: ir.Node, labels: list[Any]) -> Passed:
    """Also a depthwise one: its output channels start a group of their own."""
    one, weight = _only_first(node, labels), constant(node.inputs[1])
    if weight is None:
        raise NotLinear(one, f"Conv {node.name} has a computed weight")
    channel = _channel_of(node, one, 1)
    group = attribute(node, "group", 1)
    first = (
        np.arange(weight.shape[0]) // (weight.shape[0] // group) * weight.shape[1]
    )  # (O,) input channel of its group
    where = channel[first[:, None] + np.arange(weight.shape[1])]  # (O, I / group)
    return {}, [Edit(node, 1, where.reshape(where.shape + (1,) * (weight.ndim - 2)), times=True)]


def _multi_head_attention(node: ir.Node, labels: list[Any]) -> Passed:
    """softmax(q k) v, heads side by side in the last axis: the channels of v pass."""
    found = [one for one in labels if one is not None]
    bias = len(node.inputs) > 3 and node.inputs[3] is not None
    if len(found) != 1 or labels[2] is None or labels[2].ndim != 3 or bias:
        raise NotLinear(
            np.concatenate([one.ravel() for one in found]), f"{node.op_type} {node.name} is a softmax of them"
        )
    columns = _constant_along(node, labels[2], 1)
    shape = _shape(node.inputs[0])
    return {node.outputs[0]: np.broadcast_to(columns, (shape[0], shape[1], columns.shape[-1]))}, []


def _shape(value: ir.Value | None) -> tuple[int, ...]:
    shape = guess(value)
    if shape is None:
        raise ValueError(f"the shape of {value.name if value else 'an input'} is not known")
    return shape


def _constant_along(node: ir.Node, labels: np.ndarray, axis: int) -> np.ndarray:
    """Labels with size 1 along ``axis``; NotLinear where they change on it."""
    most = labels.max(axis=axis, keepdims=True)
    mixed = (labels != most) & (labels != ZERO)
    if mixed.any():
        raise NotLinear(labels, f"{node.op_type} {node.name} mixes them")
    return most


def _channel_of(node: ir.Node, labels: np.ndarray, axis: int) -> np.ndarray:
    """The label of every channel on ``axis``; NotLinear where it changes along another axis."""
    for other in range(labels.ndim):
        if other != axis:
            labels = _constant_along(node, labels, other)
    return labels.ravel()


Rule = Callable[["ir.Node", list[Any]], "Passed"]
RULES: dict[str, Rule] = {
    "Reshape": _reshape, "Transpose": _transpose, "Squeeze": _squeeze, "Unsqueeze": _unsqueeze, "Flatten": _flatten,
    "Slice": _slice, "Split": _split, "Pad": _pad, "Expand": _expand, "Gather": _gather, "Concat": _concat,
    "Identity": _same, "Relu": _same, "LeakyRelu": _same, "ReduceMean": _mean, "GlobalAveragePool": _mean,
    "Mul": _mul, "Div": _mul, "Add": _add, "Sub": _add, "MatMul": _matmul, "Gemm": _gemm, "Conv": _conv,
}  # fmt: skip
MICROSOFT: dict[str, Rule] = {"MultiHeadAttention": _multi_head_attention}
