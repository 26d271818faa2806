"""Maps of several levels meet before they are turned into cells: one transpose instead of one a level.

    per level (B, C, h, w) > Reshape (B, C, h*w) > Transpose (B, h*w, C);  all levels > Concat (B, N, C)
    per level (B, C, h, w) > Reshape (B, C, h*w);  all levels > Concat (B, C, N) > Transpose (B, N, C)

The end of every detector with several strides.  TensorRT-RTX reads the maps, joins, transposes and goes on computing in
one kernel instead of one a level; on a CPU the two are alike.
"""

from __future__ import annotations

import onnx_ir as ir

from ....graph.edit import insert, replace_value, sweep
from ....graph.read import attribute, only_consumer, sizes
from ..base import Pattern


class MergeLevels(Pattern):
    """Move equal transposes behind the Concat of their results; counts Concats."""

    def apply(self, model: ir.Model) -> int:
        count = sum([self._move(node) for node in list(model.graph) if node.op_type == "Concat" and not node.domain])
        if count:
            sweep(model)
        return count

    def _move(self, node: ir.Node) -> int:
        made = [value.producer() if value is not None else None for value in node.inputs]
        if len(made) < 2 or any(each is None or each.op_type != "Transpose" or each.domain for each in made):
            return 0
        perms = {tuple(attribute(each, "perm", ())) for each in made if each is not None}
        rank = len(next(iter(perms)))
        if len(perms) != 1 or rank == 0:
            self.decline(node, f"the levels are transposed in {len(perms)} ways, expected one")
            return 0
        if any(only_consumer(value) is not node for value in node.inputs):
            self.decline(node, "a transposed level has other uses")
            return 0
        perm = list(perms.pop())
        axis, shape = perm[attribute(node, "axis") % rank], sizes(node.outputs[0])
        before = [shape[perm.index(place)] for place in range(rank)] if shape is not None else None
        sources = [each.inputs[0] for each in made if each is not None]
        joined = insert(node, "Concat", sources, axis=axis, shape=before, name=node.name or "")
        replace_value(node.outputs[0], insert(node, "Transpose", [joined], perm=perm, shape=shape))
        return 1
