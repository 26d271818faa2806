"""x + dw(x): the shortcut around a depthwise convolution becomes its centre tap + 1.

    h (B, C, H, W) > Conv depthwise > Add h > y                                   h > Conv' > y
    h (B, H, W, C) > Transpose > Conv depthwise > Transpose > Add h > y           h > Transpose > Conv' > Transpose > y

Exact: x is the convolution of x with a kernel that is 1 in the middle. SMT's MLP (arXiv:2307.08579) and DaViT's positional
convolutions (arXiv:2204.03645) have it.
"""

from __future__ import annotations

import onnx_ir as ir

from ....graph.edit import replace_value
from ....graph.read import only_consumer
from ..base import Pattern
from ..matchers.layers import TO_MAP, TO_TOKENS, convolution, set_weights, transposed


class FoldDepthwiseShortcut(Pattern):
    """Fold the shortcut; refuses strides, dilation, other padding and results with other uses."""

    def apply(self, model: ir.Model) -> int:
        return sum(self._fold(model, node) for node in list(model.graph) if node.op_type == "Add" and not node.domain)

    def _fold(self, model: ir.Model, add: ir.Node) -> bool:
        for index in (0, 1):
            shortcut, result = add.inputs[index], add.inputs[1 - index]
            if shortcut is None or result is None:
                continue
            tokens = transposed(result, TO_TOKENS)
            found = convolution((tokens if tokens is not None else result).producer())
            if found is None or not found.depthwise:
                continue
            start = transposed(found.x, TO_MAP) if tokens is not None else found.x
            if start is not shortcut:
                continue
            if not found.same_size:
                self.decline(add, "the depthwise convolution has a stride, a dilation or padding that moves its centre")
                return False
            if only_consumer(result) is not add or (
                tokens is not None and only_consumer(tokens) is not result.producer()
            ):
                self.decline(add, "the convolution's result has other uses")
                return False
            weight = found.weight.copy()
            weight[(slice(None), 0, *(size // 2 for size in weight.shape[2:]))] += 1
            set_weights(model, found, weight)
            replace_value(add.outputs[0], result)
            model.graph.remove(add, safe=True)
            return True
        return False
