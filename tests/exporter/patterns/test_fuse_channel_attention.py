"""DaViT's channel attention as a pair of nodes: 6 tokens, two groups of three channels, in the forms of both versions."""

from __future__ import annotations

import pytest
from fused_graphs import assert_needs_kernel, assert_reference, fused_nodes
from graph_asserts import assert_refuses, assert_rewrites, weights

from edgesmith.exporter.patterns.fuse.channel_attention import FuseChannelAttention

PACKED = f"""
<ir_version: 10, opset_import: ["" : 20]>
channels (float[batch, 6, 6] x) => (float[batch, 6, 6] y)
<{weights(w=(6, 18), b=(18,))}, int64[5] heads = {{-1, 6, 3, 2, 3}}, int64[3] ones = {{1, 1, 1}}, int64[1] first = {{0}},
 float scale = {{0.57735}}, int64[3] rows = {{-1, 6, 6}}>
{{
  a0 = MatMul(x, w)
  a1 = Add(a0, b)
  a2 = Reshape(a1, heads)
  a = Transpose<perm = [2, 0, 3, 1, 4]>(a2)
  q0, k0, v0 = Split<axis = 0>(a, ones)
  q = Squeeze(q0, first)
  k = Squeeze(k0, first)
  v = Squeeze(v0, first)
  ks = Mul(k, scale)
  kt = Transpose<perm = [0, 1, 3, 2]>(ks)
  s = MatMul(kt, v)
  p = Softmax<axis = -1>(s)
  qt = Transpose<perm = [0, 1, 3, 2]>(q)
  o = MatMul(p, qt)
  o1 = Transpose<perm = [0, 3, 1, 2]>(o)
  y = Reshape(o1, rows)
}}
"""
SECOND = (
    PACKED.replace("ks = Mul(k, scale)", "qs = Mul(q, scale)")
    .replace("kt = Transpose<perm = [0, 1, 3, 2]>(ks)", "qst = Transpose<perm = [0, 1, 3, 2]>(qs)")
    .replace("s = MatMul(kt, v)", "s = MatMul(qst, k)")
    .replace("qt = Transpose<perm = [0, 1, 3, 2]>(q)", "vt = Transpose<perm = [0, 1, 3, 2]>(v)")
    .replace("o = MatMul(p, qt)", "o = MatMul(p, vt)")
)
FUSED = ["MatMul", "Add", "Reshape", "ChannelGram", "ChannelApply"]
STEP = FuseChannelAttention


@pytest.mark.parametrize(("text", "version"), [(PACKED, 1), (SECOND, 2)], ids=["v1", "v2"])
def test_the_block_becomes_a_pair_that_reads_the_packed_product(text, version):
    model = assert_rewrites(STEP, text, to=FUSED)
    assert_reference(model)
    gram, apply = fused_nodes(model)
    assert gram.inputs[0] is apply.inputs[0] and apply.inputs[1] is gram.outputs[0]
    assert [node.attributes["version"].value for node in (gram, apply)] == [version, version]
    assert gram.attributes["splits"].value == 1  # six tokens have nothing to share out
    assert apply.attributes["scale"].value == pytest.approx(0.57735)
    assert "w_qkv" not in model.graph.initializers


def test_layers_apart_are_packed():
    text = PACKED.replace(
        weights(w=(6, 18), b=(18,)), weights(wq=(6, 6), wk=(6, 6), wv=(6, 6)) + ", int64[4] apart = {-1, 6, 2, 3}"
    ).replace("int64[5] heads = {-1, 6, 3, 2, 3}, int64[3] ones = {1, 1, 1}, int64[1] first = {0},", "")
    start, end = text.index("  a0 ="), text.index("  ks =")
    ways = "".join(
        f"  {c}0 = MatMul(x, w{c})\n  {c}1 = Reshape({c}0, apart)\n  {c} = Transpose<perm = [0, 2, 1, 3]>({c}1)\n"
        for c in "qkv"
    )
    model = assert_rewrites(STEP, text[:start] + ways + text[end:], to=[op for op in FUSED if op != "Add"])
    assert_reference(model)


def test_many_tokens_are_shared_out():
    text = PACKED.replace("6, 6]", "640, 6]").replace("{-1, 6, 3, 2, 3}", "{-1, 640, 3, 2, 3}")
    model = assert_rewrites(STEP, text.replace("{-1, 6, 6}", "{-1, 640, 6}"), to=FUSED)
    assert fused_nodes(model)[0].attributes["splits"].value == 10
    assert_reference(model)


def test_refuses_a_factor_after_the_softmax_that_is_scaled():
    text = PACKED.replace(
        "qt = Transpose<perm = [0, 1, 3, 2]>(q)", "q9 = Mul(q, scale) qt = Transpose<perm = [0, 1, 3, 2]>(q9)"
    )
    assert_refuses(STEP, text, because="multiplied by a number of its own")


def test_refuses_when_the_product_is_read_elsewhere():
    assert_refuses(STEP, PACKED.replace("6] y)", "6] y, float[batch, 6, 18] a1)"), because="outside the attention")


def test_refuses_a_width_without_a_kernel_where_plugins_take_the_nodes():
    assert_needs_kernel(STEP, PACKED, because="ChannelGram has no float16 kernel for D = 3")
