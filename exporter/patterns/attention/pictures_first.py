"""Projections of torch's ``nn.MultiheadAttention`` read (B, N, C) instead of (N, B, C), so that its heads are found.

    x (B, N, C) > Transpose (N, B, C) > MatMul, Add (N, B, 3 C) > Reshape, Transpose ... > q, k, v
    x (B, N, C) > MatMul, Add (B, N, 3 C) > Transpose (N, B, 3 C) > Reshape, Transpose ... > q, k, v

A linear layer looks at one token, so it may stand on either side. The transpose that is left only moves what the passes
behind this one move anyway. A batch of one needs none of this: its elements lie the same way.
"""

from __future__ import annotations

import onnx_ir as ir

from ....graph.edit import insert, replace_value, sweep
from ....graph.read import attribute, sizes
from ..base import Pattern
from ..matchers.attention_block import attention_blocks
from ..matchers.layers import Linear, linear
from ..matchers.projection import projection
from ..matchers.views import merge_views

TURN = (1, 0, 2)


class PicturesFirst(Pattern):
    """Move the projections of turned attention before the transpose; counts layers."""

    better_after = ("FoldShapes",)

    def apply(self, model: ir.Model) -> int:
        count = 0
        for block in list(attention_blocks(model.graph, lambda *_: None, turned=True, biased=True)):
            roots = dict.fromkeys(heads.root for heads in block.heads)
            layers = [(linear(root), _before_turn(root)) for root in roots if root.producer() is not None]
            ready = [(found, x) for found, x in layers if found is not None and x is not None]
            if len(ready) < len(roots):
                self.decline(block.softmax, "q, k or v is no linear layer of tokens that were turned")
                continue
            for found, x in ready:
                _move(found, x)
            count += len(ready)
        if count:
            sweep(model)
            merge_views(model)
        return count


def _before_turn(root: ir.Value) -> ir.Value | None:
    """The tokens (B, N, C) whose transpose the layer of ``root`` reads."""
    layer = projection(root)
    turn = layer.x.producer() if layer is not None else None
    if turn is None or turn.op_type != "Transpose" or turn.domain or tuple(attribute(turn, "perm", ())) != TURN:
        return None
    return turn.inputs[0] if sizes(turn.inputs[0]) is not None else None


def _move(found: Linear, x: ir.Value) -> None:
    """The layer on ``x``, turned afterwards."""
    last = found.add or found.matmul
    batch, tokens, _ = sizes(x) or ()
    shape = (batch, tokens, found.weight.shape[1])
    value = insert(last, "MatMul", [x, found.matmul.inputs[1]], shape=shape)
    if found.add is not None:
        bias = next(value for value in found.add.inputs if value is not found.matmul.outputs[0])
        value = insert(last, "Add", [value, bias], shape=shape)
    replace_value(found.y, insert(last, "Transpose", [value], perm=TURN, shape=(tokens, batch, shape[2])))
