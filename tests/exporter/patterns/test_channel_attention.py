"""Channel attention cut from DaViT's export (timm): two heads of two channels, five tokens."""

from __future__ import annotations

import pytest
from graph_asserts import assert_refuses, assert_rewrites, parse

from edgesmith.exporter.patterns.attention.channel_attention import PackedChannels, SeparateChannels
from edgesmith.exporter.patterns.cleanup.no_ops import DropNoOps
from edgesmith.exporter.patterns.tokens.branches_on_maps import BranchesOnMaps

CHANNELS = """
<ir_version: 10, opset_import: ["" : 20]>
block (float[BATCH, 5, 4] x) => (float[BATCH, 5, 4] y)
<KNOWN int64[5] five = {B, 5, 3, 2, 2}, int64[1] zero = {0}, int64[1] one = {1}, int64[1] two = {2}, int64[1] three = {3},
 float scale = {0.7071}, int64[3] tokens = {B, 5, 4}, float[4, 12] w = {WEIGHTS},
 float[12] bias = {0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2}>
{
  a = MatMul(x, w)
  b = Add(a, bias)
  c = Reshape(b, five)
  d = Transpose<perm = [2, 0, 3, 1, 4]>(c)
  q1 = Slice(d, zero, one, zero)
  q = Squeeze(q1, zero)
  k1 = Slice(d, one, two, zero)
  k = Squeeze(k1, zero)
  v1 = Slice(d, two, three, zero)
  v = Squeeze(v1, zero)
  s = Mul(k, scale)
  t = Transpose<perm = [0, 1, 3, 2]>(s)
  e = MatMul(t, v)
  f = Softmax<axis = -1>(e)
  g = Transpose<perm = [0, 1, 3, 2]>(q)
  h = MatMul(f, g)
  i = Transpose<perm = [0, 3, 1, 2]>(h)
  y0 = Reshape(i, tokens)
  y = Neg(y0)
}
"""
CHANNELS = CHANNELS.replace("{WEIGHTS}", "{" + ", ".join(f"{(7 * i % 23 - 11) / 11:.3f}" for i in range(48)) + "}")
FIXED = CHANNELS.replace("KNOWN", "").replace("BATCH", "2").replace("{B,", "{2,")
SHAPES = {"a": "batch,5,12", "b": "batch,5,12", "c": "batch,5,3,2,2", "d": "3,batch,2,5,2", "q": "batch,2,5,2", "k": "batch,2,5,2",
          "v": "batch,2,5,2", "s": "batch,2,5,2", "t": "batch,2,2,5", "e": "batch,2,2,2", "f": "batch,2,2,2", "g": "batch,2,2,5",
          "h": "batch,2,2,5", "i": "batch,5,2,2", "y0": "batch,5,4"}  # fmt: skip
KNOWN = " ".join(f"float[{shape}] {name}," for name, shape in SHAPES.items())
OPEN = CHANNELS.replace("KNOWN", KNOWN).replace("BATCH", "batch").replace("{B,", "{-1,")
CORE = ["MatMul", "Softmax", "MatMul", "Reshape", "Transpose", "Neg"]
PACKED = ["MatMul", "Add", "Transpose", "Reshape", "Split", "Transpose", *CORE]
SEPARATE = [*["MatMul", "Add", "Reshape", "Transpose"] * 3, *CORE]


@pytest.mark.parametrize("text", [FIXED, OPEN], ids=["fixed", "open"])
@pytest.mark.parametrize(("step", "ops"), [(PackedChannels, PACKED), (SeparateChannels, SEPARATE)])
def test_one_way_in_and_one_way_out(step, ops, text):
    assert_rewrites(step, text, to=ops)


def test_the_second_form_of_timm_too():
    """q^T k, then times v: the same chain with the roles moved by one."""
    second = FIXED.replace("MatMul(t, v)", "MatMul(t, k)").replace("Mul(k, scale)", "Mul(q, scale)")
    second = second.replace("g = Transpose<perm = [0, 1, 3, 2]>(q)", "g = Transpose<perm = [0, 1, 3, 2]>(v)")
    assert_rewrites(PackedChannels, second, to=PACKED)


def test_a_map_that_comes_as_one_and_goes_as_one_is_not_flattened_between():
    """DropNoOps has run before: what this pass leaves stays."""
    text = FIXED.replace("(float[2, 5, 4] x) => (float[2, 5, 4] y)", "(float[2, 1, 5, 4] x) => (float[2, 1, 5, 4] y)")
    text = text.replace("int64[1] zero", "int64[4] map = {2, 1, 5, 4}, int64[1] zero")
    text = text.replace("y = Neg(y0)", "y1 = Reshape(y0, map)\n  y = Neg(y1)")
    model = assert_rewrites(SeparateChannels, text, to=SEPARATE)
    assert DropNoOps().run(model).count == 0


