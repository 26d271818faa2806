"""Channel attention over many tokens goes into the layer that follows it: one product over the tokens instead of two.

Paper: Ding et al., DaViT, arXiv:2204.03645; per head g, with A_g (width, width) and c_g (N, width):

    y = concat_g(c_g A_g^T) W        W (C, O) the output projection, W_g (width, O) its rows of head g
      = c concat_g(A_g^T W_g)        c (N, C); the small products give a matrix (C, O) of this image

    packed (1, 3 heads, width, N) > Split > MatMul > Softmax > MatMul > Reshape, Transpose (..., C) > MatMul W
    packed (3 heads, width, N)    > Split > MatMul > Softmax > MatMul W_g (C, O); c (N, C) MatMul that

Fewer multiplications wherever N > O. TensorRT fuses an attention whose inner size is at most 256, so only what it cannot
fuse is changed; for a batch of one, since with more the matrix is another for every image and TensorRT copies around it.
DaViT-tiny, fp16, sm89: 154 kernels with, 156 without.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ....graph.edit import insert, insert_node, replace_value, shared_constant, sweep
from ....graph.read import attribute, constant, only_consumer, sizes
from ..base import Pattern
from ..matchers.views import merge_reshapes, reshaped
from .channel_attention import tokens_after

LONGEST_FUSED = 256  # inner size up to which TensorRT makes one kernel of an attention (NVIDIA/TensorRT issue 2981)


class ProjectChannels(Pattern):
    """Fold the attention of channels into the projection behind it; counts blocks."""

    better_after = ("PackedChannels",)  # what that pass writes, or an export that is written so

    def apply(self, model: ir.Model) -> int:
        count = sum([self._fold(model, node) for node in list(model.graph) if node.op_type == "Softmax"])
        if count:
            sweep(model)
            merge_reshapes(model)
        return count

    def _fold(self, model: ir.Model, softmax: ir.Node) -> int:
        scores = softmax.inputs[0].producer() if softmax.inputs[0] is not None else None
        context = only_consumer(softmax.outputs[0])
        if scores is None or scores.op_type != "MatMul" or context is None or context.op_type != "MatMul":
            return 0
        if attribute(softmax, "axis", -1) not in (-1, 3) or context.inputs[0] is not softmax.outputs[0]:
            return 0
        split = _split_of(scores, context)
        shape = sizes(context.outputs[0])
        if split is None or shape is None or len(shape) != 4:
            return 0
        batch, heads, width, tokens = shape
        if not isinstance(heads, int) or not isinstance(width, int) or not isinstance(tokens, int):
            return 0
        if tokens <= LONGEST_FUSED:
            return 0
        if batch != 1:
            self.decline(softmax, f"batch {batch}: the projection would be another for every image")
            return 0
        out = tokens_after(context.outputs[0], (1, heads, width, tokens))
        layer = only_consumer(out)
        weights = constant(layer.inputs[1]) if layer is not None and layer.op_type == "MatMul" else None
        if (
            layer is None
            or weights is None
            or weights.ndim != 2
            or layer.inputs[0] is not out
            or not sizes(layer.outputs[0])
        ):
            self.decline(softmax, "no linear layer of its own follows the attention")
            return 0
        if weights.shape[1] >= tokens:
            self.decline(softmax, f"{weights.shape[1]} outputs of {tokens} tokens: more multiplications than before")
            return 0
        self._write(model, split, layer, weights, (heads, width, tokens))
        return 1

    def _write(
        self, model: ir.Model, split: ir.Node, layer: ir.Node, weights: np.ndarray, shape: tuple[int, int, int]
    ) -> None:
        heads, width, tokens = shape
        channels, outputs = weights.shape
        packed = reshaped(model, layer, split.inputs[0], (3 * heads, width, tokens))  # type: ignore[arg-type]
        thirds = shared_constant(model, "thirds", np.array([heads] * 3, np.int64))
        a, b, c = insert_node(layer, "Split", [packed, thirds], axis=0, outputs=3).outputs
        for value in (a, b, c):
            value.shape = ir.Shape(shape)
        turned = insert(layer, "Transpose", [b], perm=(0, 2, 1), shape=(heads, tokens, width))
        scores = insert(layer, "MatMul", [a, turned], shape=(heads, width, width))
        attention = insert(layer, "Softmax", [scores], axis=-1, shape=(heads, width, width))
        attention = insert(layer, "Transpose", [attention], perm=(0, 2, 1), shape=(heads, width, width))
        name = f"{layer.inputs[1].name}_heads"  # type: ignore[union-attr]
        by_head = shared_constant(model, name, weights.reshape(heads, width, outputs))
        matrix = insert(layer, "MatMul", [attention, by_head], shape=(heads, width, outputs))
        matrix = reshaped(model, layer, matrix, (channels, outputs))
        rows = reshaped(model, layer, c, (channels, tokens))
        rows = insert(layer, "Transpose", [rows], perm=(1, 0), shape=(tokens, channels))
        product = insert(layer, "MatMul", [rows, matrix], shape=(tokens, outputs))
        after = sizes(layer.outputs[0])
        assert after is not None
        replace_value(layer.outputs[0], reshaped(model, layer, product, after))


def _split_of(scores: ir.Node, context: ir.Node) -> ir.Node | None:
    """The Split whose three equal parts are a, b (transposed) and c of this attention and nothing else."""
    turned = scores.inputs[1].producer() if scores.inputs[1] is not None else None
    if turned is None or turned.op_type != "Transpose" or attribute(turned, "perm") != (0, 1, 3, 2):
        return None
    parts = [scores.inputs[0], turned.inputs[0], context.inputs[1]]
    split = parts[0].producer() if parts[0] is not None else None
    if split is None or split.op_type != "Split" or attribute(split, "axis", 0) != 1 or list(split.outputs) != parts:
        return None
    alone = all(only_consumer(part) is not None for part in split.outputs) and only_consumer(turned.outputs[0])
    return split if alone and len({sizes(part) for part in split.outputs}) == 1 else None
