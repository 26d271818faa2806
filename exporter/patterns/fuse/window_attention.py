"""Window attention of DaViT as one op on the whole map: the cut into windows and back happens inside.

Paper: Ding et al., DaViT: Dual Attention Vision Transformers, arXiv:2204.03645, equation 2; windows of S x S tokens, G x G'
an image, heads of D channels.

    x (B, GS, G'S, C) > Reshape, Transpose, Reshape (B G G', S S, C) > MatMul, Add > heads > attention > heads back
    > MatMul, Add > Reshape, Transpose, Reshape (B, GS, G'S, C)

    x > MatMul, Add > Reshape (B, GS, G'S, 3, Hd, D) > WindowAttention (B, GS, G'S, C) > MatMul, Add

A linear layer looks at one token, so both move out of the windows. Padding stays before them and is not masked.
"""

from __future__ import annotations

import onnx_ir as ir

from ....graph.edit import replace_value, sweep
from ....graph.read import only_consumer, sizes
from ..attention.window_partition import layer_on, window_cut, window_join
from ..matchers.attention_block import AttentionBlock, attention_blocks
from ..matchers.heads import read_only_by
from ..matchers.layers import linear
from ..matchers.projection import one_product, projection
from ..matchers.views import reshaped
from .fused import Fuse, fused

OP = "WindowAttention"


class FuseWindowAttention(Fuse):
    """One node a block; refuses windows that are not square, or whose layers do not stand beside the cut and the join."""

    better_after = ("FoldShapes", "DropZeroPads")
    ops = (OP,)

    def apply(self, model: ir.Model) -> int:
        count = 0
        for block in list(
            attention_blocks(model.graph, lambda node, why: None)
        ):  # channels and plain ones are not ours
            layers = [projection(part.root) for part in block.heads]
            if layers[0] is None or window_cut(layers[0].x) is None:
                continue
            why = self._write(model, block)
            if why:
                self.decline(block.softmax, why)
            count += not why
        if count:
            sweep(model)
        return count

    def _write(self, model: ir.Model, block: AttentionBlock) -> str:
        q, (first, *others) = block.q, [projection(part.root) for part in block.heads]
        cut = window_cut(first.x) if first is not None else None
        layers = [layer for layer in (first, *others) if layer is not None and first is not None and layer.x is first.x]
        ends = {*block.scores.inputs, block.values}
        if cut is None or len(layers) < 3 or block.added is not None:
            return "q, k and v are not linear layers of one cut into windows"
        if len({(part.heads, part.tokens, part.width) for part in block.heads}) > 1:
            return "q, k and v differ in size, and the op has one size for all"
        if not all(read_only_by(part.root, ends) for part in block.heads):  # type: ignore[arg-type]
            return "q, k or v is read outside the attention too"
        batch, high, side, wide, across, _ = cut.inside
        if side != across or q.tokens != side * across:  # type: ignore[operator]
            return f"windows of {side} x {across} tokens, the op has square ones"
        reader = only_consumer(block.out) if isinstance(block.out, ir.Value) and not block.turned_out else None
        after = only_consumer(reader.outputs[0]) if reader is not None and reader.op_type == "MatMul" else None
        found = linear(after.outputs[0]) if after is not None and after.op_type == "Add" else None
        found = found or (linear(reader.outputs[0]) if reader is not None else None)
        join = window_join(found.y) if found is not None else None
        if found is None or join is None or join.inside[:5] != (batch, high, wide, side, across):
            return "the heads do not go through one linear layer back into the map"
        assert isinstance(high, int) and isinstance(wide, int) and isinstance(side, int)
        rows, columns = high * side, wide * side
        qkv_shape = (batch, rows, columns, 3, q.heads, q.width)
        attributes = {"window": side, "scale": block.scale}
        if why := self.lacking(OP, [qkv_shape], attributes):
            return why
        last, image = found.add or found.matmul, (batch, rows, columns)
        source = cut.source
        if sizes(source) != (*image, (sizes(source) or ())[-1]):
            source = reshaped(model, last, source, (*image, (sizes(source) or ())[-1]))
        product = one_product(model, last, source, layers, block.heads)
        qkv = reshaped(model, last, product, qkv_shape)
        shape = (*image, q.dim)
        (y,) = fused(model, last, OP, [qkv], [shape], attributes, name=block.softmax.name or "")
        made, wanted = layer_on(found, last, y, shape), sizes(join.result) or ()
        same = wanted == (*image, found.outputs)
        replace_value(join.result, made if same else reshaped(model, last, made, wanted))
        return ""
