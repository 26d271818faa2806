"""Re-parameterisation on the graph: branches on one map that are only added up become one convolution.

    x > Conv 3x3, Conv 1x1 > Add > y        x > Conv 3x3' > y        (stride s in both)
    x > Conv 3x3 > Add x > y                x > Conv 3x3' > y        (stride 1, as many channels out as in)
    x > Conv 3x3, BatchNorm > Add > y       x > Conv 3x3' > y        (the same)

Paper: Ding et al., RepVGG, arXiv:2101.03697; DAMO-YOLO's RepConv is the first form, its BatchNorms folded before this pass.
A small kernel is a large one with zeros around it, a shortcut is a 1x1 kernel of ones, and what is linear adds up: exact in
real numbers; sums are taken in float64 and rounded once, as models/families/damo_yolo/deploy.py does on the tensors.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from ....graph.edit import replace_value
from ....graph.read import attribute, only_consumer
from ..base import Pattern
from ..matchers.held import unheld
from ..matchers.layers import Convolution, convolution, set_weights
from .fold_batchnorm import affine


@dataclass(frozen=True)
class Shortcut:
    """``scale * x + shift`` a channel, as the branch beside a convolution: x itself, or its BatchNorm."""

    scale: np.ndarray | None  # (C,) float64; None: x itself
    shift: np.ndarray | None
    norm: ir.Node | None


class FoldRepConvolution(Pattern):
    """Fold two branches at a time, so that three fold in two steps; refuses other readers and kernels that do not align."""

    better_after = ("FoldBatchNorm",)

    def apply(self, model: ir.Model) -> int:
        return sum(self._fold(model, node) for node in list(model.graph) if node.op_type == "Add" and not node.domain)

    def _fold(self, model: ir.Model, add: ir.Node) -> bool:
        branches = [convolution(value.producer()) if value is not None else None for value in add.inputs]
        kernels = sorted((found for found in branches if found is not None), key=lambda found: -math.prod(found.kernel))
        if not kernels or (
            len(kernels) == 2 and (kernels[0].x is not kernels[1].x or kernels[0].node is kernels[1].node)
        ):
            return False
        large = kernels[0]
        if len(kernels) == 2:
            why = self._apart(large, kernels[1])
            weight, bias = (None, None) if why else added(large, kernels[1])
        else:
            other = add.inputs[0] if add.inputs[1] is large.y else add.inputs[1]
            shortcut = _shortcut(other, large.x)
            if shortcut is None or large.depthwise:  # a depthwise one is FoldDepthwiseShortcut's business
                return False
            why = self._no_shortcut(large, shortcut)
            weight, bias = (None, None) if why else with_shortcut(large, shortcut)
        if not why and any(only_consumer(value) is not add for value in add.inputs if value is not large.x):
            why = "a branch has other uses"
        if weight is not None and bias is not None:
            why = why or unheld(large.stored.dtype, weight, bias)
        if why:
            self.decline(add, why)
            return False
        unread = [value.producer() for value in add.inputs if value is not None and value not in (large.x, large.y)]
        set_weights(model, large, weight, bias)
        replace_value(add.outputs[0], large.y)
        for node in (add, *unread):
            if node is not None:
                model.graph.remove(node, safe=True)
        return True

    def _apart(self, large: Convolution, small: Convolution) -> str:
        """Why two convolutions of one map do not add up to one of the larger kernel; empty when they do."""
        if large.groups != small.groups or large.outputs != small.outputs:
            return f"branches of {_outline(large)} and {_outline(small)}, expected equal groups and channels"
        if any(attribute(found.node, "auto_pad", "NOTSET") != "NOTSET" for found in (large, small)):
            return "the padding is computed at run time (auto_pad)"
        if _strides(large) != _strides(small):
            return f"branches of strides {_strides(large)} and {_strides(small)}"
        if _reach(large) != _reach(small):
            return "the branches do not give maps of one size for every image"
        return (
            ""
            if _first_taps(large, small) is not None
            else "no tap of the larger kernel reads what the smaller one reads"
        )

    def _no_shortcut(self, found: Convolution, shortcut: Shortcut) -> str:
        """Why x beside a convolution is no 1x1 kernel of it; empty when it is."""
        if not found.same_size:
            return "beside the shortcut the convolution has a stride, a dilation or padding that moves its centre"
        if found.outputs != found.channels:
            return f"{found.channels} channels of the shortcut beside {found.outputs} of the convolution"
        if shortcut.norm is not None and shortcut.scale is None:
            return "scale, bias, mean and variance of the BatchNorm must be constants of inference"
        return ""


def added(large: Convolution, small: Convolution) -> tuple[np.ndarray, np.ndarray]:
    """Weight and bias of the sum of two branches that ``_apart`` has nothing against."""
    weight, first = large.weight.copy(), _first_taps(large, small)
    assert first is not None
    inside = tuple(slice(start, start + size) for start, size in zip(first, small.kernel, strict=True))
    weight[(slice(None), slice(None), *inside)] += small.weight
    return weight, large.bias + small.bias


def with_shortcut(found: Convolution, shortcut: Shortcut) -> tuple[np.ndarray, np.ndarray]:
    """Weight and bias of a convolution and ``shortcut`` together: the scale stands on the centre taps of the diagonal."""
    weight, channels = found.weight.copy(), np.arange(found.channels)
    centre = tuple(size // 2 for size in weight.shape[2:])
    weight[(channels, channels % weight.shape[1], *centre)] += 1.0 if shortcut.scale is None else shortcut.scale
    return weight, found.bias if shortcut.shift is None else found.bias + shortcut.shift


def _shortcut(value: ir.Value | None, x: ir.Value) -> Shortcut | None:
    if value is x:
        return Shortcut(None, None, None)
    norm = value.producer() if value is not None else None
    if norm is None or norm.op_type != "BatchNormalization" or norm.domain or norm.inputs[0] is not x:
        return None
    scale, shift = affine(norm) or (None, None)
    return Shortcut(scale, shift, norm)


def _first_taps(large: Convolution, small: Convolution) -> tuple[int, ...] | None:
    """The tap of the larger kernel, an axis, that reads what the first tap of the smaller one reads; None without one."""
    first = []
    steps = _dilations(large), _dilations(small)
    for axis, (step, other) in enumerate(zip(*steps, strict=True)):
        sizes = large.kernel[axis], small.kernel[axis]
        start, rest = divmod(large.pads[axis] - small.pads[axis], step)
        if rest or start < 0 or start + sizes[1] > sizes[0] or (sizes[1] > 1 and step != other):
            return None
        first.append(start)
    return tuple(first)


def _reach(found: Convolution) -> tuple[int, ...]:
    """What an axis gains by padding and loses to the kernel: with the stride, this decides the size of the result."""
    rank = found.axes
    lost = (step * (size - 1) for step, size in zip(_dilations(found), found.kernel, strict=True))
    return tuple(found.pads[axis] + found.pads[rank + axis] - loss for axis, loss in enumerate(lost))


def _strides(found: Convolution) -> tuple[int, ...]:
    return tuple(attribute(found.node, "strides", (1,) * found.axes))


def _dilations(found: Convolution) -> tuple[int, ...]:
    return tuple(attribute(found.node, "dilations", (1,) * found.axes))


def _outline(found: Convolution) -> str:
    return f"{found.outputs} channels in {found.groups} group{'s' * (found.groups != 1)}"
