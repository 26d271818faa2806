"""Linear layers between convolutions become 1x1 convolutions; no transpose gets wider."""

from graph_asserts import assert_refuses, assert_rewrites, weights

from edgesmith.exporter.patterns.tokens.linears_on_maps import LinearsOnBlockedMaps, LinearsOnMaps

MLP = f"""
<ir_version: 10, opset_import: ["" : 20]>
mlp (float[batch, 5, 6, 4] x) => (float[batch, 5, 6, 4] y)
<{weights(m1=(4, 8), b1=(8,), w=(8, 1, 3, 3), m2=(8, 4), b2=(4,))}>
{{
  p = MatMul(x, m1)
  h = Add(p, b1)
  t = Transpose<perm = [0, 3, 1, 2]>(h)
  d = Conv<group = 8, pads = [1, 1, 1, 1]>(t, w)
  k = Transpose<perm = [0, 2, 3, 1]>(d)
  g = Gelu(k)
  q = MatMul(g, m2)
  y = Add(q, b2)
}}
"""
GATE = f"""
<ir_version: 10, opset_import: ["" : 20]>
gate (float[batch, 5, 6, 4] x) => (float[batch, 5, 6, 4] y)
<{weights(ms=(4, 4), bs=(4,), w=(4, 1, 3, 3), mv=(4, 4), mo=(4, 4), bo=(4,))}>
{{
  s = MatMul(x, ms)
  h = Add(bs, s)
  t = Transpose<perm = [0, 3, 1, 2]>(h)
  d = Conv<group = 4, pads = [1, 1, 1, 1]>(t, w)
  k = Transpose<perm = [0, 2, 3, 1]>(d)
  v = MatMul(x, mv)
  g = Mul(k, v)
  q = MatMul(g, mo)
  y = Add(q, bo)
}}
"""

NARROW = f"""
<ir_version: 10, opset_import: ["" : 20]>
narrow (float[batch, 5, 6, 9] x) => (float[batch, 4, 5, 6] y)
<{weights(m=(9, 4), b=(4,), w=(4, 1, 3, 3))}>
{{
  p = MatMul(x, m)
  h = Add(p, b)
  t = Transpose<perm = [0, 3, 1, 2]>(h)
  y = Conv<group = 4, pads = [1, 1, 1, 1]>(t, w)
}}
"""


def test_an_mlp_with_a_depthwise_convolution_stays_on_the_map():
    model = assert_rewrites(LinearsOnMaps, MLP, to=["Transpose", "Conv", "Conv", "Gelu", "Conv", "Transpose"], count=2)
    assert [list(node.outputs[0].shape)[1:] for node in model.graph if node.op_type == "Transpose"] == [
        [4, 5, 6],
        [5, 6, 4],
    ]


def test_a_gate_between_a_map_and_a_linear_layer_stays_on_the_map():
    # the transpose of x is written once for each layer that reads it: CleanUp makes them one
    to = ["Transpose", "Transpose", "Conv", "Conv", "Conv", "Mul", "Conv", "Transpose"]
    assert_rewrites(LinearsOnMaps, GATE, to=to, count=3)


def test_refuses_to_widen_a_transpose():
    assert_refuses(LinearsOnMaps, NARROW, because="widen from 4 to 9")


def test_refuses_when_the_linear_layer_has_other_uses():
    tapped = MLP.replace("6, 4] y)", "6, 4] y, float[batch, 5, 6, 8] h)").replace("g = Gelu(k)", "g = Add(k, h)")
    assert_refuses(LinearsOnMaps, tapped, because="other uses")


def test_a_blocked_layout_wants_eight_channels():
    assert_refuses(LinearsOnBlockedMaps, NARROW, because="from 9 to 4 channels, expected 8 or more")
    wide = MLP.replace("6, 4]", "6, 8]").replace(
        weights(m1=(4, 8), b1=(8,), w=(8, 1, 3, 3), m2=(8, 4), b2=(4,)),
        weights(m1=(8, 8), b1=(8,), w=(8, 1, 3, 3), m2=(8, 8), b2=(8,)),
    )
    assert_rewrites(LinearsOnBlockedMaps, wide, to=["Transpose", "Conv", "Conv", "Gelu", "Conv", "Transpose"], count=2)
