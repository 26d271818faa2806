"""A Pad by nothing goes; a Pad by something stays, exactly as it was exported.

DaViT (arXiv:2204.03645) pads every map to whole windows and every image to whole patches; at 224 x 224 all of that is
zero rows and columns, and six nodes remain that copy the map:

    x (B, H, W, C) > Pad 0, 0, 0, 0, 0, 0, 0, 0 > (B, H, W, C)      becomes      x

Padded tokens take part in the attention of their window (they are not masked), so a real Pad must not move past the
LayerNorm before it; the linear layer after it, which gives them its bias, may.
"""

from __future__ import annotations

import onnx_ir as ir

from ....graph.edit import replace_value
from ....graph.read import constant
from ..base import Pattern


class DropZeroPads(Pattern):
    """Remove the Pads whose amounts are constant zeros; declines on amounts that are only known at run time."""

    better_after = ("FoldShapes",)

    def apply(self, model: ir.Model) -> int:
        count = 0
        for node in list(model.graph):
            if node.op_type != "Pad" or node.domain:
                continue
            amounts, output = constant(node.inputs[1]) if len(node.inputs) > 1 else None, node.outputs[0]
            if amounts is None:
                self.decline(node, "the amounts of padding are computed at run time")
            elif not amounts.any() and not output.is_graph_output():
                replace_value(output, node.inputs[0])  # type: ignore[arg-type]
                model.graph.remove(node, safe=True)
                count += 1
        return count
