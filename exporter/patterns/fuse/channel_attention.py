"""Channel attention of DaViT as two ops that read the packed product of q, k and v as it is.

Paper: Ding et al., DaViT: Dual Attention Vision Transformers, arXiv:2204.03645, equation 3; G groups of D channels.

    x (B, N, C) > MatMul, Add (B, N, 3 C) > Reshape, Transpose, Split, Squeeze > Transposes, Mul > MatMul > Softmax > MatMul
    > Transposes > Reshape (B, N, C)

    x > MatMul, Add > Reshape (B, N, 3, G, D) > ChannelGram partials (B, G, S, D, D)
                                              > ChannelApply(partials) (B, N, C)

Version 1 applies softmax(k^T v) to q, version 2 softmax(q^T k) to v; which it is shows in the order of the columns.
"""

from __future__ import annotations

import onnx_ir as ir

from ....graph.edit import replace_value, sweep
from ....graph.read import sizes
from ..attention.channel_attention import ChannelBlock, channel_block
from ..matchers.projection import one_product
from ..matchers.views import reshaped
from .fused import Fuse, fused

GRAM, APPLY = "ChannelGram", "ChannelApply"


class FuseChannelAttention(Fuse):
    """A pair of nodes a block; refuses where q, k and v are not linear layers of one input."""

    better_after = ("FoldShapes",)
    ops = (GRAM, APPLY)

    def apply(self, model: ir.Model) -> int:
        count = 0
        for node in list(model.graph):
            found = channel_block(node) if node.op_type == "Softmax" and not node.domain else None
            if found is None:
                continue
            why = found if isinstance(found, str) else self._write(model, found)
            if why:
                self.decline(node, why)
            count += not why
        if count:
            sweep(model)
        return count

    def _write(self, model: ir.Model, block: ChannelBlock) -> str:
        from ...plugins.vision.channel_attention import splits_for

        batch, groups, width, tokens = block.shape
        order = (0, 1, 2) if _version(block) == 2 else (2, 0, 1)  # a, b, c of the block as q, k, v
        version, splits = {"version": _version(block)}, splits_for(tokens, groups)
        gram, apply = {"splits": splits, **version}, {"scale": block.scale, **version}
        packed, partials = (batch, tokens, 3, groups, width), (batch, groups, splits, width, width)
        if why := self.lacking(GRAM, [packed], gram) or self.lacking(APPLY, [packed, partials], apply):
            return why
        before, layers = block.context, [block.layers[index] for index in order]
        product = one_product(model, before, layers[0].x, layers, [block.parts[index] for index in order])
        qkv = reshaped(model, before, product, packed)
        name = block.softmax.name or "channels"
        (shares,) = fused(model, before, GRAM, [qkv], [partials], gram, name=f"{name}_gram")
        out = (batch, tokens, groups * width)
        (y,) = fused(model, before, APPLY, [qkv, shares], [out], apply, name=f"{name}_apply")
        shape = sizes(block.out)
        assert shape is not None
        replace_value(block.out, y if shape == out else reshaped(model, before, y, shape))
        return ""


def _version(block: ChannelBlock) -> int:
    """2 where the columns are q, k, v in the order of a, b, c; else 1, in which any three layers can be written."""
    return 2 if [part.offset for part in block.parts] == [index * block.parts[0].dim for index in range(3)] else 1
