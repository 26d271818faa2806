"""Keys and values of one head are repeated for every head; any other attention stays."""

import pytest
from graph_asserts import assert_rewrites, op_types, parse

from edgesmith.exporter.patterns.attention.shared_keys import RepeatKeys


def graph(
    middle: str = "p = Softmax<axis = -1>(a)",
    k: str = "1, 3, 5",
    v: str = "1, 5, 3",
    q: str = "4, 2, 3",
    outputs: str = "",
) -> str:
    return f"""<ir_version: 10, opset_import: ["" : 20]>
    g (float[batch, {q}] q, float[batch, {k}] k, float[batch, {v}] v, float[batch, 1, 1, 5] m) => (float[batch, 4, 2, 3] y{outputs})
    <float s = {{0.5}}, float[1, 1, 1, 5] b = {{1, 2, 3, 4, 5}}> {{ a = MatMul(q, k) {middle} y = MatMul(p, v) }}"""


@pytest.mark.parametrize(
    "middle",
    [
        "p = Softmax<axis = -1>(a)",
        "c = Mul(a, s) p = Softmax<axis = 3>(c)",
        "c = Mul(a, s) d = Add(c, m) p = Softmax<axis = -1>(d)",
        "c = Add(b, a) d = Mul(c, s) p = Softmax<axis = -1>(d)",
    ],
)
def test_one_head_of_keys_becomes_as_many_as_there_are_queries(middle):
    text = graph(middle)
    ops = op_types(parse(text))
    model = assert_rewrites(RepeatKeys, text, to=[*ops, "Expand", "Expand"])
    shapes = [tuple(node.outputs[0].shape)[1:] for node in model.graph if node.op_type == "Expand"]
    assert shapes == [(4, 3, 5), (4, 5, 3)]


def test_others_may_read_the_scores():
    assert_rewrites(
        RepeatKeys, graph(outputs=", float[batch, 4, 2, 5] a"), to=["Expand", "MatMul", "Softmax", "Expand", "MatMul"]
    )


@pytest.mark.parametrize(
    "text",
    [
        graph(k="4, 3, 5", v="4, 5, 3"),
        graph(v="4, 5, 3"),
        graph(k="4, 3, 5"),
        graph("p = Softmax<axis = 1>(a)"),
        graph("p = Relu(a)"),
        graph("r = Softmax<axis = -1>(a) p = Relu(r)"),
        graph(outputs=", float[batch, 4, 2, 5] p"),
        graph(q="1, 2, 3").replace("float[batch, 4, 2, 3] y", "float[batch, 1, 2, 3] y"),
    ],
)
def test_other_attention_stays(text):
    model = parse(text)
    assert RepeatKeys().run(model).count == 0 and "Expand" not in op_types(model)
