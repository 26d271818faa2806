"""SMT's multi-head mixed convolution: four depthwise kernels and their interleaving become one depthwise convolution.

Paper: Lin et al., Scale-Aware Modulation Meet Transformer, arXiv:2307.08579.

    x (B, H, W, C) > MatMul, Add > Transpose (B, C, H, W) > Split in 4 of G = C / 4
        > depthwise 3x3, 5x5, 7x7, 9x9 > Unsqueeze > Concat (B, G, 4, H, W) > Reshape (B, C, H, W)
    x > MatMul', Add' > Transpose > depthwise 9x9 > (B, C, H, W)

Channel j * 4 + i of the result is channel j of group i. The rows of the linear layer (or 1x1 convolution) before it are
written in that order, and the smaller kernels get zeros around them, so neither Split, Concat nor Reshape is left. 81
taps a channel in place of 41 on average: with the rest of the pipeline the copies cost more than the taps on every engine
(smt_tiny, fp16, sm89: 234 kernels without, 182 with; ONNX Runtime 0.82 and 0.79 of the plain export).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from ....graph.edit import insert, replace_value, shared_constant
from ....graph.read import attribute, constant, only_consumer, sizes
from ..base import Pattern
from ..matchers.layers import TO_MAP, Convolution, convolution, linear, set_linear, set_weights, transposed


@dataclass(frozen=True)
class Heads:
    """The parts of one site: what is split, the depthwise convolutions in order, the interleaved result."""

    split: ir.Node
    convolutions: tuple[Convolution, ...]
    result: ir.Value


class MergeScaleHeads(Pattern):
    """One depthwise convolution for all kernel sizes; refuses where the channels cannot be put in order before it."""

    def apply(self, model: ir.Model) -> int:
        count = 0
        for node in list(model.graph):
            if node.op_type != "Split" or node.domain or convolution(only_consumer(node.outputs[0])) is None:
                continue
            heads = self._heads(node)
            if heads is not None and self._reorder(model, heads):
                self._merge(model, heads)
                count += 1
        return count

    def _heads(self, split: ir.Node) -> Heads | None:
        found = [convolution(only_consumer(value)) for value in split.outputs]
        if any(head is None or not head.depthwise or not head.same_size for head in found):
            self.decline(split, "its parts do not all go into one depthwise convolution that keeps the size of the map")
            return None
        heads = tuple(head for head in found if head is not None)
        if len({head.outputs for head in heads}) != 1 or attribute(split, "axis", 0) != 1:
            self.decline(split, "expected groups of channels of one size")
            return None
        stacked = [only_consumer(head.y) for head in heads]
        concat = only_consumer(stacked[0].outputs[0]) if stacked[0] is not None else None
        reshape = only_consumer(concat.outputs[0]) if concat is not None else None
        if (
            concat is None
            or reshape is None
            or concat.op_type != "Concat"
            or reshape.op_type != "Reshape"
            or attribute(concat, "axis") != 2
            or [value.producer() if value else None for value in concat.inputs] != stacked
            or any(node is None or node.op_type != "Unsqueeze" or _axes(node) != [2] for node in stacked)
            or any(only_consumer(node.outputs[0]) is not concat for node in stacked if node is not None)
        ):
            self.decline(split, "the results are not interleaved by channel, or have other uses on the way")
            return None
        whole, result = sizes(split.inputs[0]), sizes(reshape.outputs[0])
        if whole is None or None in whole or whole != result:
            self.decline(split, f"the heads come from {whole} and end as {result}, expected the same known shape")
            return None
        return Heads(split, heads, reshape.outputs[0])

    def _reorder(self, model: ir.Model, heads: Heads) -> bool:
        """Write the channels of the layer before the split in the order of the result."""
        source = heads.split.inputs[0]
        group = heads.convolutions[0].outputs
        order = np.arange(group * len(heads.convolutions)).reshape(-1, group).T.ravel()  # j * n + i > i * G + j
        if only_consumer(source) is heads.split and source is not None:
            tokens = transposed(source, TO_MAP)
            dense = linear(tokens)
            if dense is not None and only_consumer(tokens) is source.producer():
                set_linear(model, dense, dense.weight[:, order], dense.bias[order])
                return True
            before = convolution(source.producer())
            if before is not None and before.groups == 1:
                set_weights(model, before, before.weight[order], before.bias[order])
                return True
        self.decline(
            heads.split, "no linear layer with no other uses before it, whose rows could take the order of the result"
        )
        return False

    def _merge(self, model: ir.Model, heads: Heads) -> None:
        first = heads.convolutions[0]
        largest = tuple(max(sizes) for sizes in zip(*(head.kernel for head in heads.convolutions), strict=True))
        weight = np.zeros((first.outputs, len(heads.convolutions), *largest))  # (G, n, k, k)
        for index, head in enumerate(heads.convolutions):
            starts = [(full - size) // 2 for full, size in zip(largest, head.kernel, strict=True)]
            inside = [slice(start, start + size) for start, size in zip(starts, head.kernel, strict=True)]
            weight[:, index][(slice(None), *inside)] = head.weight[:, 0]
        weight = weight.reshape(-1, 1, *largest)
        bias = np.stack([head.bias for head in heads.convolutions], axis=1).ravel()
        dtype, name = first.stored.dtype, first.node.inputs[1].name  # type: ignore[union-attr]
        constants = [shared_constant(model, f"{name}_{part}", array.astype(dtype))
                     for part, array in (("merged", weight), ("merged_bias", bias))]  # fmt: skip
        half = [size // 2 for size in largest]
        merged = insert(
            heads.convolutions[-1].node, "Conv", [heads.split.inputs[0], *constants], group=weight.shape[0],
            kernel_shape=list(largest), pads=half + half, strides=[1] * first.axes, dilations=[1] * first.axes,
            auto_pad="NOTSET", name=first.node.name or "", shape=sizes(heads.result),
        )  # fmt: skip
        reshape = heads.result.producer()
        replace_value(heads.result, merged)
        concat = reshape.inputs[0].producer()  # type: ignore[union-attr]
        stacked = [value.producer() for value in concat.inputs]  # type: ignore[union-attr]
        for node in (reshape, concat, *stacked, *(head.node for head in heads.convolutions), heads.split):
            model.graph.remove(node, safe=True)  # type: ignore[arg-type]


def _axes(node: ir.Node) -> list[int] | None:
    axes = constant(node.inputs[1]) if len(node.inputs) > 1 else None
    return None if axes is None else axes.ravel().tolist()
