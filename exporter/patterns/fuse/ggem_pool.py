"""GGeM pooling as one op: clamp, powers, mean and roots in one pass over the tokens.

Paper: Ko et al., Group Generalized Mean Pooling for Vision Transformer, arXiv:2212.04114; G groups of C / G channels.

    x (B, N, C) > Clip eps > Reshape (B, N, G, C/G) > Pow p > ReduceMean over N > Pow 1/p > Reshape (B, C)
    x (B, N, C), p (G, 1) > GGeMPool (B, C)

The groups may lie in blocks, p (G, 1), or in turns, p (1, G).
"""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from ....graph.edit import replace_value, shared_constant, sweep
from ....graph.read import attribute, constant, only_consumer, sizes
from ..matchers.mean_of_powers import means_of_powers, refusal
from .fused import Fuse, fused

OP = "GGeMPool"


class FuseGGeMPool(Fuse):
    """One node a pooling; refuses where the exponents do not pair, or the mean is not one over the tokens."""

    better_after = ("FoldConstants",)
    ops = (OP,)

    def apply(self, model: ir.Model) -> int:
        count = 0
        for mean, power in means_of_powers(model.graph):
            why = refusal(mean, power) or self._write(model, mean, power)
            if why:
                self.decline(power, why)
            count += not why
        if count:
            sweep(model)
        return count

    def _write(self, model: ir.Model, mean: ir.Node, power: ir.Node) -> str:
        view = power.inputs[0].producer() if power.inputs[0] is not None else None
        bound = view.inputs[0].producer() if view is not None and view.inputs[0] is not None else None
        if view is None or bound is None or view.op_type != "Reshape" or bound.op_type not in ("Clip", "Max"):
            return "the powers do not read a clamp seen in groups"
        low = constant(bound.inputs[1])
        if low is None or low.size != 1 or (len(bound.inputs) > 2 and bound.inputs[2] is not None):
            return "the clamp is not one lower bound"
        shape, grouped, x = sizes(bound.inputs[0]), sizes(view.outputs[0]), bound.inputs[0]
        if shape is None or grouped is None or len(shape) != 3 or len(grouped) != 4 or shape[1] != grouped[1]:
            return f"values of shape {shape} in groups of shape {grouped}, expected (B, N, C) and (B, N, G, C / G)"
        root = only_consumer(mean.outputs[0])
        flat = only_consumer(root.outputs[0]) if root is not None else None
        axes = constant(mean.inputs[1]) if len(mean.inputs) > 1 else None
        out = (shape[0], shape[2])
        if axes is None or axes.ravel().tolist() not in ([1], [-3]) or attribute(mean, "keepdims", 1):
            return "the mean is not over the tokens alone"
        if flat is None or flat.op_type != "Reshape" or (sizes(flat.outputs[0]) or ())[1:] != out[1:]:
            return f"the roots are not brought to {out}"
        inside = [size for size in grouped[2:] if isinstance(size, int)]
        if len(inside) < 2 or math.prod(inside) != shape[2]:
            return f"values of shape {shape} in groups of shape {grouped}, which are cut across the channels"
        p, inverse = constant(power.inputs[1]), constant(root.inputs[1])  # type: ignore[union-attr]
        assert p is not None and inverse is not None and x is not None
        layout, back = _layout(p, grouped), _layout(inverse, grouped)
        if layout is None or back is None or layout[1] != back[1]:
            return f"exponents of shape {p.shape} and {inverse.shape} for groups of shape {grouped}"
        exponents, interleaved = layout
        attributes = {"eps": float(low.item()), "interleaved": interleaved}
        if why := self.lacking(OP, [shape, exponents.shape], attributes):
            return why
        pooled = shared_constant(model, "exponents", exponents)
        (y,) = fused(model, flat, OP, [x, pooled], [out], attributes, name=mean.name or "")
        replace_value(flat.outputs[0], y)
        return ""


def _layout(p: np.ndarray, grouped: tuple[int | str | None, ...]) -> tuple[np.ndarray, int] | None:
    """p as (G, 1) float32 and whether the groups lie in turns; None where it is neither."""
    across, inside = grouped[2:]
    if not isinstance(across, int) or not isinstance(inside, int):
        return None
    if p.size == 1 or (p.size == across and p.shape[-2:] == (across, 1)):
        return np.broadcast_to(p.reshape(-1, 1), (p.size, 1)).astype(np.float32), 0
    if p.size == inside and p.shape[-1] == inside:
        return p.reshape(inside, 1).astype(np.float32), 1
    return None
