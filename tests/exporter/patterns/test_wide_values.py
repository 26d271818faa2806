"""Keys get zeros up to the width of the values; where that is not possible or too much, they stay."""

import numpy as np
import pytest
from graph_asserts import assert_refuses, assert_rewrites, parse, run, weights

from edgesmith.exporter.patterns.attention.heads_apart import PackedHeads
from edgesmith.exporter.patterns.attention.wide_values import WidenKeys


def block(
    keys: int = 2, values: int = 4, bias: str = "s = Add(s1, bias)", out: str = "", q_bias: str = "q0 = Add(qz, bq)"
) -> str:
    arrays = weights(wq=(6, 2 * keys), bq=(2 * keys,), wk=(6, 2 * keys), wv=(6, 2 * values), bias=(2, 4, 4))
    return f"""<ir_version: 10, opset_import: ["" : 20]> g (float[batch, 4, 6] x) => (float[batch, 4, {2 * values}] y{out})
    <{arrays}, float scale = {{0.7}}, int64[4] narrow = {{-1, 4, 2, {keys}}}, int64[4] wide = {{-1, 4, 2, {values}}},
     int64[3] joined = {{-1, 4, {2 * values}}}>
    {{ qz = MatMul(x, wq) {q_bias} k0 = MatMul(x, wk) v0 = MatMul(x, wv)
      q1 = Reshape(q0, narrow) q = Transpose<perm = [0, 2, 1, 3]>(q1)
      k1 = Reshape(k0, narrow) k = Transpose<perm = [0, 2, 3, 1]>(k1)
      v1 = Reshape(v0, wide) v = Transpose<perm = [0, 2, 1, 3]>(v1)
      s0 = MatMul(q, k) s1 = Mul(s0, scale) {bias} p = Softmax<axis = -1>(s) o = MatMul(p, v)
      ot = Transpose<perm = [0, 2, 1, 3]>(o) y = Reshape(ot, joined) }}"""


PACKED = ["MatMul", "Add", "Reshape", "Transpose", "Split", "Transpose", "MatMul", "Mul"]
BEHIND = ["Softmax", "MatMul", "Transpose", "Reshape"]


def test_q_k_and_v_become_one_product_of_one_width():
    model = assert_rewrites(WidenKeys, block(), to=[*PACKED, "Add", *BEHIND])
    product = next(node for node in model.graph if node.op_type == "MatMul")
    assert product.inputs[1].const_value.shape == (6, 24)
    (split,) = (node for node in model.graph if node.op_type == "Split")
    assert {tuple(value.shape)[1:] for value in split.outputs} == {(2, 4, 4)}


def test_without_a_bias_it_is_the_normal_form():
    model = assert_rewrites(WidenKeys, block(bias="s = Identity(s1)").replace("s = Identity(s1)", "").replace("Softmax<axis = -1>(s)", "Softmax<axis = -1>(s1)"), to=[*PACKED, *BEHIND])  # fmt: skip
    before = run(model)[0]
    assert PackedHeads().run(model).count == 0
    np.testing.assert_array_equal(run(model)[0], before)


def test_one_width_needs_nothing():
    assert WidenKeys().run(parse(block(keys=4))).count == 0
    assert WidenKeys().run(parse(block(keys=4, values=2))).count == 0


@pytest.mark.parametrize(
    ("text", "because"),
    [
        (block(keys=1, values=8), "values are 8 wide and keys 1"),
        (block(out=", float[batch, 4, 4] q0"), "read outside"),
    ],
)
def test_refuses(text, because):
    assert_refuses(WidenKeys, text, because=because)


def test_layers_of_different_inputs_stay_three():
    text = block().replace("k0 = MatMul(x, wk)", "u = Relu(x) k0 = MatMul(u, wk)")
    to = ["Relu", *["MatMul"] * 3, "Add", *["Reshape"] * 3, *["Transpose"] * 3, "MatMul", "Mul", "Add", *BEHIND]
    assert_rewrites(WidenKeys, text, to=to)


def test_scores_that_others_read_stay():
    assert WidenKeys().run(parse(block(out=", float[batch, 2, 4, 4] s0"))).count == 0
