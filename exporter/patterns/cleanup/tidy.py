"""Clean-up between the rewrites: dead nodes, identities, equal initializers, names.

None of these changes what is computed; they are the passes that onnx_ir ships, in one order, but for two: its own pass for
identities gives two outputs of a graph one name where one is a copy of the other, and its pass for equal initializers is slow
(equal_constants.py).
"""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes import common

from ....graph.edit import replace_value
from ..base import Pattern
from .equal_constants import merge_equal_constants
from .fold_constants import CHANGES_BY_RUN


class CleanUp(Pattern):
    """Constants become initializers, identities and unused nodes go, equal nodes and initializers become one."""

    def apply(self, model: ir.Model) -> int:
        before = len(model.graph)
        draws = any(node.op_type in CHANGES_BY_RUN for node in model.graph)  # equal nodes, and each draws for itself
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
        _drop_identities(model.graph)
        merge_equal_constants(model)  # first: nodes are equal when their inputs are
        passes = [
            *([] if draws else [common.CommonSubexpressionEliminationPass()]),
            common.RemoveUnusedNodesPass(),
            common.TopologicalSortPass(),
            common.NameFixPass(),
        ]
        for step in passes:
            step(model)
        return before - len(model.graph)


def _drop_identities(graph: ir.Graph) -> None:
    """Whoever reads a copy reads the value, unless the copy is an output and the value has a name of its own to keep."""
    for node in list(graph):
        if node.op_type != "Identity" or node.domain or node.inputs[0] is None:
            continue
        value, copy = node.inputs[0], node.outputs[0]
        named = value.is_graph_output() or value.is_graph_input() or value.is_initializer() or value.graph is not graph
        if copy.is_graph_output() and named:
            continue
        value.shape, value.type = value.shape or copy.shape, value.type or copy.type
        replace_value(copy, value)
        graph.remove(node, safe=True)
