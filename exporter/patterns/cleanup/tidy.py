"""Clean-up between the rewrites: dead nodes, identities, equal initializers, names.

None of these changes what is computed; they are the passes that onnx_ir ships, in one order.
"""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes import common

from ..base import Pattern


class CleanUp(Pattern):
    """Constants become initializers, identities and unused nodes go, equal nodes and initializers become one."""

    def apply(self, model: ir.Model) -> int:
        before = len(model.graph)
        passes = [
            common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
            common.IdentityEliminationPass(),
            common.DeduplicateHashedInitializersPass(
                size_limit=1 << 30
            ),  # first: nodes are equal when their inputs are
            common.CommonSubexpressionEliminationPass(),
            common.RemoveUnusedNodesPass(),
            common.TopologicalSortPass(),
            common.NameFixPass(),
        ]
        for step in passes:
            step(model)
        return before - len(model.graph)
