"""Shared by the tests of the passes that put fused ops in: a fused node against its numpy reference, inside its graph."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from graph_asserts import op_types, parse

from edgesmith.exporter.patterns.fuse.fused import Fuse
from edgesmith.exporter.plugins import OPS
from edgesmith.graph.read import constant
from edgesmith.graph.run import run_values
from edgesmith.runtime.plugins.schema import DOMAIN

LIMIT = 1e-5  # of the largest output: float32 sums in another order than the float64 reference


def fused_nodes(model: ir.Model) -> list[ir.Node]:
    return [node for node in model.graph if node.domain == DOMAIN]


def assert_reference(model: ir.Model) -> None:
    """Every fused node gives on ONNX Runtime what the numpy reference of its op gives on the same inputs."""
    nodes = fused_nodes(model)
    assert nodes, "no fused node"
    source = model.graph.inputs[0]
    shape = [size if isinstance(size, int) else 2 for size in source.shape]
    feeds = {source.name: np.random.default_rng(0).standard_normal(shape).astype(np.float32)}
    names = [value.name for node in nodes for value in (*node.inputs, *node.outputs)]
    values = run_values(model, feeds, names) | feeds
    for node in nodes:
        op = OPS[node.op_type]
        arrays = [values[value.name] if constant(value) is None else constant(value) for value in node.inputs]
        attributes = {one.name: node.attributes[one.name].value for one in op.schema.attributes}
        op.schema.bind([array.shape for array in arrays], attributes)
        wanted, found = op.reference(*arrays, **attributes), values[node.outputs[0].name]
        assert found.shape == wanted.shape
        assert np.abs(found - wanted).max() <= LIMIT * max(1.0, np.abs(wanted).max()), node.op_type


def assert_needs_kernel(step: type[Fuse], text: str | ir.Model, *, because: str) -> None:
    """Where plugins take the nodes the pass leaves the graph alone and says why; elsewhere it applies."""
    model = parse(text) if isinstance(text, str) else text
    before, strict = op_types(model), step()
    strict.needs_kernel = ("float16", "float32")
    record = strict.run(model)
    assert record.count == 0 and op_types(model) == before
    assert any(because in refusal.why for refusal in record.refused), record.refused
    assert step().run(model).count == 1
