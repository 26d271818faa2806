"""Small steps of every change to a graph: a copy, a constant, a node before another, one value in place of another."""

from __future__ import annotations

import copy
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .read import is_read

if TYPE_CHECKING:
    import onnx_ir as ir

SMALL = 256  # bytes up to which constants of one value are shared
AS_FIRST_INPUT = object()


def clone(model: ir.Model) -> ir.Model:
    """A copy whose graph can be changed; the weights are shared, since nobody writes into a tensor."""
    return model.clone() if hasattr(model, "clone") else copy.deepcopy(model)


def add_constant(model: ir.Model, name: str, array: np.ndarray | np.generic) -> ir.Value:
    """An initializer called ``name``, or close to it where that is taken by something else."""
    import onnx_ir as ir

    array, graph = np.asarray(array, order="C"), model.graph
    free, count = name, 0
    while (old := graph.initializers.get(free)) is not None or _is_a_value(graph, free):
        if old is not None and _holds(old, array):
            return old
        count += 1
        free = f"{name}_{count}"
    tensor = ir.tensor(array, name=free)
    value = ir.Value(name=free, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype), const_value=tensor)
    graph.register_initializer(value)
    return value


def shared_constant(model: ir.Model, name: str, array: np.ndarray | np.generic) -> ir.Value:
    """As ``add_constant``; a small one that is there already is used again, whatever its name."""
    array = np.asarray(array, order="C")
    for old in model.graph.initializers.values() if array.nbytes <= SMALL else ():
        if _holds(old, array):
            return old
    return add_constant(model, name, array)


def _holds(value: ir.Value, array: np.ndarray) -> bool:
    """Whether an initializer that nobody may feed is this array, type included."""
    import onnx_ir as ir

    tensor = value.const_value
    if tensor is None or value.is_graph_input() or tuple(tensor.shape) != array.shape:
        return False
    return tensor.dtype == ir.DataType.from_numpy(array.dtype) and np.array_equal(tensor.numpy(), array)


def _is_a_value(graph: ir.Graph, name: str) -> bool:
    return any(value.name == name for value in (*graph.inputs, *(made for node in graph for made in node.outputs)))


def insert(
    before: ir.Node,
    op_type: str,
    inputs: Sequence[ir.Value | None],
    *,
    name: str = "",
    output: str = "",
    dtype: Any = AS_FIRST_INPUT,
    shape: Any = None,
    domain: str = "",
    **attributes: Any,
) -> ir.Value:
    """A node of one output just before ``before``; ``dtype`` None says that the type of the output is not known.

    Names that are not told are given by the graph; ``name_apart`` makes all of them unique after every pass.
    """
    import onnx_ir as ir

    value = insert_node(before, op_type, inputs, name=name, domain=domain, outputs=(output,), **attributes).outputs[0]
    if dtype is not AS_FIRST_INPUT:
        value.type = None if dtype is None else ir.TensorType(dtype)
    if shape is not None:
        value.shape = ir.Shape(list(shape))
    return value


def insert_node(
    before: ir.Node,
    op_type: str,
    inputs: Sequence[ir.Value | None],
    *,
    name: str = "",
    domain: str = "",
    outputs: int | Sequence[str] = 1,
    **attributes: Any,
) -> ir.Node:
    """As ``insert``, for nodes of several outputs: how many, or their names; all have the type of the first input."""
    import onnx_ir as ir

    names = [""] * outputs if isinstance(outputs, int) else outputs
    kind = next((value.type for value in inputs if value is not None), None)
    made = [ir.Value(name=each or None, type=kind) for each in names]
    node = ir.node(op_type, inputs, attributes, domain=domain, outputs=made, name=name or None)
    assert isinstance(before.graph, ir.Graph)
    before.graph.insert_before(before, node)
    return node


def replace_value(old: ir.Value, new: ir.Value) -> None:
    """Everyone who read ``old`` reads ``new``; a graph output keeps its name.

    What cannot take a second name, an input, a constant or another output, is handed out through an Identity.
    """
    import onnx_ir as ir

    if old.is_graph_output():
        graph, name, result = old.graph, old.name, new
        assert isinstance(graph, ir.Graph)
        if new.is_initializer() or new.is_graph_input() or new.is_graph_output() or new.graph is not graph:
            result = ir.Value()
            graph.append(ir.node("Identity", [new], outputs=[result]))
        old.name = None
        result.name, result.shape, result.type = name, old.shape or new.shape, old.type or new.type
        for index, value in enumerate(graph.outputs):
            if value is old:
                graph.outputs[index] = result
    ir.convenience.replace_all_uses_with(old, new)


def take_over(old: ir.Node, new: ir.Value) -> None:
    """``new`` takes the place, the name and the readers of the output of ``old``, which goes, as does its node name."""
    import onnx_ir as ir

    value, graph = old.outputs[0], old.graph
    assert isinstance(graph, ir.Graph)
    name = value.name
    replace_value(value, new)
    value.name = None
    new.name, new.shape, new.type = name, value.shape, value.type
    graph.remove(old, safe=True)


def drop_unread(*nodes: ir.Node | None) -> None:
    """Remove those of the nodes that nobody reads any more, one after the other."""
    for node in nodes:
        if node is not None and node.graph is not None and not is_read(node):
            node.graph.remove(node, safe=True)


def name_apart(model: ir.Model) -> None:
    """Give a fresh name to each node and value that has none or that of another; inputs, outputs and weights keep theirs."""
    graph = model.graph
    nodes, values = set[str | None](), {value.name for value in graph.inputs} | set(graph.initializers)
    outputs = {id(value): value.name for value in graph.outputs if value.name}
    taken = {*values, *outputs.values()}
    for node in graph:
        if not node.name or node.name in nodes:
            node.name = _fresh(node.name or node.op_type, nodes)
        nodes.add(node.name)
        for value in node.outputs:
            if id(value) in outputs or (not value.name and not value.uses()):  # an output that is left out has no name
                continue
            if not value.name or value.name in taken:
                value.name = _fresh(value.name or node.op_type, taken)
            taken.add(value.name)


def _fresh(name: str, taken: Collection[str | None]) -> str:
    count = 1
    while f"{name}_{count}" in taken:
        count += 1
    return f"{name}_{count}"


def sweep(model: ir.Model) -> None:
    """Remove all that nobody reads any more, weights included, so that the next pass finds no place in it."""
    from onnx_ir.passes.common import RemoveUnusedNodesPass

    RemoveUnusedNodesPass()(model)
