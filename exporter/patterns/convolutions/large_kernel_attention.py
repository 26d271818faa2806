"""VAN's attention branch: its shortcut starts at a BatchNorm, and one layer scale stands around both.

Paper: Guo et al., Visual Attention Network, arXiv:2202.09741.

    y = BatchNormalization(x)                                  x (B, C, H, W)
    u = Gelu(Conv1x1(y));  b = Conv1x1(u * LKA(u))
    z = x + ls * (y + b)                                       ls (C, 1, 1)

With y = s * x + t this is z = (1 + ls * s) * x + (ls * b + ls * t): the BatchNorm goes into the first 1x1 convolution, the
layer scale and ls * t into the last, and one factor a channel stays on the shortcut. RescaleTrunk then takes that away;
without it TensorRT-RTX launches more kernels than before (van_b0, fp16, sm89: 122 plain, 128 with this, 117 with both).

The large-kernel attention itself, u * Conv1x1(dw7x7 dilated(dw5x5(u))), stays as exported. Two convolutions cannot become
one 23x23: the border of zeros between them differs, so it would not be exact, and it has 529 taps for 74.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from ....graph.edit import insert, replace_value, shared_constant
from ....graph.read import only_consumer, sizes
from ..base import Pattern
from ..matchers.held import unheld
from ..matchers.layers import Convolution, channel_vector, convolution, set_weights, spread
from .fold_batchnorm import affine, fold_before, unheld_before


class FoldNormalisedShortcut(Pattern):
    """x + ls * (BN(x) + Conv(...)) becomes a * x + Conv'(...), a = 1 + ls * s."""

    def apply(self, model: ir.Model) -> int:
        return sum(self._fold(model, node) for node in list(model.graph) if node.op_type == "BatchNormalization")

    def _fold(self, model: ir.Model, norm: ir.Node) -> bool:
        x, y = norm.inputs[0], norm.outputs[0]
        adds = [usage.node for usage in y.uses() if usage.node.op_type == "Add"]
        if len(adds) != 1 or x is None:
            return False  # another kind of BatchNorm, FoldBatchNorm's business
        readers = [convolution(usage.node) for usage in y.uses() if usage.node is not adds[0]]
        last = _branch(adds[0], y)
        numbers = affine(norm)
        if last is None or numbers is None or y.is_graph_output():
            self.decline(norm, "the shortcut from the BatchNorm does not meet a convolution with no other uses")
            return False
        if any(reader is None or reader.padded for reader in readers):
            self.decline(
                norm, "behind the BatchNorm stands something other than unpadded convolutions and its shortcut"
            )
            return False
        scale_node = only_consumer(adds[0].outputs[0])
        outer = only_consumer(scale_node.outputs[0]) if scale_node is not None else None
        layer_scale = _layer_scale(scale_node, adds[0].outputs[0], last)
        if (
            scale_node is None
            or outer is None
            or outer.op_type != "Add"
            or x not in outer.inputs
            or layer_scale is None
        ):
            self.decline(norm, "expected a layer scale and the block's own shortcut after the inner one")
            return False
        scale, shift = numbers
        if last.outputs != len(scale):
            self.decline(norm, f"{len(scale)} channels of the BatchNorm are broadcast to {last.outputs}")
            return False
        if why := _unheld(readers, last, numbers, layer_scale):
            self.decline(norm, why)
            return False
        for reader in readers:
            fold_before(model, reader, scale, shift, x)  # type: ignore[arg-type]
        last = convolution(last.node)  # read again: a branch of one layer is reader and last at once
        assert last is not None
        set_weights(model, last, last.scaled_outputs(layer_scale), (last.bias + shift) * layer_scale)
        factor = spread(1 + layer_scale * scale, last.axes).astype(last.stored.dtype)
        carried = insert(outer, "Mul", [x, shared_constant(model, "shortcut_scale", factor)], shape=sizes(x))
        total = insert(outer, "Add", [carried, last.y], shape=sizes(outer.outputs[0]), name=outer.name or "")
        replace_value(outer.outputs[0], total)
        for node in (outer, scale_node, adds[0], norm):
            model.graph.remove(node, safe=True)
        return True


def _branch(add: ir.Node, shortcut: ir.Value) -> Convolution | None:
    """The convolution whose output meets ``shortcut`` in ``add`` and goes nowhere else."""
    other = add.inputs[1] if add.inputs[0] is shortcut else add.inputs[0]
    found = convolution(other.producer()) if other is not None else None
    return found if found is not None and only_consumer(found.y) is add else None


def _unheld(
    readers: Sequence[Convolution | None],
    last: Convolution,
    numbers: tuple[np.ndarray, np.ndarray],
    layer_scale: np.ndarray,
) -> str:
    """Why the folded numbers would leave the range of the graph's type; empty when they would not."""
    scale, shift = numbers
    for reader in readers:
        if reader is not None and (why := unheld_before(reader, scale, shift)):
            return why
    alone = any(
        reader is not None and reader.node is last.node for reader in readers
    )  # a branch of one layer: both at once
    weight = last.scaled_inputs(scale) if alone else last.weight
    bias = last.bias + (last.shifted_inputs(shift) if alone else 0) + shift
    kind = last.stored.dtype
    factor = 1 + layer_scale * scale
    return unheld(kind, weight * spread(layer_scale, last.axes + 1), bias * layer_scale, factor)


def _layer_scale(node: ir.Node | None, value: ir.Value, last: Convolution) -> np.ndarray | None:
    if node is None or node.op_type != "Mul" or node.domain:
        return None
    factor = node.inputs[0] if node.inputs[1] is value else node.inputs[1]
    return channel_vector(factor, last.outputs, last.axes, last.stored.ndim)