def test_refuses_when_the_product_is_read_elsewhere():
    tapped = FIXED.replace("float[2, 5, 4] y)", "float[2, 5, 4] y, float[2, 5, 12] b)")
    assert_refuses(PackedChannels, tapped, because="read outside")


def test_refuses_a_scaled_third_factor():
    scaled = FIXED.replace("perm = [0, 1, 3, 2]>(q)", "perm = [0, 1, 3, 2]>(qs)").replace(
        "  g = T", "  qs = Mul(q, scale)\n  g = T"
    )
    assert_refuses(SeparateChannels, scaled, because="number of its own")


def test_attention_of_tokens_is_left_to_others():
    tokens = FIXED.replace("t = Transpose<perm = [0, 1, 3, 2]>(s)", "t = Identity(s)").replace(
        "MatMul(t, v)", "MatMul(t, w2)"
    )
    tokens = tokens.replace("  e = ", "  w2 = Transpose<perm = [0, 1, 3, 2]>(v)\n  e = ").replace(
        "MatMul(f, g)", "MatMul(f, q)"
    )
    tokens = tokens.replace("i = Transpose<perm = [0, 3, 1, 2]>(h)", "i = Transpose<perm = [0, 2, 1, 3]>(h)")
    record = PackedChannels().run(parse(tokens))
    assert record.count == 0 and not record.refused


BRANCH = """
<ir_version: 10, opset_import: ["" : 20]>
g (float[2, 3, SIDE, SIDE] m, float[2, SIDE, SIDE, 3] h) => (float[2, 3, SIDE, SIDE] y)
<float[3, 3] p = {1.0, 0.5, 0.2, 0.1, -1.0, 0.3, 0.7, 0.9, 0.0}, float[3] b = {0.1, 0.2, 0.3},
 float[3, 1, 1, 1] dw = {1.0, 0.5, 0.25}>
{
  t = Transpose<perm = [0, 2, 3, 1]>(m)
  l = MatMul(h, p)
  k = Add(b, l)
  s = Add(t, k)
  u = Transpose<perm = [0, 3, 1, 2]>(s)
  y = Conv<group = 3>(u, dw)
}
"""
MLP = BRANCH.replace("h) => ", "h) => ").replace("l = MatMul(h, p)", "n = MatMul(h, wide)\n  a = Gelu(n)\n  l = MatMul(a, narrow)").replace(
    "<float[3, 3] p", "<float[3, 6] wide = {W}, float[6, 3] narrow = {W}, float[3, 3] p"
).replace("{W}", "{" + ", ".join(f"{(5 * i % 17 - 8) / 8:.3f}" for i in range(18)) + "}")  # fmt: skip


def test_a_branch_that_returns_to_a_map_ends_in_a_convolution():
    assert_rewrites(BranchesOnMaps, BRANCH.replace("SIDE", "4"), to=["Transpose", "Conv", "Add", "Conv"])


def test_an_mlp_on_a_large_map_becomes_two():
    assert_rewrites(BranchesOnMaps, MLP.replace("SIDE", "28"), to=["Transpose", "Conv", "Gelu", "Conv", "Add", "Conv"])


def test_an_mlp_on_a_small_map_stays():
    assert BranchesOnMaps().run(parse(MLP.replace("SIDE", "14"))).count == 0


def test_refuses_a_branch_with_other_uses():
    text = BRANCH.replace("SIDE", "4").replace("float[2, 3, 4, 4] y)", "float[2, 3, 4, 4] y, float[2, 4, 4, 3] k)")
    assert_refuses(BranchesOnMaps, text, because="other uses")


@pytest.mark.parametrize("step", [PackedChannels, SeparateChannels])
def test_refuses_a_projection_that_counts_tokens_before_pictures(step: type):
    text = FIXED.replace("a = MatMul(x, w)", "xt = Transpose<perm = [1, 0, 2]>(x) a = MatMul(xt, w)")
    text = text.replace("five = {2, 5,", "five = {5, 2,").replace("perm = [2, 0, 3, 1, 4]", "perm = [2, 1, 3, 0, 4]")
    assert_refuses(step, text, because="its tokens before its pictures")


@pytest.mark.parametrize("step", [PackedChannels, SeparateChannels])
def test_a_view_that_does_not_fit_the_tried_batch_is_no_way_back(step: type):
    text = OPEN.replace("tokens = {-1, 5, 4}", "tokens = {-1, 25, 4}").replace(
        "float[batch, 5, 4] y)", "float[fifth, 25, 4] y)"
    )
    assert_refuses(
        step, text.replace("float[batch,5,4] y0,", "").replace(" float[batch,5,4] y0", ""), because="not brought back"
    )
