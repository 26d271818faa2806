"""Terms of viewed scores are added to each other first, where they fill the view and nobody reads what is between."""

import pytest
from graph_asserts import assert_refuses, assert_rewrites, parse

from edgesmith.exporter.patterns.attention.bias_beside import BiasBesideScores

ADDS = "d = Add(c, rows) e = Add(columns, d)"


def graph(
    adds: str = ADDS,
    outputs: str = "",
    rows: str = "2, 4, 3, 1",
    behind: str = "f = Reshape(e, flat) p = Softmax<axis = -1>(f)",
) -> str:
    return f"""<ir_version: 10, opset_import: ["" : 20]>
    g (float[batch, 2, 4, 5] q, float[batch, 2, 5, 6] k, float[batch, {rows}] rows, float[batch, 2, 4, 1, 2] columns)
     => (float[batch, 2, 4, 6] p{outputs})
    <int64[5] view = {{-1, 2, 4, 3, 2}}, int64[4] flat = {{-1, 2, 4, 6}}, int64[4] other = {{-1, 4, 2, 6}}, float s = {{0.5}}>
    {{ a = MatMul(q, k) b = Mul(a, s) c = Reshape(b, view) {adds} {behind} }}"""


def told(text: str):
    """The graph with the batch of the exporter on every value, which inference loses at a Reshape."""
    model = parse(text)
    for node in model.graph:
        for value in node.outputs:
            if value.shape is not None and not isinstance(value.shape[0], int):
                value.shape = type(value.shape)(["batch", *tuple(value.shape)[1:]])
    return model


@pytest.mark.parametrize("adds", [ADDS, "d = Add(rows, c) e = Add(d, columns)"])
def test_the_terms_meet_before_the_scores(adds):
    to = ["MatMul", "Mul", "Add", "Reshape", "Add", "Softmax"]
    model = assert_rewrites(BiasBesideScores, told(graph(adds)), to=to)
    assert next(node for node in model.graph if node.op_type == "Softmax").inputs[0].producer().op_type == "Add"


def test_one_term_that_fills_the_view():
    text = graph("e = Add(c, rows)", rows="2, 4, 3, 2")
    assert_rewrites(BiasBesideScores, told(text), to=["MatMul", "Mul", "Reshape", "Add", "Softmax"])


def test_terms_that_do_not_fill_the_view_stay():
    assert_refuses(BiasBesideScores, told(graph("e = Add(c, rows)")), because="fills")
    assert_refuses(BiasBesideScores, told(graph("e = Add(c, columns)")), because="fills")


@pytest.mark.parametrize(
    "text",
    [
        graph(outputs=", float[batch, 2, 4, 3, 2] c"),
        graph(outputs=", float[batch, 2, 4, 3, 2] d"),
        graph(outputs=", float[batch, 2, 4, 3, 2] e"),
        graph("d = Mul(c, rows) e = Add(d, columns)"),
        graph("e = Relu(c)"),
        graph(behind="f = Reshape(e, other) p = Softmax<axis = -1>(f)").replace(
            "float[batch, 2, 4, 6] p", "float[batch, 4, 2, 6] p"
        ),
    ],
)
def test_what_others_read_and_other_forms_stay(text):
    assert BiasBesideScores().run(told(text)).count == 0


def test_a_batch_of_unknown_name_stays():
    assert BiasBesideScores().run(parse(graph())).count == 0
