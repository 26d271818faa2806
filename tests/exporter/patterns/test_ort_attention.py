"""Attention as ONNX Runtime's own node, with the projections inside or in front of it."""

import pytest
from graph_asserts import assert_refuses, assert_rewrites, parse, weights

from edgesmith.exporter.patterns.attention.ort_attention import OrtAttention
from edgesmith.exporter.patterns.cleanup.no_ops import DropNoOps

HEAD = '<ir_version: 10, opset_import: ["" : 20]>\n'
CONSTANTS = """int64[4] four = {-1, 4, 2, 3}, int64[2] halves = {6, 6}, int64[3] thirds = {6, 6, 6},
 int64[3] joined = {-1, 4, 6}, int64[4] map = {-1, 2, 2, 6}, float scale = {0.5773503}"""
HEADS = """
  q1 = Reshape(q0, four) q = Transpose<perm = [0, 2, 1, 3]>(q1)
  k1 = Reshape(k0, four) k = Transpose<perm = [0, 2, 3, 1]>(k1)
  v1 = Reshape(v0, four) v = Transpose<perm = [0, 2, 1, 3]>(v1)
  s0 = MatMul(q, k) s = Mul(s0, scale) p = Softmax<axis = -1>(s) o = MatMul(p, v)
  ot = Transpose<perm = [0, 2, 1, 3]>(o)
"""


def packed(bias: bool = True, outputs: str = "", out: str = "y = Reshape(ot, joined)") -> str:
    linear = "z = MatMul(x, w) qkv = Add(z, b)" if bias else "qkv = MatMul(x, w)"
    return f"""{HEAD} g (float[batch, 4, 6] x) => (float[batch, 4, 6] y{outputs}) <{weights(w=(6, 18), b=(18,))}, {CONSTANTS}>
    {{ {linear} q0, k0, v0 = Split<axis = -1>(qkv, thirds) {HEADS} {out} }}"""


MODULATED = f"""{HEAD} g (float[batch, 2, 2, 6] x) => (float[batch, 2, 2, 6] y)
<{weights(wq=(6, 6), bq=(6,), wkv=(6, 12))}, {CONSTANTS}>
{{
  qz = MatMul(x, wq) q0 = Add(qz, bq)
  kv = MatMul(x, wkv) k0, v0 = Split<axis = -1>(kv, halves) {HEADS}
  a = Reshape(ot, map) y = Add(a, v0)
}}"""


@pytest.mark.parametrize("bias", [True, False])
def test_attention_takes_the_projections_inside(bias):
    model = assert_rewrites(OrtAttention, packed(bias), to=["Attention"])
    (node,) = model.graph
    assert node.domain == "com.microsoft"
    assert len(node.inputs) == 3  # without a bias input the runtime crashes
    assert model.graph.opset_imports["com.microsoft"] == 1


def test_values_that_others_read_stay_projected_once():
    to = [
        "MatMul",
        "Add",
        "Reshape",
        "MatMul",
        "Split",
        "Slice",
        "Slice",
        *["Reshape"] * 3,
        "MultiHeadAttention",
        "Add",
    ]
    model = assert_rewrites(OrtAttention, MODULATED, to=to)
    assert len([node for node in model.graph if node.op_type == "MatMul"]) == 2


CROSS = f"""{HEAD} g (float[batch, 4, 6] x, float[batch, 4, 6] z) => (float[batch, 4, 6] y)
<{weights(wq=(6, 6), wkv=(6, 12))}, {CONSTANTS}>
{{ q0 = MatMul(x, wq) kv = MatMul(z, wkv) k0, v0 = Split<axis = -1>(kv, halves) {HEADS} y = Reshape(ot, joined) }}"""


def test_a_projection_of_two_is_cut_once_and_no_pass_finds_more_to_cut():
    model = assert_rewrites(OrtAttention, CROSS, to=["MatMul", "MatMul", "Split", "MultiHeadAttention"])
    assert DropNoOps().run(model).count == 0


def test_refuses_a_position_term_on_the_probabilities():
    text = packed().replace("o = MatMul(p, v)", "p2 = Add(p, scale) o = MatMul(p2, v)")
    assert_refuses(OrtAttention, text, because="position term")


def test_refuses_a_context_that_stays_in_heads():
    text = packed(out="y9 = Relu(ot) y = Reshape(y9, joined)")
    assert_refuses(OrtAttention, text, because="not brought back")


def test_refuses_when_another_node_reads_the_probabilities():
    assert_refuses(OrtAttention, packed(outputs=", float[batch, 2, 4, 4] p"), because="other uses")


def test_a_softmax_that_is_no_attention_is_not_mentioned():
    text = f"{HEAD} g (float[batch, 4] x) => (float[batch, 4] y) {{ y = Softmax<axis = -1>(x) }}"
    record = OrtAttention().run(parse(text))
    assert (record.count, record.refused) == (0, ())
