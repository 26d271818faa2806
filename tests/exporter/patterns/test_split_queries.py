"""Attention of one head gets heads of its queries, and the same numbers come out; any other attention stays."""

import pytest
from graph_asserts import assert_rewrites, op_types, parse

from edgesmith.exporter.patterns.attention.shared_keys import RepeatKeys, SplitQueries

PLAIN = "p = Softmax<axis = -1>(a) y = MatMul(p, v)"
LEFT = "p = Softmax<axis = -1>(a) t = Transpose<perm = [0, 2, 1]>(p) y = MatMul(v, t)"


def graph(
    middle: str = PLAIN, q: str = "6, 4", k: str = "4, 5", v: str = "5, 4", y: str = "6, 4", outputs: str = ""
) -> str:
    return f"""<ir_version: 10, opset_import: ["" : 20]>
    g (float[2, {q}] q, float[2, {k}] k, float[2, {v}] v, float[2, 6, 5] m) => (float[2, {y}] y{outputs})
    <float s = {{0.5}}, float[6, 1] r = {{1, 2, 3, 4, 5, 6}}> {{ a = MatMul(q, k) {middle} }}"""


@pytest.mark.parametrize(
    ("text", "to"),
    [
        (graph(), []),
        (graph("c = Mul(a, s) p = Softmax<axis = 2>(c) y = MatMul(p, v)"), ["Mul"]),
        (graph("c = Mul(a, s) d = Add(c, m) p = Softmax<axis = -1>(d) y = MatMul(p, v)"), ["Mul", "Reshape", "Add"]),
        (graph("d = Add(m, a) p = Softmax<axis = -1>(d) y = MatMul(p, v)"), ["Reshape", "Add"]),
    ],
)
def test_its_queries_become_heads(text, to):
    model = assert_rewrites(
        SplitQueries, text, to=["Reshape", "Reshape", "MatMul", *to, "Softmax", "Reshape", "MatMul", "Reshape"]
    )
    softmax = next(node for node in model.graph if node.op_type == "Softmax")
    assert tuple(softmax.outputs[0].shape) == (2, 2, 3, 5)
    assert RepeatKeys().run(model).count == 1


def test_so_do_those_of_a_product_from_the_other_side():
    text = graph(LEFT, v="4, 5", y="4, 6")
    to = ["Reshape", "Reshape", "Transpose", "MatMul", "Softmax", "Reshape", "MatMul", "Reshape", "Transpose"]
    assert_rewrites(SplitQueries, text, to=to)


def test_keys_get_zeros_up_to_the_width_of_the_values():
    text = graph("c = Mul(a, s) p = Softmax<axis = -1>(c) y = MatMul(p, v)", v="5, 8", y="6, 8")
    to = ["Reshape", "Reshape", "Pad", "Pad", "MatMul", "Mul", "Softmax", "Reshape", "MatMul", "Reshape"]
    model = assert_rewrites(SplitQueries, text, to=to)
    pads = [tuple(node.outputs[0].shape) for node in model.graph if node.op_type == "Pad"]
    assert pads == [(2, 2, 3, 8), (2, 1, 8, 5)]


def test_four_axes_and_an_open_batch_too():
    text = graph(q="1, 6, 4", k="1, 4, 5", v="1, 5, 4", y="1, 6, 4").replace("float[2, 1", "float[batch, 1")
    assert_rewrites(SplitQueries, text, to=["Reshape", "Reshape", "MatMul", "Softmax", "Reshape", "MatMul", "Reshape"])


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (graph(v="5, 20", y="6, 20"), "20 wide and keys 4"),
        (graph(v="5, 3", y="6, 3"), "3 wide and keys 4"),
        (graph(q="7, 4", y="7, 4"), "7 queries"),
        (graph("d = Add(a, r) p = Softmax<axis = -1>(d) y = MatMul(p, v)"), "not of their size"),
        (graph("d = Add(a, m) c = Mul(d, s) p = Softmax<axis = -1>(c) y = MatMul(p, v)"), "scaled with them"),
        (graph(outputs=", float[2, 6, 5] a"), "other uses"),
    ],
)
def test_it_refuses_in_words(text, why):
    model = parse(text)
    record = SplitQueries().run(model)
    assert record.count == 0 and why in record.refused[0].why
    assert op_types(model) == op_types(parse(text))


@pytest.mark.parametrize(
    "text",
    [
        graph(q="3, 6, 4", k="3, 4, 5", v="3, 5, 4", y="3, 6, 4"),
        graph("p = Softmax<axis = 1>(a) y = MatMul(p, v)"),
        graph(outputs=", float[2, 6, 5] p"),
        graph(k="4, 5").replace("float[2, 4, 5] k", "float[1, 4, 5] k"),
        graph("p = Softmax<axis = -1>(a) z = Relu(p) y = MatMul(z, v)"),
    ],
)
def test_other_attention_stays(text):
    model = parse(text)
    assert SplitQueries().run(model).count == 0 and op_types(model) == op_types(parse(text))
