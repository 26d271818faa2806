"""Expands that only copy go; those that give a result its shape stay."""

import pytest
from graph_asserts import assert_rewrites, op_types, parse

from edgesmith.exporter.patterns.cleanup.broadcasts import DropExpands


def graph(body: str, out: str = "batch, 3, 4", outputs: str = "", small: str = "batch, 3, 1") -> str:
    return f"""<ir_version: 10, opset_import: ["" : 20]> g (float[batch, 3, 4] x, float[{small}] s) => (float[{out}] y{outputs})
    <int64[3] full = {{1, 3, 4}}, int64[1] last = {{-1}}, float low = {{0.1}}, float[2, 1, 1, 1] more = {{1, 2}}> {{ {body} }}"""


@pytest.mark.parametrize("op", ["Add(x, e)", "Add(e, x)", "Sub(e, x)", "Mul(x, e)", "Div(x, e)", "Max(e, x)"])
def test_an_operator_that_broadcasts_needs_no_copy(op):
    assert_rewrites(DropExpands, graph(f"e = Expand(s, full) y = {op}"), to=[op.split("(")[0]])


def test_as_it_is_traced():
    body = "n = ReduceL2(x, last) c = Clip(n, low) shape = Shape(x) e = Expand(c, shape) y = Div(x, e)"
    model = parse(graph(body))
    assert op_types(model)[-2:] == ["Expand", "Div"]
    expand = next(node for node in model.graph if node.op_type == "Expand")
    expand.outputs[0].shape = model.graph.inputs[0].shape  # as the exporter tells it
    assert DropExpands().run(model).count == 1 and op_types(model)[-2:] == ["Shape", "Div"]


def test_several_readers():
    body = "e = Expand(s, full) y = Mul(x, e) z = Relu(e)"
    assert_rewrites(DropExpands, graph(body, outputs=", float[batch, 3, 4] z"), to=["Expand", "Mul", "Relu"])
    body = "e = Expand(s, full) y = Mul(x, e)"
    assert_rewrites(DropExpands, graph(body, outputs=", float[batch, 3, 4] e"), to=["Expand", "Mul"])


@pytest.mark.parametrize(
    ("body", "out"),
    [
        ("e = Expand(s, full) y = Mul(s, e)", "batch, 3, 4"),  # the Expand gives the shape
        ("e = Expand(s, full) y = Mul(e, e)", "batch, 3, 4"),
        ("e = Expand(s, full) y = Neg(e)", "batch, 3, 4"),
        ("e = Expand(s, full) y = Concat<axis = 0>(e, x)", "rows, 3, 4"),
        ("e = Expand(s, full) y = Max(e, x, x)", "batch, 3, 4"),
    ],
)
def test_what_needs_the_copy_keeps_it(body, out):
    model = parse(graph(body, out))
    assert DropExpands().run(model).count == 0 and "Expand" in op_types(model)


def test_a_batch_that_may_be_another_keeps_it():
    """Of one and four pictures the sum has four, whoever is the larger."""
    text = graph("e = Expand(s, full) y = Mul(x, e)", small="others, 3, 1")
    model = parse(text)
    assert DropExpands().run(model).count == 0
