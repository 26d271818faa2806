"""Linear layers between convolutions become 1x1 convolutions, so that the map is not transposed around each of them.

    h (B, H, W, I) > MatMul, Add > Transpose (B, O, H, W)             h > Transpose (B, I, H, W) > Conv 1x1
    m (B, I, H, W) > Transpose > MatMul, Add (B, H, W, O)             m > Conv 1x1 > Transpose (B, H, W, O)
    m > Transpose > Gelu                                              m > Gelu > Transpose
    m > Transpose > Mul with a linear layer of h                      m > Mul with a Conv 1x1 of h > Transpose

A transpose moves only where it gets no wider (I <= O above it, O <= I below it) and meets its opposite in the end: of
SMT's (arXiv:2307.08579) six transposes a block, two as wide as the MLP, four as wide as the trunk stay, all beside a
LayerNorm. ONNX Runtime keeps the whole branch in its blocked layout, TensorRT-RTX fuses Gelu, Mul and bias into it.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ....graph.edit import drop_unread, insert, replace_value, shared_constant
from ....graph.read import constant, only_consumer, sizes
from ..base import Pattern
from ..matchers.layers import TO_MAP, TO_TOKENS, Linear, linear, transpose_of, transposed

UNARY = frozenset({"Gelu", "Relu", "Sigmoid", "Tanh", "Erf", "HardSwish", "HardSigmoid", "LeakyRelu", "Elu"})


class LinearsOnMaps(Pattern):
    """Move transposes away from convolutions through linear layers and what stands between.

    Counts layers converted, or the moves where there was none.
    """

    least = 1  # channels on both sides of a layer

    def apply(self, model: ir.Model) -> int:
        count, moves, changed = 0, 0, True
        while changed:
            changed = False
            for node in list(model.graph):
                if node.graph is None or node.domain:
                    continue
                converted = self._step(model, node)
                changed |= converted is not None
                moves += converted is not None
                count += converted or 0
        return count or moves

    def _step(self, model: ir.Model, node: ir.Node) -> int | None:
        """Try every move at one node: linear layers converted, None when nothing moved."""
        if node.op_type == "Transpose":
            return self._above(model, node)
        if node.op_type in ("MatMul", "Add"):
            found = linear(node.outputs[0])
            if found is not None and found.y.producer() is node:
                return self._below(model, found)
        if node.op_type in UNARY:
            return self._sink(model, node, [node.inputs[0]])
        if node.op_type in ("Mul", "Add"):
            return self._meet(model, node)
        return None

    def _above(self, model: ir.Model, node: ir.Node) -> int | None:
        """Linear > Transpose to a map: the transpose goes above, the layer becomes a convolution."""
        value = transposed(node.outputs[0], TO_MAP)
        if value is None:
            return None
        if (undone := transposed(value, TO_TOKENS)) is not None:
            replace_value(node.outputs[0], undone)
            drop_unread(node, value.producer())
            return 0
        found = linear(value)
        if found is None or len(sizes(found.x) or ()) != 4 or len(sizes(value) or ()) != 4 or self._narrow(found):
            return None
        if only_consumer(value) is not node:
            self.decline(node, "the linear layer before the transpose has other uses")
            return None
        if found.inputs > found.outputs:
            self.decline(node, f"the transpose would widen from {found.outputs} to {found.inputs} channels")
            return None
        source = transpose_of(node, found.x, TO_MAP)
        replace_value(node.outputs[0], self._convolve(model, node, found, source))
        drop_unread(node, found.add, found.matmul)
        return 1

    def _below(self, model: ir.Model, found: Linear) -> int | None:
        """Transpose to tokens > Linear: the layer becomes a convolution, the transpose goes below."""
        source, last = transposed(found.x, TO_TOKENS), found.add or found.matmul
        if source is None or sizes(source) is None or found.inputs < found.outputs or self._narrow(found):
            return None
        if found.add is None and (reader := only_consumer(found.y)) is not None and linear(reader.outputs[0]):
            return None  # its Add is looked at next
        if only_consumer(found.x) is not found.matmul:
            self.decline(found.matmul, "the transpose before the linear layer has other uses")
            return None
        result = self._convolve(model, last, found, source)
        replace_value(found.y, transpose_of(last, result, TO_TOKENS))
        turned = found.x.producer()
        drop_unread(found.add, found.matmul, turned)
        return 1

    def _narrow(self, found: Linear) -> bool:
        """Whether the layer has too few channels for a convolution to pay; says so."""
        if min(found.inputs, found.outputs) >= self.least:
            return False
        self.decline(
            found.matmul, f"a layer from {found.inputs} to {found.outputs} channels, expected {self.least} or more"
        )
        return True

    def _meet(self, model: ir.Model, node: ir.Node) -> int | None:
        """Two tokens into one: both from maps, or one from a map and one from a linear layer of a value known as a map."""
        values = list(node.inputs)
        maps = [transposed(value, TO_TOKENS) for value in values]
        if all(source is not None for source in maps):
            return self._sink(model, node, values)
        if not any(source is not None for source in maps) or any(constant(value) is not None for value in values):
            return None
        index = 0 if maps[0] is None else 1
        found = linear(values[index])
        if found is None or only_consumer(found.y) is not node or self._known_map(found.x) is None:
            return None
        turned = transpose_of(node, found.y, TO_MAP)
        node.replace_input_with(index, insert(node, "Transpose", [turned], perm=list(TO_TOKENS), shape=sizes(found.y)))
        return 0

    def _sink(self, model: ir.Model, node: ir.Node, values: list[ir.Value | None]) -> int | None:
        """Every input is a transposed map that nothing else reads: compute on the maps, transpose the result."""
        maps = [transposed(value, TO_TOKENS) for value in values]
        if any(source is None for source in maps) or any(only_consumer(value) is not node for value in values):
            return None
        if len({sizes(source) for source in maps}) != 1 or sizes(maps[0]) is None:
            return None
        attributes = {name: item.value for name, item in node.attributes.items()}
        result = insert(node, node.op_type, maps, name=node.name or "", shape=sizes(maps[0]), **attributes)
        replace_value(node.outputs[0], transpose_of(node, result, TO_TOKENS))
        drop_unread(node, *(value.producer() for value in values if value is not None))
        return 0

    def _convolve(self, model: ir.Model, before: ir.Node, found: Linear, source: ir.Value) -> ir.Value:
        shape = sizes(source)
        assert shape is not None
        name = found.matmul.inputs[1].name  # type: ignore[union-attr]
        weight = shared_constant(model, f"{name}_1x1", np.ascontiguousarray(found.stored.T)[:, :, None, None])
        inputs = [source, weight, shared_constant(model, f"{name}_1x1_bias", found.bias.astype(found.dtype))]
        return insert(
            before, "Conv", inputs if found.add is not None else inputs[:2], name=found.matmul.name or "", group=1,
            kernel_shape=[1, 1], strides=[1, 1], pads=[0, 0, 0, 0], dilations=[1, 1], auto_pad="NOTSET",
            shape=[shape[0], found.outputs, *shape[2:]],
        )  # fmt: skip

    def _known_map(self, tokens: ir.Value) -> ir.Value | None:
        """The map that ``tokens`` came from or is turned into somewhere."""
        if (source := transposed(tokens, TO_TOKENS)) is not None:
            return source
        for usage in tokens.uses():
            if transposed(usage.node.outputs[0], TO_MAP) is tokens:
                return usage.node.outputs[0]
        return None


class LinearsOnBlockedMaps(LinearsOnMaps):
    """The same for ONNX Runtime, whose blocked layout holds 8 channels and more: CaiT's heads, four, are faster as products."""

    least = 8
