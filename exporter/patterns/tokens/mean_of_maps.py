"""The mean over a whole map as the pool that it is: ONNX Runtime keeps its maps in blocks of channels for a pool.

    x (B, C, H, W) > ReduceMean over 2, 3, axes kept > (B, C, 1, 1)      becomes      GlobalAveragePool
    x (B, C, H, W) > ReduceMean over 2, 3 > (B, C)                       becomes      GlobalAveragePool > Flatten

Its convolutions read and write (B, C / 8, H, W, 8); in front of a ReduceMean the whole map is copied back to (B, C, H, W),
once for every squeeze-and-excitation block (Hu et al., arXiv:1709.01507). The pool reads the blocks as they are.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ....graph.edit import insert, replace_value, sweep
from ....graph.read import attribute, constant, is_op, sizes
from ..base import Pattern

ROWS_AND_COLUMNS = (2, 3)


class PoolMaps(Pattern):
    """Write means over both axes of a map as pools; declines other axes of a map, and what is no float32."""

    better_after = ("MeanBeforeLinear",)  # it looks for means

    def apply(self, model: ir.Model) -> int:
        count = 0
        for node in list(model.graph):
            x = node.inputs[0] if is_op(node, "ReduceMean") else None
            shape = sizes(x)
            if x is None or shape is None or len(shape) != 4:
                continue
            if axes_of(node) != ROWS_AND_COLUMNS or x.dtype != ir.DataType.FLOAT:
                self.decline(node, f"a mean over {axes_of(node)} of {x.dtype}, expected the map of float32")
                continue
            pooled = insert(node, "GlobalAveragePool", [x], shape=(*shape[:2], 1, 1))
            if not attribute(node, "keepdims", 1):
                pooled = insert(node, "Flatten", [pooled], axis=1, shape=shape[:2])
            replace_value(node.outputs[0], pooled)
            count += 1
        if count:
            sweep(model)
        return count


def axes_of(node: ir.Node) -> tuple[int, ...] | None:
    """The axes of a reduction from the front, in order; None where they are not known."""
    told = constant(node.inputs[1]) if len(node.inputs) > 1 else None
    axes = told if told is not None else np.array(attribute(node, "axes", ()), np.int64)
    rank = len(sizes(node.inputs[0]) or ())
    if not axes.size or (told is None and len(node.inputs) > 1 and node.inputs[1] is not None):
        return None
    return tuple(sorted({int(axis) % rank for axis in axes.ravel()})) if rank else None
