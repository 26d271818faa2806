"""Small steps that every surgery takes: a new constant, a new node before another, one value in place of another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common


def new_constant(model: ir.Model, name: str, array: np.ndarray | np.generic) -> ir.Value:
    """An initializer with a free name close to ``name``; an equal small one is used again."""
    graph, array = model.graph, np.asarray(array, order="C")
    if array.nbytes <= 256:
        for old in graph.initializers.values():
            tensor = old.const_value
            if tensor is not None and tuple(tensor.shape) == array.shape and tensor.dtype == ir.tensor(array).dtype:
                if old.is_graph_input() or not np.array_equal(tensor.numpy(), array):
                    continue
                return old
    taken = graph.initializers
    free, count = name, 0
    while free in taken or (count == 0 and _is_a_value(graph, free)):
        count += 1
        free = f"{name}_{count}"
    tensor = ir.tensor(array, name=free)
    value = ir.Value(name=free, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype), const_value=tensor)
    graph.register_initializer(value)
    return value


def _is_a_value(graph: ir.Graph, name: str) -> bool:
    return any(value.name == name for value in (*graph.inputs, *(made for node in graph for made in node.outputs)))


def insert(
    before: ir.Node,
    op_type: str,
    inputs: Sequence[ir.Value | None],
    *,
    name: str = "",
    shape: Sequence[int | str | None] | None = None,
    domain: str = "",
    outputs: int = 1,
    **attributes: Any,
) -> ir.Value:
    """A node of one output just before ``before``; type and, if told, shape stand on its output."""
    node = insert_node(before, op_type, inputs, name=name, domain=domain, outputs=outputs, **attributes)
    value = node.outputs[0]
    if shape is not None:
        value.shape = ir.Shape(list(shape))
    return value


def insert_node(
    before: ir.Node, op_type: str, inputs: Sequence[ir.Value | None], *, name: str = "", domain: str = "",
    outputs: int = 1, **attributes: Any,
) -> ir.Node:  # fmt: skip
    """As ``insert``, for nodes of several outputs; names are made unique by the clean-up."""
    node = ir.node(op_type, inputs, attributes, domain=domain, num_outputs=outputs, name=name or None)
    graph = before.graph
    assert isinstance(graph, ir.Graph)
    first = next((value for value in inputs if value is not None), None)
    for value in node.outputs:
        value.type = first.type if first is not None else None
    graph.insert_before(before, node)
    return node


def sweep(model: ir.Model) -> None:
    """Remove what a rewrite left unread, so that the next pass does not take it for a place of its own."""
    common.RemoveUnusedNodesPass()(model)


def replace_value(old: ir.Value, new: ir.Value) -> None:
    """Everyone who read ``old`` reads ``new``; a graph output keeps its name."""
    if old.is_graph_output():
        graph = old.graph
        assert graph is not None
        if new.is_initializer() or new.is_graph_input():  # an output must be computed: keep its node, feed it the value
            raise ValueError(f"output {old.name} would be a plain copy of {new.name}")
        for index, value in enumerate(graph.outputs):
            if value is old:
                name, old.name = old.name, None
                new.name, new.shape, new.type = name, old.shape or new.shape, old.type or new.type
                graph.outputs[index] = new
    ir.convenience.replace_all_uses_with(old, new)
