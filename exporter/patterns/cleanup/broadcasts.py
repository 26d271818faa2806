"""An Expand in front of an operator that broadcasts by itself goes: it only copies.

    x (B, heads, N, 32) > ReduceL2 (B, heads, N, 1) > Clip > Expand (B, heads, N, 32) > x / it
    x (B, heads, N, 32) > ReduceL2 (B, heads, N, 1) > Clip > x / it

torch.nn.functional.normalize writes it so: Swin V2 (arXiv:2111.09883) and XCiT (arXiv:2106.09681) twice in every attention.
"""

from __future__ import annotations

import onnx_ir as ir

from ....graph.edit import drop_unread
from ....graph.read import is_op, sizes
from ..base import Pattern

BROADCASTING = {"Add", "Sub", "Mul", "Div", "Pow", "Min", "Max"}


class DropExpands(Pattern):
    """Read the value before an Expand where the other operand has the shape of the result; other readers keep theirs."""

    better_after = ("FoldShapes",)

    def apply(self, model: ir.Model) -> int:
        count = 0
        for node in list(model.graph):
            source = node.inputs[0] if is_op(node, "Expand") else None
            if source is None or sizes(source) is None:
                continue
            spread = [
                usage
                for usage in node.outputs[0].uses()
                if usage.node.graph is node.graph and _keeps_its_shape(usage.node, usage.idx, node.outputs[0])
            ]
            for usage in spread:
                usage.node.replace_input_with(usage.idx, source)
            drop_unread(node)
            count += bool(spread)
        return count


def _keeps_its_shape(node: ir.Node, index: int, expanded: ir.Value) -> bool:
    """Whether the other operand alone gives the result of ``node`` its shape."""
    if not is_op(node, BROADCASTING) or len(node.inputs) != 2:
        return False
    shape, other = sizes(expanded), sizes(node.inputs[1 - index])
    return shape is not None and None not in shape and shape == other and node.inputs[1 - index] is not expanded
