"""BatchNorm into the convolutions around it.

    x > Conv > BatchNormalization > y                      x > Conv' > y
    x > BatchNormalization > unpadded Conv, ... > y, ...   x > Conv', ... > y, ...

With s = weight / sqrt(var + eps) and t = bias - s * mean, BatchNorm is s * x + t. After a convolution that is always
exact; before one only where nothing is padded, since a border of zeros would become a border of t (VAN's norm2 stands
before the 1x1 convolution fc1; its norm1 has a shortcut as well: see large_kernel_attention).
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ....graph.edit import replace_value
from ....graph.read import attribute, constant, is_read, only_consumer
from ..base import Pattern
from ..matchers.held import unheld
from ..matchers.layers import Convolution, convolution, set_weights


def affine(node: ir.Node) -> tuple[np.ndarray, np.ndarray] | None:
    """(s, t) of a BatchNormalization in inference, float64 vectors of C; None when they are not constants."""
    arrays = [constant(value) for value in node.inputs[1:5]]
    if attribute(node, "training_mode", 0) or len(arrays) != 4 or any(array is None for array in arrays):
        return None
    if is_read(node, first=1):
        return None  # the statistics of training, up to opset 13
    weight, bias, mean, variance = (array.astype(np.float64) for array in arrays if array is not None)
    scale = weight / np.sqrt(variance + attribute(node, "epsilon", 1e-5))
    return scale, bias - scale * mean


def unheld_before(found: Convolution, scale: np.ndarray, shift: np.ndarray) -> str:
    """Why ``fold_before`` would leave the range of the convolution's type; empty when it would not."""
    return unheld(found.stored.dtype, found.scaled_inputs(scale), found.bias + found.shifted_inputs(shift))


def fold_before(model: ir.Model, found: Convolution, scale: np.ndarray, shift: np.ndarray, x: ir.Value) -> None:
    """The convolution of ``scale * x + shift`` becomes a convolution of ``x``; exact without padding."""
    set_weights(model, found, found.scaled_inputs(scale), found.bias + found.shifted_inputs(shift))
    found.node.replace_input_with(0, x)


class FoldBatchNorm(Pattern):
    """Fold every BatchNorm that only convolutions touch; refuses padded convolutions behind it and other readers."""

    def apply(self, model: ir.Model) -> int:
        nodes = [node for node in model.graph if node.op_type == "BatchNormalization" and not node.domain]
        count, folded = 0, True
        while folded:  # one that stood behind another BatchNorm may stand beside a convolution now
            self.refusals, before = [], len(nodes)
            nodes = [node for node in nodes if not self._fold(model, node)]
            folded = 0 < len(nodes) < before
            count += before - len(nodes)
        return count

    def _fold(self, model: ir.Model, node: ir.Node) -> bool:
        numbers = affine(node)
        x, y = node.inputs[0], node.outputs[0]
        if numbers is None or x is None:
            self.decline(node, "scale, bias, mean and variance must be constants of inference")
            return False
        scale, shift = numbers
        before = convolution(x.producer())
        if before is not None and only_consumer(x) is node:
            weight, bias = before.scaled_outputs(scale), before.bias * scale + shift
            if why := unheld(before.stored.dtype, weight, bias):
                self.decline(node, why)
                return False
            set_weights(model, before, weight, bias)
            replace_value(y, x)
            model.graph.remove(node, safe=True)
            return True
        readers = [convolution(usage.node) if usage.idx == 0 else None for usage in y.uses()]
        after = [reader for reader in readers if reader is not None]
        if y.is_graph_output() or not after or len(after) != len(readers):
            kinds = sorted({usage.node.op_type for usage in y.uses()} - {"Conv"}) or ["no convolution"]
            self.decline(
                node, f"no convolution alone before it, and behind it {', '.join(kinds)} reads it (other uses)"
            )
            return False
        if padded := [reader.node for reader in after if reader.padded]:
            self.decline(
                node, f"{padded[0].name or 'the Conv'} behind it is padded: zeros at the border would become the shift"
            )
            return False
        if why := next((why for reader in after if (why := unheld_before(reader, scale, shift))), ""):
            self.decline(node, why)
            return False
        for reader in after:
            fold_before(model, reader, scale, shift, x)
        model.graph.remove(node, safe=True)
        return True
