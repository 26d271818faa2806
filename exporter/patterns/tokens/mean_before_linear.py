"""The mean over all tokens moves before the last linear layer: one row goes through it instead of one a token.

DaViT (arXiv:2204.03645) pools before its last norm, so nothing between the MLP and the mean is non-linear:

    t (B, N, C), g (B, N, I):   mean(t + (g W + b))        becomes        mean(t) + (mean(g) W + b)

timm takes the mean over height and width of the map (B, C, H, W) that it makes of the tokens again; that is the same mean.

At 224 x 224 that is a product of 1 x 3072 by 3072 x 768 instead of 49 x 3072 by it.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ....graph.edit import insert, replace_value, shared_constant
from ....graph.read import constant, only_consumer, sizes
from ..base import Pattern
from ..matchers.layers import TO_MAP, linear, transposed
from ..matchers.views import merge_views, reshaped


class MeanBeforeLinear(Pattern):
    """Sink the linear branch of a residual sum below the mean over tokens; counts means."""

    def apply(self, model: ir.Model) -> int:
        count = sum(
            [self._move(model, node) for node in list(model.graph) if node.op_type == "ReduceMean" and not node.domain]
        )
        if count:
            merge_views(model)
        return count

    def _move(self, model: ir.Model, node: ir.Node) -> int:
        found = _pooled(node)
        tokens, after = found if found else (None, None)
        total, shape = (tokens.producer() if tokens is not None else None), sizes(tokens)
        if (
            total is None
            or after is None
            or total.op_type != "Add"
            or shape is None
            or total.inputs[0] is total.inputs[1]
        ):
            return 0
        layer = next((layer for value in total.inputs if (layer := linear(value)) is not None), None)
        base = next((value for value in total.inputs if layer is None or value is not layer.y), None)
        if layer is None or sizes(base) != shape or None in shape or (sizes(layer.x) or ())[:-1] != shape[:2]:
            return 0  # one of the two is broadcast, and the mean of it is another
        if sum(not isinstance(size, int) for size in after) > 1:
            return 0
        if only_consumer(total.outputs[0]) is None or only_consumer(layer.y) is not total:
            self.decline(node, "the tokens before the mean have other uses")
            return 0
        axis = shared_constant(model, "tokens", np.array([1], np.int64))
        pooled = [
            insert(node, "ReduceMean", [value, axis], keepdims=0, shape=(shape[0], channels))
            for value, channels in ((layer.x, layer.inputs), (base, shape[2]))
        ]
        rows = (shape[0], shape[2])
        value = insert(node, "MatMul", [pooled[0], layer.matmul.inputs[1]], name=layer.matmul.name or "", shape=rows)
        if layer.add is not None:
            name = f"{layer.matmul.inputs[1].name}_bias"  # type: ignore[union-attr]
            bias = shared_constant(model, name, layer.bias.astype(layer.dtype))  # of one axis: a row has one less now
            value = insert(node, "Add", [value, bias], name=layer.add.name or "", shape=rows)
        value = insert(node, "Add", [pooled[1], value], name=total.name or "", shape=rows)
        replace_value(node.outputs[0], value if after == rows else reshaped(model, node, value, after))
        return 1


def _pooled(node: ir.Node) -> tuple[ir.Value, tuple[int | str | None, ...]] | None:
    """The tokens (B, N, C) whose mean a ReduceMean takes, as they are or as the map made of them, and its shape."""
    axes, source = (constant(node.inputs[1]) if len(node.inputs) > 1 else None), node.inputs[0]
    shape, after = sizes(source), sizes(node.outputs[0])
    if axes is None or shape is None or after is None or source is None:
        return None
    over = sorted(int(axis) % len(shape) for axis in axes.ravel())
    if len(shape) == 3 and over == [1]:
        return source, after
    view = transposed(source, TO_MAP) if len(shape) == 4 and over == [2, 3] else None
    reshape = view.producer() if view is not None else None
    if (
        reshape is None
        or reshape.op_type != "Reshape"
        or reshape.domain
        or any(only_consumer(v) is None for v in (source, view))
    ):
        return None
    tokens, before = reshape.inputs[0], sizes(reshape.inputs[0])
    inside = before is not None and len(before) == 3 and None not in before and (before[0], before[2]) == shape[:2]
    return (tokens, after) if tokens is not None and inside else None
