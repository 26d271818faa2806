"""What is added to a value: whether the sum keeps its shape, and what a term is whose parts are all constants.

Exporters leave tables of positions as chains of gathers and transposes of weights, and FoldConstants keeps a chain whose
result would make the file larger. Engines fold it when they load it; ``known`` does so for a pass that has to look at it.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ....graph.read import constant
from ..cleanup.fold_constants import evaluate, foldable

LONGEST = 64  # nodes of a table


def within(small: tuple[int, ...], shape: tuple[int | str | None, ...]) -> bool:
    """Whether adding a constant of this size leaves the shape as it is, at every size of its open axes."""
    behind = shape[len(shape) - len(small) :] if small else ()
    return len(small) <= len(shape) and all(size in (1, full) for size, full in zip(small, behind, strict=True))


def known(value: ir.Value | None) -> np.ndarray | None:
    """The array of a value that no input of the graph has a part in; None for every other, and where it is not computed."""
    array = constant(value)
    if array is not None or value is None:
        return array
    cone: dict[ir.Node, None] = {}
    stack = [value]
    while stack:
        node = stack.pop().producer()
        if node is None or not foldable(node) or node.graph is not value.graph or not all(v.name for v in node.outputs):
            return None
        cone[node] = None
        stack += [each for each in node.inputs if each is not None and constant(each) is None]
        if len(cone) > LONGEST:
            return None
    assert isinstance(value.graph, ir.Graph)
    ordered = [node for node in value.graph if node in cone]
    return evaluate(value.graph, ordered, [value])[value]
