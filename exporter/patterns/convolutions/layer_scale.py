"""Layer scale into the layer before it: one multiplication a channel less.

    x > Conv > Mul (C, 1, 1) or one number > y    x > Conv' > y
    x > MatMul > Add > Mul (C,) > y               x > MatMul' > Add' > y

Papers: Touvron et al., Going deeper with Image Transformers (CaiT), arXiv:2103.17239; used by SMT-L (gamma_1, gamma_2),
VAN (layer_scale_2; layer_scale_1 has a shortcut inside: see large_kernel_attention) and timm's ViTs (ls1, ls2). One number
for all channels is what DAMO-YOLO learns for the box sides of each level (arXiv:2211.15444); behind a linear layer it is
left alone, since there it is the scale of an attention, which passes after this one look for.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ....graph.edit import replace_value
from ....graph.read import constant, only_consumer, sizes
from ..base import Pattern
from ..matchers.held import unheld
from ..matchers.layers import channel_vector, convolution, linear, set_linear, set_weights


class FoldLayerScale(Pattern):
    """Fold a constant factor a channel; refuses when the layer's output has other uses."""

    def apply(self, model: ir.Model) -> int:
        return sum(self._fold(model, node) for node in list(model.graph) if node.op_type == "Mul" and not node.domain)

    def _fold(self, model: ir.Model, node: ir.Node) -> bool:
        for index in (0, 1):
            scale, x = node.inputs[index], node.inputs[1 - index]
            array = constant(scale)
            if array is None or x is None or constant(x) is not None:
                continue
            layer = convolution(x.producer()) if array.size == 1 else None
            if array.size == 1 and (layer is None or array.ndim > layer.stored.ndim):
                continue
            if not self._into(model, node, scale, x):
                return False
            name, shape, dtype = node.outputs[0].name, node.outputs[0].shape, node.outputs[0].type
            replace_value(node.outputs[0], x)
            x.shape, x.type = shape or x.shape, dtype or x.type
            model.graph.remove(node, safe=True)
            x.name = name  # the layer computes another value now: a comparison by name must not take it for the old one
            return True
        return False

    def _into(self, model: ir.Model, node: ir.Node, scale: ir.Value | None, x: ir.Value) -> bool:
        """Scale what computes ``x``; False, with the reason, when nothing there can take it."""
        layer, dense = convolution(x.producer()), linear(x)
        if layer is None and dense is None:
            return False  # no layer before it, so nothing was refused
        channels = layer.outputs if layer else dense.outputs  # type: ignore[union-attr]
        rank = layer.stored.ndim if layer else len(sizes(x) or (None,))
        vector = channel_vector(scale, channels, layer.axes if layer else 0, rank)
        array = constant(scale)
        if layer is not None and array is not None and array.size == 1:
            vector = np.full(channels, array.item(), np.float64)
        if vector is None:
            found = sizes(scale)
            self.decline(node, f"factor of shape {found}, expected one number for each of {channels} channels")
            return False
        if only_consumer(x) is not node:
            self.decline(node, "the layer before it has other uses")
            return False
        weight = layer.scaled_outputs(vector) if layer else dense.weight * vector  # type: ignore[union-attr]
        stored, bias = (layer or dense).stored, (layer or dense).bias * vector  # type: ignore[union-attr]
        if why := unheld(stored.dtype, weight, bias):
            self.decline(node, why)
            return False
        if layer is not None:
            set_weights(model, layer, weight, bias)
        elif dense is not None:
            set_linear(model, dense, weight, bias)
        return True
