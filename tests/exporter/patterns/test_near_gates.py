"""Gates that are nearly ConViT's: what stands under the content half, who else reads v, and how the rows are summed."""

from __future__ import annotations

import pytest
from graph_asserts import weights
from near_misses import assert_sound, graph, half

from edgesmith.exporter.patterns.attention.gpsa_gate import GateBesideAttention, GateInAttention

both = pytest.mark.parametrize("step", [GateBesideAttention, GateInAttention])

TERM = "float[1, 2, 4, 4] b = {" + ", ".join(["0.075"] * 16 + ["0.2"] * 16) + "}, "
CONSTANTS = (
    TERM
    + "float[1, 2, 1, 1] keep = {0.7, 0.2}, int64[4] heads = {-1, 4, 2, 3}, int64[1] last = {-1}, int64[1] first = {2}, "
    "int64[3] tokens = {-1, 4, 6}, " + weights(wq=(6, 6), wk=(6, 6), wv=(6, 6), bv=(6,), wo=(6, 6))
)
V = "v0 = MatMul(x, wv) v1 = Reshape(v0, heads) v = Transpose<perm = [0, 2, 1, 3]>(v1) "
BIASED = "v9 = MatMul(x, wv) v0 = Add(v9, bv) v1 = Reshape(v0, heads) v = Transpose<perm = [0, 2, 1, 3]>(v1) "
SCORES = (
    "q0 = MatMul(x, wq) q1 = Reshape(q0, heads) q = Transpose<perm = [0, 2, 1, 3]>(q1) "
    "k0 = MatMul(x, wk) k1 = Reshape(k0, heads) k = Transpose<perm = [0, 2, 3, 1]>(k1) s = MatMul(q, k) "
)
SOFT = "c = Softmax<axis = -1>(s) "
GATE = "a = Mul(keep, c) rows = Add(a, b) "
NORM = "sum = ReduceSum<keepdims = 0>(rows, last) column = Unsqueeze(sum, last) normal = Div(rows, column) "
END = "y = MatMul(normal, v)"
PLAIN = SCORES + SOFT + V + GATE + NORM + END


def gpsa(body: str, made: str = "y", constants: str = CONSTANTS) -> str:
    return graph("batch, 4, 6 x", made, body, constants)


@both
@pytest.mark.parametrize("v", [V, BIASED])
def test_the_gate_itself(step, v):
    assert_sound(step, gpsa(PLAIN.replace(V, v)), 1)


@both
@pytest.mark.parametrize(
    "soft",
    [
        "c = Softmax<axis = 2>(s) ",
        "c = Softmax<axis = 1>(s) ",
        "c = Sigmoid(s) ",
        "c = Relu(s) ",
        "c = Hardmax<axis = 2>(s) ",
        "c = Identity(s) ",
    ],
)
def test_a_content_half_whose_rows_do_not_sum_to_one(step, soft):
    assert_sound(step, gpsa(PLAIN.replace(SOFT, soft)), 0, "softmax over the keys")


@both
@pytest.mark.parametrize("soft", ["c = Softmax<axis = 3>(s) ", "c = Softmax(s) "])
def test_the_last_axis_however_it_is_written(step, soft):
    assert_sound(step, gpsa(PLAIN.replace(SOFT, soft)), 1)


@both
@pytest.mark.parametrize(
    "extra",
    [
        "u = Neg(v0)",
        "u = Neg(v1)",
        "u = Neg(v)",
        "t = Transpose<perm = [0, 2, 1, 3]>(v) u = Reshape(t, tokens)",
        "t = Reshape(v0, heads) u = Neg(t)",
        "u = ReduceMax(v1)",
    ],
)
@pytest.mark.parametrize("v", [V, BIASED])
def test_v_keeps_its_numbers_for_every_other_reader(step, extra, v):
    """The share of the content half may go into the weights of v only where nobody else reads v, at any place on its way."""
    assert_sound(step, gpsa(PLAIN.replace(V, v) + " " + extra, "y; u"), 1)


@both
@pytest.mark.parametrize("made", ["y; v0", "y; v1", "y; v", "v1; y", "y; c"])
def test_v_keeps_its_numbers_where_it_is_handed_out(step, made):
    assert_sound(step, gpsa(PLAIN, made), 1)


@both
def test_v_that_two_gates_read(step):
    second = " a2 = Mul(keep, c) rows2 = Add(a2, b) z = MatMul(rows2, v)"
    assert_sound(step, gpsa(PLAIN + second, "y; z"))


@both
def test_the_bias_of_v_has_another_reader(step):
    body = PLAIN.replace(V, BIASED) + " u = Add(bv, x)"
    assert_sound(step, gpsa(body, "y; u"), 1)
    assert_sound(step, gpsa(PLAIN.replace(V, BIASED), "y; v9"), 1)


