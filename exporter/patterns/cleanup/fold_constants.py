"""Constant subgraphs become constants, unless the file would grow.

What depends on initializers alone is computed once, here, by ONNX Runtime. Exporters leave much of it: ConViT's position
table (arXiv:2103.10697) is built anew in each of its ten gated blocks, at run time and from 1.5 MB of indices a block:

    grid (N, N) > Pow, Add, Unsqueeze, 3 x ScatterElements into (1, N, N, 3) > table, the same in every block

After this pass, and the clean-up that merges equal initializers, there is one table and no ScatterElements.

A value is kept as an expression when the constant would be larger than the initializers that it makes superfluous, and
larger than ``SMALL_BYTES``: ConViT's position scores, (heads, N, N) a block from a (3, heads) weight, stay a product.
Engines fold such an expression when they load it, so it costs nothing at run time and nothing in the file.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ....graph.beside import is_beside
from ....graph.edit import replace_value, shared_constant
from ....graph.read import LISTS, constant
from ..base import Pattern

SMALL_BYTES = 4096
CHANGES_BY_RUN = {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli", "Multinomial"}
KEPT = {"DequantizeLinear", "QuantizeLinear", "DynamicQuantizeLinear"}  # quantised weights are stored quantised


class FoldConstants(Pattern):
    """Evaluate what does not depend on the inputs; declines where the constant would make the file larger."""

    better_after = ("CleanUp",)

    def apply(self, model: ir.Model) -> int:
        nodes = [node for node in model.graph if foldable(node)]
        known: set[ir.Value] = set()
        links = []
        for node in nodes:  # in order, so that a chain is known link by link
            if all(value is None or value in known or constant(value) is not None for value in node.inputs):
                links.append(node)
                known.update(node.outputs)
        if not links:
            return 0
        arrays: dict[ir.Value, np.ndarray] = {}
        for part in _apart(links) if is_beside(model) else [links]:  # weights of gigabytes: one at a time
            results = [value for node in part for value in node.outputs]
            arrays |= evaluate(model.graph, part, results, model.ir_version or 10)
        count = 0
        while chosen := self._choose(links, arrays):
            for value in chosen:
                replace_value(value, shared_constant(model, value.name or "folded", arrays[value]))
            _drop(model, links)
            count += len(chosen)
            links = [node for node in links if node.graph is not None]  # what went may have kept another apart
        return count

    def _choose(self, links: list[ir.Node], arrays: dict[ir.Value, np.ndarray]) -> list[ir.Value]:
        """The results that become constants: small ones, and those that make as much superfluous as they add."""
        inside, stays, chosen = set(links), set[ir.Node](), []
        self.refusals = []
        for node in reversed(links):  # from the results upwards: a result may make its whole chain superfluous
            for value in node.outputs:
                readers = [usage.node for usage in value.uses()]
                if value.is_graph_output():
                    stays.add(node)
                elif any(reader not in inside or reader in stays for reader in readers):
                    growth = arrays[value].nbytes - sum(leaf.nbytes for leaf in _superfluous(value))
                    if arrays[value].nbytes <= SMALL_BYTES or growth <= 0:
                        chosen.append(value)
                    else:
                        stays.add(node)
                        if not stays.intersection(readers):  # said once, at the end of the chain
                            self.decline(node, f"the constant would add {growth:,} bytes to the file")
        return chosen


def foldable(node: ir.Node) -> bool:
    """Whether a node of constants is a constant: no draw, no quantised weight, no branch, nothing that numpy has no type for.

    Nor a list of tensors: lists_apart.py has written what can be without it.
    """
    plain = node.domain == "" and node.op_type not in CHANGES_BY_RUN | KEPT | LISTS
    values = (*node.inputs, *node.outputs)
    return (
        plain
        and bool(node.inputs)
        and not any(value is not None and value.dtype == ir.DataType.BFLOAT16 for value in values)  # numpy has none
        and not any(attr.type == ir.AttributeType.GRAPH for attr in node.attributes.values())
    )


def _superfluous(value: ir.Value) -> list[np.ndarray]:
    """The initializers that nobody reads any more once ``value`` is a constant."""
    cone: set[ir.Node] = set()
    leaves: set[ir.Value] = set()
    stack = [value]
    while stack:
        node = stack.pop().producer()
        if node is None or node in cone:
            continue
        cone.add(node)
        for source in node.inputs:
            if source is not None:
                leaves.add(source) if source.producer() is None else stack.append(source)

    elsewhere: dict[ir.Value, bool] = {value: False}

    def leads_elsewhere(source: ir.Value) -> bool:
        if source not in elsewhere:
            elsewhere[source] = source.is_graph_output() or any(
                usage.node not in cone or any(leads_elsewhere(out) for out in usage.node.outputs)
                for usage in source.uses()
            )
        return elsewhere[source]

    arrays = (constant(leaf) for leaf in leaves if not leads_elsewhere(leaf))
    return [array for array in arrays if array is not None]


def _apart(nodes: list[ir.Node]) -> list[list[ir.Node]]:
    """Nodes that read each other, or one weight, in one list, in their order."""
    parts: dict[int, list[ir.Node]] = {}
    found: dict[ir.Value, int] = {}  # value -> the part that it is in
    for number, node in enumerate(nodes):
        values = [value for value in (*node.inputs, *node.outputs) if value is not None]
        joined = sorted({found[value] for value in values if value in found})
        parts[number] = [each for key in joined for each in parts.pop(key)] + [node]
        found.update(
            {value: number for each in parts[number] for value in (*each.inputs, *each.outputs) if value is not None}
        )
    order = {node: place for place, node in enumerate(nodes)}
    return [sorted(part, key=lambda node: order[node]) for part in parts.values()]


def evaluate(
    graph: ir.Graph, nodes: list[ir.Node], results: list[ir.Value], version: int = 10
) -> dict[ir.Value, np.ndarray]:
    """What constant nodes compute, given in their order in ``graph``, from one session without optimisation."""
    import onnxruntime

    made = {value for node in nodes for value in node.outputs}
    leaves = {value: None for node in nodes for value in node.inputs if value is not None and value not in made}
    inner = ir.Graph(
        [], [], nodes=[], initializers=[ir.Value(name=leaf.name, const_value=_tensor(leaf)) for leaf in leaves],
        opset_imports=dict(graph.opset_imports), name="constants",
    )  # fmt: skip
    proto = ir.to_proto(ir.Model(inner, ir_version=version))
    proto.graph.node.extend(ir.to_proto(node) for node in nodes)
    for value in results:
        proto.graph.output.add().name = value.name or ""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return dict(zip(results, (np.asarray(array) for array in session.run(None, {})), strict=True))


def _tensor(leaf: ir.Value) -> ir.TensorProtocol | None:
    """In memory: a session that is made of bytes finds no file."""
    tensor = ir.convenience.get_const_tensor(leaf)
    return ir.tensor(tensor.numpy(), name=tensor.name) if isinstance(tensor, ir.ExternalTensor) else tensor


def _drop(model: ir.Model, nodes: list[ir.Node]) -> None:
    """Remove what became unused, last node first, and the initializers that only it read."""
    for node in reversed(nodes):
        if not any(value.uses() or value.is_graph_output() for value in node.outputs):
            sources = [value for value in node.inputs if value is not None]
            model.graph.remove(node, safe=True)
            for value in sources:
                if value.is_initializer() and not value.uses() and not value.is_graph_output():
                    model.graph.initializers.pop(value.name or "", None)
