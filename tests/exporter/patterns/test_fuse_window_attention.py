"""DaViT's spatial block as one node on the map: a 4 x 4 map, windows of 2 x 2, two heads of two channels."""

from __future__ import annotations

import pytest
from fused_graphs import assert_needs_kernel, assert_reference, fused_nodes
from graph_asserts import assert_refuses, assert_rewrites, parse, weights

from edgesmith.exporter.patterns.fuse.window_attention import FuseWindowAttention

WINDOWS = f"""
<ir_version: 10, opset_import: ["" : 20]>
block (float[BATCH, 4, 4, 4] x) => (float[BATCH, 16, 4] y)
<KNOWN {weights(w=(4, 12), bias=(12,), proj=(4, 4), b=(4,))}, float scale = {{0.6}},
 int64[6] cut = {{B, 2, 2, 2, 2, 4}}, int64[3] rows = {{W, 4, 4}}, int64[5] heads = {{W, 4, 3, 2, 2}}, int64[3] ones = {{1, 1, 1}},
 int64[1] first = {{0}}, int64[6] grid = {{B, 2, 2, 2, 2, 4}}, int64[3] image = {{B, 16, 4}}>
{{
  c = Reshape(x, cut)
  d = Transpose<perm = [0, 1, 3, 2, 4, 5]>(c)
  e = Reshape(d, rows)
  f = MatMul(e, w)
  g = Add(f, bias)
  h = Reshape(g, heads)
  i = Transpose<perm = [2, 0, 3, 1, 4]>(h)
  q0, k0, v0 = Split<axis = 0>(i, ones)
  q = Squeeze(q0, first)
  k = Squeeze(k0, first)
  v = Squeeze(v0, first)
  l = Transpose<perm = [0, 1, 3, 2]>(k)
  m0 = MatMul(q, l)
  m = Mul(m0, scale)
  n = Softmax(m)
  o = MatMul(n, v)
  r = Transpose<perm = [0, 2, 1, 3]>(o)
  s = Reshape(r, rows)
  t = MatMul(s, proj)
  u = Add(t, b)
  z = Reshape(u, grid)
  a = Transpose<perm = [0, 1, 3, 2, 4, 5]>(z)
  y = Reshape(a, image)
}}
"""
FIXED = WINDOWS.replace("KNOWN", "").replace("BATCH", "2").replace("{B,", "{2,").replace("{W,", "{8,")
# an open batch as the exporter writes it: every value knows its shape
SHAPES = {"c": "batch,2,2,2,2,4", "d": "batch,2,2,2,2,4", "e": "win,4,4", "f": "win,4,12", "g": "win,4,12", "h": "win,4,3,2,2",
          "i": "3,win,2,4,2", "q": "win,2,4,2", "k": "win,2,4,2", "v": "win,2,4,2", "o": "win,2,4,2", "r": "win,4,2,2",
          "s": "win,4,4", "t": "win,4,4", "u": "win,4,4", "z": "batch,2,2,2,2,4", "a": "batch,2,2,2,2,4"}  # fmt: skip
KNOWN = " ".join(f"float[{shape}] {name}," for name, shape in SHAPES.items())
OPEN = WINDOWS.replace("KNOWN", KNOWN).replace("BATCH", "batch").replace("{B,", "{-1,").replace("{W,", "{-1,")
FUSED = ["MatMul", "Add", "Reshape", "WindowAttention", "MatMul", "Add"]
STEP = FuseWindowAttention


@pytest.mark.parametrize("text", [FIXED, OPEN], ids=["fixed", "open"])
def test_the_block_becomes_one_node_on_the_map(text):
    model = assert_rewrites(STEP, text, to=[*FUSED, "Reshape"])
    assert_reference(model)
    (node,) = fused_nodes(model)
    assert (node.attributes["window"].value, node.attributes["scale"].value) == (2, pytest.approx(0.6))


def test_tokens_become_a_map_first():
    text = FIXED.replace("(float[2, 4, 4, 4] x)", "(float[2, 16, 4] x)")
    assert_reference(assert_rewrites(STEP, text, to=["Reshape", *FUSED, "Reshape"]))


def test_a_map_that_stays_one():
    text = FIXED.replace("int64[3] image = {2, 16, 4}", "int64[4] image = {2, 4, 4, 4}").replace(
        "[2, 16, 4] y", "[2, 4, 4, 4] y"
    )
    assert_rewrites(STEP, text, to=FUSED)


def test_refuses_windows_that_are_not_square():
    text = FIXED.replace("{2, 2, 2, 2, 2, 4}", "{2, 2, 2, 1, 4, 4}").replace("{8, 4, 4}", "{4, 8, 4}")
    assert_refuses(STEP, text.replace("{8, 4, 3, 2, 2}", "{4, 8, 3, 2, 2}"), because="windows of 2 x 4 tokens")


def test_refuses_when_the_product_is_read_elsewhere():
    assert_refuses(STEP, FIXED.replace("16, 4] y)", "16, 4] y, float[8, 4, 12] g)"), because="outside the attention")


def test_refuses_a_result_that_stays_in_windows():
    text = FIXED[: FIXED.index("  z =")] + "  y = Relu(u)\n}\n"
    text = text.replace(", int64[6] grid = {2, 2, 2, 2, 2, 4}, int64[3] image = {2, 16, 4}", "")
    assert_refuses(STEP, text.replace("float[2, 16, 4] y", "float[8, 4, 4] y"), because="back into the map")


def test_attention_over_all_tokens_is_none_of_it():
    text = (
        FIXED.replace("  e = Reshape(d, rows)\n", "")
        .replace("MatMul(e, w)", "MatMul(d, w)")
        .replace("[2, 4, 4, 4] x", "[8, 4, 4] x")
    )
    text = text.replace("  c = Reshape(x, cut)\n  d = Transpose<perm = [0, 1, 3, 2, 4, 5]>(c)\n", "").replace(
        "MatMul(d, w)", "MatMul(x, w)"
    )
    record = STEP().run(parse(text.replace("int64[6] cut = {2, 2, 2, 2, 2, 4}, ", "")))
    assert (record.count, record.refused) == (0, ())


def test_refuses_a_width_without_a_kernel_where_plugins_take_the_node():
    assert_needs_kernel(STEP, FIXED, because="no float16 kernel for D = 2")
