"""Which values of a graph a form needs statistics of, and where the quantised part of a convolutional network lies.

The form "u8" quantises whole chains, so that one integer kernel hands its codes to the next:

    Conv > (Relu | Sigmoid, Mul) > Add, Concat, MaxPool, Resize > Conv

A node belongs to a chain when it is a site, or when it is one of ``BETWEEN`` and everything it reads comes from a chain;
what makes an output of the graph does not, since an output is never rounded.  Chains only grow with the sites, so
statistics taken for all sites serve every choice among them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...graph.read import constant, is_op, nodes_by_name
from ..nouns import Site

if TYPE_CHECKING:
    import onnx_ir as ir

# what ONNX Runtime computes on codes: by a table, by integer arithmetic, or by moving them
ARITHMETIC = frozenset({"Sigmoid", "LeakyRelu", "Mul", "Add", "Concat", "AveragePool", "GlobalAveragePool"})
MOVED = frozenset({"MaxPool", "Resize", "Slice", "Split"})  # not Reshape or Transpose: channels stay on their axis
CLAMPS = frozenset({"Relu", "Clip"})  # the end of the range of what follows: no kernel at all
BETWEEN = ARITHMETIC | MOVED | CLAMPS


def tensors_for(form: str, sites: Sequence[Site], model: ir.Model) -> dict[str, int]:
    """Value -> channel axis, for ``collect``: the inputs of the sites, and for "u8" all of their chains.

    The form "dynamic" measures ranges while it runs; the inputs are still needed where scales are balanced beforehand.
    """
    found = {site.input: site.in_axis for site in sites}
    if form == "u8":
        for value in chain_values(model, {site.node for site in sites}):  # moved ones too: a choice may start there
            found.setdefault(str(value.name), _channel_axis(value))
    return found


def _channel_axis(value: ir.Value) -> int:
    """1 for what comes from a Conv, -1 for what comes from a matrix product; a chain keeps the axis."""
    node = value.producer()
    while is_op(node, BETWEEN):
        source = next(iter(_read(node)), None)
        node = source.producer() if source is not None else None
    return -1 if is_op(node, ("MatMul", "Gemm")) else 1


def chain_values(model: ir.Model, sites: set[str]) -> dict[ir.Value, ir.Value]:
    """The values that become codes in the form "u8": what chains read, and what they make.  Each with the value whose
    range it has: its own, or that of the value it is moved from, since equal codes need equal scales.
    """
    nodes = chain_nodes(model, sites)
    values: dict[ir.Value, ir.Value] = {}
    for node in nodes:
        for value in _read(node):
            if not _clamped_next(value.producer(), nodes):
                values.setdefault(value, value)
        if not _clamped_next(node, nodes):
            source = node.inputs[0]
            moved = is_op(node, MOVED) and source in values
            values.update({value: values[source] if moved else value for value in node.outputs})  # type: ignore[index]
    return values


def chain_nodes(model: ir.Model, sites: set[str]) -> dict[ir.Node, None]:
    """The nodes of all chains in graph order; ``sites`` are names of nodes."""
    by_name = nodes_by_name(model)
    chains: dict[ir.Node, None] = {}
    for node in by_name.values():
        chained = node.name in sites or _between(node, chains)
        if chained and not any(value.is_graph_output() for value in node.outputs):
            chains[node] = None
    return chains


def _between(node: ir.Node, chains: dict[ir.Node, None]) -> bool:
    """A node that reads nothing but codes: a constant operand would need a range of its own, and stops the chain."""
    if not is_op(node, BETWEEN):
        return False
    read = _read(node)
    if is_op(node, ("Add", "Mul", "Concat")) and len(read) < len(node.inputs):
        return False
    return bool(read) and all(value.producer() in chains for value in read)


def _read(node: ir.Node) -> list[ir.Value]:
    """The activations that a node of a chain reads; weights, targets of a Reshape and the like are constants."""
    return [value for value in node.inputs if value is not None and constant(value) is None]


def _clamped_next(node: ir.Node | None, chains: dict[ir.Node, None]) -> bool:
    """Whether the one reader of a product or a sum is a clamp: then the codes are those of the clamped value."""
    if node is None or node not in chains or is_op(node, MOVED) or is_op(node, CLAMPS):
        return False
    readers = [use.node for use in node.outputs[0].uses()]
    return len(readers) == 1 and is_op(readers[0], CLAMPS) and readers[0] in chains
