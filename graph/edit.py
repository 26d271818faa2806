"""Small steps of every insertion: a copy of the graph, a constant, a node before another.

exporter/patterns/replace.py has the same for rewrites; imports run downhill only, so it is not used here.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import onnx_ir as ir

VIEWS = frozenset(
    {"Reshape", "Transpose", "Squeeze", "Unsqueeze", "Identity", "Flatten", "Slice", "Split", "Pad", "Expand"}
)


def constant(value: ir.Value | None) -> np.ndarray | None:
    """The array of a value that is known when the graph is written, else None."""
    import onnx_ir as ir

    if value is None or value.is_graph_input():
        return None
    tensor = ir.convenience.get_const_tensor(value)
    return None if tensor is None else tensor.numpy()


def attribute(node: ir.Node, name: str, default: Any = None) -> Any:
    """The plain value of an attribute."""
    found = node.attributes.get(name)
    return default if found is None else found.value


def nodes_by_name(model: ir.Model) -> dict[str, ir.Node]:
    """The nodes of the main graph; CleanUp gave each a name of its own."""
    return {str(node.name): node for node in model.graph}


def behind_views(value: ir.Value | None, through: Collection[str] = VIEWS) -> ir.Node | None:
    """The node that computed ``value``, views (or the operators named) looked through; None for a graph input or a constant."""
    node = value.producer() if value is not None else None
    while node is not None and node.op_type in through and not node.domain:
        source = node.inputs[0]
        node = source.producer() if source is not None else None
    return node


def add_constant(model: ir.Model, name: str, array: np.ndarray | np.generic) -> ir.Value:
    """An initializer called ``name``, or close to it where that is taken by another array."""
    import onnx_ir as ir

    array, graph = np.asarray(array, order="C"), model.graph
    free, count = name, 0
    while (old := graph.initializers.get(free)) is not None:
        known = old.const_value.numpy() if old.const_value is not None else None
        if known is not None and known.dtype == array.dtype and np.array_equal(known, array):
            return old
        count += 1
        free = f"{name}_{count}"
    tensor = ir.tensor(array, name=free)
    value = ir.Value(name=free, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype), const_value=tensor)
    graph.register_initializer(value)
    return value


def add_node(
    before: ir.Node, op_type: str, inputs: Sequence[ir.Value | None], output: str, *, name: str, dtype: Any = None,
    shape: Any = None, domain: str = "", attributes: Mapping[str, Any] | None = None,
) -> ir.Value:  # fmt: skip
    """One node of one output just before ``before``; the output gets the type and shape told."""
    import onnx_ir as ir

    value = ir.Value(name=output, shape=shape, type=None if dtype is None else ir.TensorType(dtype))
    node = ir.node(op_type, inputs, attributes or {}, domain=domain, outputs=[value], name=name)
    assert isinstance(before.graph, ir.Graph)
    before.graph.insert_before(before, node)
    return value


def take_over(old: ir.Node, new: ir.Value) -> None:
    """``new`` takes the place, the name and the readers of the output of ``old``, which goes, as does its node name."""
    import onnx_ir as ir

    value, graph = old.outputs[0], old.graph
    assert isinstance(graph, ir.Graph)
    name, value.name = value.name, None
    new.name, new.shape, new.type = name, value.shape, value.type
    for index, output in enumerate(graph.outputs):
        if output is value:
            graph.outputs[index] = new
    ir.convenience.replace_all_uses_with(value, new)
    graph.remove(old, safe=True)


def drop_unread(model: ir.Model) -> None:
    """Remove what nobody reads any more, float weights included."""
    from onnx_ir.passes.common import RemoveUnusedNodesPass

    RemoveUnusedNodesPass()(model)
