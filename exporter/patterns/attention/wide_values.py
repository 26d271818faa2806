"""Keys as wide as the values, with zeros: TensorRT fuses attention where q, k and v have one width.

    q, k (B, heads, N, 16), v (B, heads, N, 32)      softmax(scale q k^T + bias) v, in five kernels
    q, k (B, heads, N, 32), 16 of them zeros         the same numbers, in one

LeViT (arXiv:2104.01136) and EfficientFormer (arXiv:2206.01191) have values two to four times as wide as keys. The zeros are
columns of the layer that makes q and k: its products grow a little, and the scores never leave the chip. The scale stays the
one of the narrow keys.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir

from ....graph.edit import sweep
from ..matchers.attention_block import AttentionBlock, attention_blocks
from ..matchers.heads import Heads
from ..matchers.projection import Projection, new_layer
from ..matchers.views import merge_views
from .heads_apart import PackedHeads, layers_of, three_apart

WIDEST = 4  # times the keys: what the published networks have


class WidenKeys(PackedHeads):
    """Attention whose values are wider than its keys, in the normal form with keys of that width."""

    better_after = ("FoldShapes", "FoldLinearNorm", "GateBesideAttention")

    def apply(self, model: ir.Model) -> int:
        count = 0
        for block in attention_blocks(model.graph, lambda *_: None, biased=True):
            if block.added is not None or not block.q.width < block.v.width:
                continue
            if block.v.width > WIDEST * block.q.width or len(block.context.outputs[0].shape or ()) != 4:
                self.decline(block.softmax, f"values are {block.v.width} wide and keys {block.q.width}")
                continue
            layers = layers_of(block, wider=True)
            if isinstance(layers, str):
                self.decline(block.softmax, layers)
                continue
            q, k = (_widened(*pair, block.v.width) for pair in zip(layers[:2], (block.q, block.k), strict=True))
            v = _widened(layers[2], block.v, block.v.width)
            self.write(model, replace(block, q=q[1], k=k[1], v=v[1]), [q[0], k[0], v[0]])
            count += 1
        if count:
            sweep(model)
            merge_views(model)
        return count

    def heads(self, model: ir.Model, block: AttentionBlock, layers: list[Projection]) -> tuple[ir.Value, ...]:
        if len({layer.x for layer in layers}) == 1:
            return super().heads(model, block, layers)
        own = (  # queries of some of the tokens, or of another map
            new_layer(model, block.scores, layer.x, layer.weights, layer.bias, f"{layer.weights_name}_{letter}")
            for layer, letter in zip(layers, "qkv", strict=True)
        )
        return three_apart(model, block, tuple(own))


def _side_by_side(heads: Heads, width: int) -> Heads:
    dim = heads.heads * width
    return replace(heads, picked=tuple(range(dim)), columns=dim, width=width)


def _widened(layer: Projection, heads: Heads, width: int) -> tuple[Projection, Heads]:
    """The columns of q, k or v alone, each head followed by zeros up to ``width``."""
    weights, bias = layer.columns(heads)

    def wide(array: np.ndarray) -> np.ndarray:
        apart = array.reshape(*array.shape[:-1], heads.heads, heads.width)
        zeros = np.zeros((*apart.shape[:-1], width - heads.width), array.dtype)
        return np.concatenate([apart, zeros], axis=-1).reshape(*array.shape[:-1], -1)

    return (
        replace(layer, weights=wide(weights), bias=None if bias is None else wide(bias)),
        _side_by_side(heads, width),
    )