@both
@pytest.mark.parametrize(
    ("norm", "count"),
    [
        ("column = ReduceSum<keepdims = 1>(rows, last) normal = Div(rows, column) ", 1),
        ("sum = ReduceSum<keepdims = 0>(rows, last) column = Unsqueeze(sum, first) normal = Div(rows, column) ", 0),
        ("column = ReduceSum<keepdims = 1>(rows, first) normal = Div(rows, column) ", 0),
        ("column = ReduceSum<keepdims = 1>(rows, last) normal = Div(column, rows) ", 0),
        ("column = ReduceMean<keepdims = 1>(rows, last) normal = Div(rows, column) ", 0),
        ("column = ReduceSum<keepdims = 1>(rows, last) normal = Mul(rows, column) ", 0),
        ("normal = Identity(rows) ", 0),
    ],
)
def test_rows_that_are_divided_by_something_else(step, norm, count):
    assert_sound(step, gpsa(PLAIN.replace(NORM, norm)), count)


@both
@pytest.mark.parametrize("made", ["y; rows", "y; normal", "y; column", "y; sum"])
def test_rows_that_are_handed_out(step, made):
    assert_sound(step, gpsa(PLAIN, made))


@both
def test_a_constant_in_the_place_of_the_position_term_that_is_added_to_every_key(step):
    """(1, H, 1, 1): its sum over one key is the gate, the sum over all keys is not."""
    term = "float[1, 2, 1, 1] b = {0.3, 0.8}, "
    assert_sound(step, gpsa(PLAIN, constants=CONSTANTS.replace(TERM, term)), 0, "of shape")


@both
def test_one_gate_for_all_heads(step):
    term = "float[1, 1, 4, 4] b = {" + ", ".join(["0.075"] * 16) + "}, "
    constants = CONSTANTS.replace(TERM, term).replace(
        "float[1, 2, 1, 1] keep = {0.7, 0.2}", "float[1, 1, 1, 1] keep = {0.7}"
    )
    assert_sound(step, gpsa(PLAIN, constants=constants), 0)


@both
def test_a_sum_that_divides_the_columns(step):
    """One head of one image: a sum without the axis is a row, and broadcast as one."""
    body = PLAIN.replace(NORM, "column = ReduceSum<keepdims = 0>(rows, last) normal = Div(rows, column) ")
    term = "float[1, 1, 4, 4] b = {" + ", ".join(["0.01", "0.2", "0.05", "0.04"] * 4) + "}, "
    constants = CONSTANTS.replace(TERM, term).replace("keep = {0.7, 0.2}", "keep = {0.7}")
    constants = constants.replace("float[1, 2, 1, 1] keep", "float[1, 1, 1, 1] keep").replace(
        "{-1, 4, 2, 3}", "{1, 4, 1, 6}"
    )
    text = gpsa(body, constants=constants).replace("batch, 4, 6] x", "1, 4, 6] x")
    assert_sound(step, text, 0, "other uses than the product")
    assert_sound(step, text.replace("ReduceSum<keepdims = 0>", "ReduceSum<keepdims = 1>"), 1)


@both
def test_in_half_precision(step):
    exact = (
        CONSTANTS.replace("{0.7, 0.2}", "{0.75, 0.25}")
        .replace("0.075", "0.0625")
        .replace("0.2,", "0.1875,")
        .replace("0.2}", "0.1875}")
    )
    assert_sound(step, half(gpsa(PLAIN, constants=exact)), 1)
    assert_sound(step, half(gpsa(PLAIN.replace(V, BIASED) + " u = Neg(v1)", "y; u", constants=exact)), 1)


@both
@pytest.mark.parametrize(
    "end",
    [
        "y = MatMul(v, normal)",
        "t = Transpose<perm = [0, 1, 3, 2]>(normal) y = MatMul(t, v)",
        "d = Relu(normal) y = MatMul(d, v)",
    ],
)
def test_rows_that_do_not_go_straight_into_the_product(step, end):
    if end.startswith("y = MatMul(v"):
        end = "w = Transpose<perm = [0, 1, 3, 2]>(v) y = MatMul(w, normal)"
    assert_sound(step, gpsa(PLAIN.replace(END, end)), 0, "other uses than the product")


@both
def test_values_that_are_no_heads_keep_the_factor(step):
    v = "v = Transpose<perm = [0, 2, 1, 3]>(v1) "
    body = PLAIN.replace(V, "v0 = MatMul(x, wv) v2 = Relu(v0) v1 = Reshape(v2, heads) " + v)
    assert_sound(step, gpsa(body))
    body = PLAIN.replace(V, "v0 = Relu(x) v1 = Reshape(v0, heads) " + v)
    assert_sound(step, gpsa(body))


def test_the_bias_of_v_takes_the_factor_too():
    model = assert_sound(GateInAttention, gpsa(PLAIN.replace(V, BIASED)), 1)
    assert any(name.startswith("bv_gated") for name in model.graph.initializers)
    assert [node.op_type for node in model.graph].count("Mul") == 0
