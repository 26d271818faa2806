"""A rewrite in one file of one's own: the mean over a map's positions becomes the pooling node that engines know by name.

    x (B, C, H, W) > ReduceMean over H, W, no kept axes > (B, C)
    x (B, C, H, W) > GlobalAveragePool (B, C, 1, 1) > Flatten > (B, C)

What it does to a graph is judged as every pass of ours is: --verify-each, parity, the report.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgesmith import register_pattern
from edgesmith.exporter.patterns.base import Pattern
from edgesmith.graph.edit import insert, take_over
from edgesmith.graph.read import attribute, constant

if TYPE_CHECKING:
    import onnx_ir as ir


class PoolMeans(Pattern):
    """Refuses means over other axes and means that keep their axes."""

    runs_after = ("FoldConstants",)  # the axes are a constant only then

    def apply(self, model: ir.Model) -> int:
        count = 0
        for node in list(model.graph):
            if node.op_type != "ReduceMean":
                continue
            axes = constant(node.inputs[1]) if len(node.inputs) > 1 else None
            if axes is None or sorted(axes.tolist()) != [2, 3] or attribute(node, "keepdims", 1):
                self.decline(node, f"mean over {axes}, expected the axes 2 and 3, not kept")
                continue
            pooled = insert(node, "GlobalAveragePool", node.inputs[:1])
            take_over(node, insert(node, "Flatten", [pooled]))
            count += 1
        return count


def add() -> None:
    register_pattern(PoolMeans, orders=["cpu", "openvino"])
