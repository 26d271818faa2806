"""Constants are computed once, equal ones are kept once, and no file grows by it."""

import numpy as np
import onnx_ir as ir
import pytest
from graph_asserts import assert_refuses, assert_rewrites, op_types, parse, weights

from edgesmith.exporter.patterns.cleanup.fold_constants import FoldConstants
from edgesmith.exporter.patterns.cleanup.tidy import CleanUp
from edgesmith.exporter.run.nouns import Shapes
from edgesmith.exporter.trace.trace import trace

TABLE = """
<ir_version: 10, opset_import: ["" : 20]>
table (float[2, 4] x) => (float[2, 4] y)
<float[1, 4] grid = {1, 2, 3, 4}, float two = {2}, int64[1] end = {-1}>
{
  squares = Pow(grid, two)
  sums = Add(grid, squares)
  flat = Reshape(sums, end)
  y = Add(x, flat)
}
"""
SCORES = f"""
<ir_version: 10, opset_import: ["" : 20]>
scores (float[64, 64] x) => (float[64, 64] y, float[3, 64] t)
<{weights(table=(3, 64), w=(64, 3))}>
{{
  spread = MatMul(w, table)
  y = Add(x, spread)
  t = Identity(table)
}}
"""


def test_a_chain_of_constants_becomes_one_initializer():
    model = assert_rewrites(FoldConstants, TABLE, to=["Add"])
    (folded,) = [value for value in model.graph.initializers.values() if value.uses()]
    np.testing.assert_array_equal(folded.const_value.numpy(), [2, 6, 12, 20])


def test_what_became_superfluous_goes_with_it():
    model = parse(TABLE)
    FoldConstants().run(model)
    assert len(model.graph.initializers) == 1


def test_refuses_a_constant_larger_than_what_it_replaces():
    # 64 x 64 floats from 64 x 3, while the table stays for its other reader
    assert_refuses(FoldConstants, SCORES, because="would add 15,616 bytes to the file")


def test_leaves_quantised_weights_quantised():
    text = """
    <ir_version: 10, opset_import: ["" : 20]>
    quantised (float[2, 2] x) => (float[2, 2] y)
    <int8[2, 2] w = {1, 2, 3, 4}, float scale = {0.5}>
    { f = DequantizeLinear(w, scale) y = MatMul(x, f) }
    """
    model = parse(text)
    assert FoldConstants().run(model).count == 0
    assert op_types(model) == ["DequantizeLinear", "MatMul"]


def test_keeps_an_output_that_is_a_constant():
    text = """
    <ir_version: 10, opset_import: ["" : 20]>
    output (float[2] x) => (float[2] y, float[2] c)
    <float[2] a = {1, 2}>
    { c = Add(a, a) y = Mul(x, c) }
    """
    model = parse(text)
    FoldConstants().run(model)
    assert [value.name for value in model.graph.outputs] == ["y", "c"]
    assert "Add" in op_types(model)


@pytest.fixture(scope="module")
def convit_never_run() -> tuple[ir.Model, int, int]:
    """timm's ConViT-tiny as a user has it, before its first forward: graph, bytes of weights, bytes of one table."""
    import timm

    module = timm.create_model("convit_tiny")
    graph = trace(module, Shapes.fixed(1, 3, 224, 224)).model
    weights_bytes = sum(p.numel() * p.element_size() for p in module.parameters())
    return graph, weights_bytes, 196 * 196 * 3 * 4


def test_convit_loses_its_scatters_and_keeps_one_table(convit_never_run):
    graph, weights_bytes, table_bytes = convit_never_run
    before = sum(value.const_value.nbytes for value in graph.graph.initializers.values())
    assert op_types(graph).count("ScatterElements") == 30
    assert before > 1.5 * weights_bytes
    for step in (CleanUp, FoldConstants, CleanUp):
        step().run(graph)
    after = sum(value.const_value.nbytes for value in graph.graph.initializers.values())
    assert op_types(graph).count("ScatterElements") == 0
    assert after <= weights_bytes + table_bytes
    assert FoldConstants().run(graph).count == 0
