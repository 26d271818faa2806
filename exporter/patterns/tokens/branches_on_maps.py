"""Residual branches that end on a map end in a 1x1 convolution there, which TensorRT fuses with the sum.

    t (B, H, W, C) = Transpose of m;  Add(t, MatMul, Add of h (B, H, W, I)) > Transpose (B, C, H, W)
    Add(m, Conv 1x1 of h transposed)

    the same with h = Gelu(MatMul, Add of n) and a map of at least ``LARGE`` pixels: both layers become convolutions

TensorRT-RTX fuses bias and residual into the convolution, while the sum of a linear layer that is transposed next becomes
a kernel of its own (DaViT-tiny, arXiv:2204.03645, fp16, sm89: one kernel less a branch). The wide layers of an MLP only
win on large maps: on small ones (14 x 14) it turns the convolution back into a product and transposes around it.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ....graph.edit import insert, replace_value, shared_constant, sweep
from ....graph.read import only_consumer, sizes
from ..base import Pattern
from ..matchers.layers import TO_MAP, TO_TOKENS, Linear, linear, transpose_of, transposed

LARGE = 28 * 28  # pixels: measured on maps of 56, 28, 14 and 7 pixels a side


class BranchesOnMaps(Pattern):
    """Write the branches that return to a map as 1x1 convolutions; counts branches."""

    runs_after = ("FlattenLate",)
    better_after = ("MergeWindows", "PackedChannels")

    def apply(self, model: ir.Model) -> int:
        count = sum([self._branch(model, node) for node in list(model.graph)])
        if count:
            sweep(model)
        return count

    def _branch(self, model: ir.Model, node: ir.Node) -> int:
        tokens = transposed(node.outputs[0], TO_MAP) if node.op_type == "Transpose" else None
        total = tokens.producer() if tokens is not None else None
        if total is None or total.op_type != "Add" or total.domain or only_consumer(tokens) is not node:
            return 0
        for index in (0, 1):
            base, found = transposed(total.inputs[index], TO_TOKENS), linear(total.inputs[1 - index])
            if base is not None and found is not None and len(sizes(found.x) or ()) == 4:
                break
        else:
            return 0
        if only_consumer(found.y) is not total:
            self.decline(total, "the branch has other uses")
            return 0
        wide, narrow = found.inputs, found.outputs
        if wide <= narrow:
            source = transpose_of(node, found.x, TO_MAP)
        else:
            hidden = self._hidden(node, found)
            if hidden is None:
                return 0
            first, activation = hidden
            source = _convolve(model, node, first, transpose_of(node, first.x, TO_MAP))
            attributes = {name: item.value for name, item in activation.attributes.items()}
            source = insert(node, activation.op_type, [source], shape=sizes(source), **attributes)
        branch = _convolve(model, node, found, source)
        replace_value(
            node.outputs[0], insert(node, "Add", [base, branch], name=total.name or "", shape=sizes(node.outputs[0]))
        )
        return 1

    def _hidden(self, node: ir.Node, found: Linear) -> tuple[Linear, ir.Node] | None:
        """The layer and the activation before a narrowing layer, where convolutions are worth it."""
        _, _, height, width = sizes(node.outputs[0]) or (None,) * 4
        if not isinstance(height, int) or not isinstance(width, int) or height * width < LARGE:
            return None
        activation = found.x.producer()
        if activation is None or activation.op_type not in ("Gelu", "Relu") or activation.domain:
            return None
        first = linear(activation.inputs[0])
        if (
            first is None
            or sizes(first.x) is None
            or only_consumer(first.y) is not activation
            or only_consumer(found.x) is not found.matmul
        ):
            return None
        return (first, activation) if any(usage.node.op_type == "Conv" for usage in node.outputs[0].uses()) else None


def _convolve(model: ir.Model, before: ir.Node, found: Linear, source: ir.Value) -> ir.Value:
    name, shape = found.matmul.inputs[1].name, sizes(source)  # type: ignore[union-attr]
    assert shape is not None
    inputs = [source, shared_constant(model, f"{name}_1x1", np.ascontiguousarray(found.stored.T)[:, :, None, None])]
    if found.add is not None:
        inputs.append(shared_constant(model, f"{name}_1x1_bias", found.bias.astype(found.dtype)))
    return insert(
        before, "Conv", inputs, name=found.matmul.name or "", group=1, kernel_shape=[1, 1], strides=[1, 1],
        pads=[0, 0, 0, 0], dilations=[1, 1], auto_pad="NOTSET", shape=[shape[0], found.outputs, *shape[2:]],
    )  # fmt: skip
