"""The choice of a class token moves up to the queries of the last attention."""

import onnx_ir as ir
from graph_asserts import assert_refuses, assert_rewrites, op_types, parse, weights

from edgesmith.exporter.patterns.attention.unread_tokens import DropUnreadTokens
from edgesmith.graph.read import sizes

BLOCK = f"""
<ir_version: 10, opset_import: ["" : 20]>
last (float[batch, 5, 6] x) => (float[batch, 3] y)
<{weights(g=(6,), h=(6,), w=(6, 18), b=(18,), wp=(6, 6), bp=(6,), w1=(6, 12), b1=(12,), w2=(12, 6), wh=(6, 3))},
 int64[5] five = {{-1, 5, 3, 2, 3}}, int64[3] joined = {{-1, 5, 6}}, int64 n0 = {{0}}, int64 n1 = {{1}}, int64 n2 = {{2}},
 float scale = {{0.5773503}}, float[1, 5, 6] place = {{{", ".join(str(i / 10) for i in range(30))}}}>
{{
  x0 = Add(x, place)
  l = LayerNormalization<axis = -1>(x0, g, h)
  z = MatMul(l, w)
  qkv = Add(z, b)
  r = Reshape(qkv, five)
  t = Transpose<perm = [2, 0, 3, 1, 4]>(r)
  q = Gather<axis = 0>(t, n0)
  k0 = Gather<axis = 0>(t, n1)
  v = Gather<axis = 0>(t, n2)
  k = Transpose<perm = [0, 1, 3, 2]>(k0)
  s0 = MatMul(q, k)
  s = Mul(s0, scale)
  p = Softmax<axis = -1>(s)
  o = MatMul(p, v)
  ot = Transpose<perm = [0, 2, 1, 3]>(o)
  c = Reshape(ot, joined)
  m = MatMul(c, wp)
  mb = Add(m, bp)
  x1 = Add(x0, mb)
  l2 = LayerNormalization<axis = -1>(x1, g, h)
  f = MatMul(l2, w1)
  fb = Add(f, b1)
  a = Gelu(fb)
  f2 = MatMul(a, w2)
  x2 = Add(x1, f2)
  l3 = LayerNormalization<axis = -1>(x2, g, h)
  token = Gather<axis = 1>(l3, n0)
  y = MatMul(token, wh)
}}
"""
ATTENTION = [
    *["MatMul", "Add", "Reshape", "Transpose"] * 3,
    "MatMul",
    "Mul",
    "Softmax",
    "MatMul",
    "Transpose",
    "Reshape",
]
AFTER = ["MatMul", "Add", "Add", "LayerNormalization", "MatMul", "Add", "Gelu", "MatMul", "Add", "LayerNormalization"]
BEFORE = ["Add", "LayerNormalization", "Slice", "Slice"]


def test_only_keys_and_values_see_all_tokens():
    model = assert_rewrites(DropUnreadTokens, BLOCK, to=[*BEFORE, *ATTENTION, *AFTER, "Squeeze", "MatMul"])
    rows = {node.op_type: (sizes(node.outputs[0]) or ())[1:] for node in model.graph}
    assert rows["Softmax"] == (2, 1, 5)
    assert rows["Gelu"] == (1, 12)


def test_the_last_token_and_a_slice_of_tokens():
    assert_rewrites(DropUnreadTokens, BLOCK.replace("Gather<axis = 1>(l3, n0)", "Gather<axis = 1>(l3, n2)"),
                    to=[*BEFORE, *ATTENTION, *AFTER, "Squeeze", "MatMul"])  # fmt: skip
    text = BLOCK.replace("token = Gather<axis = 1>(l3, n0)", "token = Slice(l3, one, three, one)").replace(
        "float scale", "int64[1] one = {1}, int64[1] three = {3}, float scale"
    )
    text = text.replace("(float[batch, 3] y)", "(float[batch, 2, 3] y)")
    assert_rewrites(DropUnreadTokens, text, to=[*BEFORE, *ATTENTION, *AFTER, "MatMul"])


def test_refuses_when_most_tokens_are_read():
    text = BLOCK.replace("token = Gather<axis = 1>(l3, n0)", "token = Slice(l3, one, five5, one)").replace(
        "float scale", "int64[1] one = {1}, int64[1] five5 = {5}, float scale"
    )
    assert_refuses(
        DropUnreadTokens, text.replace("(float[batch, 3] y)", "(float[batch, 4, 3] y)"), because="4 of 5 tokens"
    )


def test_what_others_read_is_computed_for_all_tokens():
    tapped = BLOCK.replace("(float[batch, 3] y)", "(float[batch, 3] y, float[batch, 5, 6] x1)")
    model = parse(tapped)
    assert DropUnreadTokens().run(model).count == 1
    rows = {node.op_type: (sizes(node.outputs[0]) or ())[1:] for node in model.graph}
    assert rows["Softmax"] == (2, 5, 5)
    assert rows["Gelu"] == (1, 12)


def test_a_choice_right_after_other_readers_stays():
    text = """
    <ir_version: 10, opset_import: ["" : 20]>
    g (float[batch, 5, 6] x) => (float[batch, 6] y, float[batch, 5, 6] a) <int64 n0 = {0}>
    { a = Relu(x) y = Gather<axis = 1>(a, n0) }
    """
    model: ir.Model = parse(text)
    assert DropUnreadTokens().run(model).count == 0
    assert op_types(model) == ["Relu", "Gather"]
