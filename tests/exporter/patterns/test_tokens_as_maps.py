"""The ways between tokens and maps of DaViT, cut from its export: a block's MLP between two depthwise convolutions."""

from __future__ import annotations

import pytest
from graph_asserts import assert_refuses, assert_rewrites, op_types, parse

from edgesmith.exporter.patterns.matchers.views import merge_reshapes, merge_transposes
from edgesmith.exporter.patterns.tokens.flatten_late import FlattenLate
from edgesmith.exporter.patterns.tokens.tokens_as_maps import TokensAsMaps

MLP = """
<ir_version: 10, opset_import: ["" : 20]>
block (float[BATCH, 4, 2, 3] m) => (float[BATCH, 4, 2, 3] y)
<float[4] scale = {1.0, 0.5, 2.0, 1.5}, float[4] bias = {0.1, 0.2, -0.3, 0.0}, int64[3] flat = {B, 4, 6},
 int64[4] back = {B, 4, 2, 3}, float[4, 4] w = {1.0, 0.5, 0.2, 0.1, -1.0, 0.3, 0.7, 0.9, 0.0, 1.0, 0.4, 0.6, 0.8, 0.2, 1.1, 0.3}>
{
  f = Reshape(m, flat)
  t = Transpose<perm = [0, 2, 1]>(f)
  n = LayerNormalization<axis = -1>(t, scale, bias)
  h = MatMul(n, w)
  l = Add(h, bias)
  g = Gelu(l)
  s = Add(t, g)
  u = Transpose<perm = [0, 2, 1]>(s)
  y = Reshape(u, back)
}
"""
FIXED = MLP.replace("BATCH", "2").replace("B,", "2,")
KNOWN = ", ".join(
    ["float[batch, 4, 6] f", *(f"float[batch, 6, 4] {name}" for name in "tnhlgs"), "float[batch, 4, 6] u"]
)
OPEN = MLP.replace("BATCH", "batch").replace("B,", "-1,").replace("<float[4] scale", f"<{KNOWN}, float[4] scale")
TOKENS = ["LayerNormalization", "MatMul", "Add", "Gelu", "Add"]


@pytest.mark.parametrize("text", [FIXED, OPEN], ids=["fixed", "open"])
def test_transposes_have_four_axes_and_stand_at_the_map(text):
    model = assert_rewrites(TokensAsMaps, text, to=["Transpose", "Reshape", *TOKENS, "Reshape", "Transpose"], count=2)
    perms = [tuple(node.attributes["perm"].value) for node in model.graph if node.op_type == "Transpose"]
    assert perms == [(0, 2, 3, 1), (0, 3, 1, 2)]


def test_a_map_that_stays_tokens_is_left_alone():
    only_down = FIXED.replace("float[2, 4, 2, 3] y)", "float[2, 4, 6] u)").replace("  y = Reshape(u, back)\n", "")
    model = parse(only_down)
    assert TokensAsMaps().run(model).count == 0


def test_rows_that_a_softmax_runs_over_are_no_map():
    """A detector's distances: (B, 4 sides of 6 bins, cells) turned to (B, cells, 4, 6), a distribution each."""
    text = """
    <ir_version: 10, opset_import: ["" : 20]>
    distances (float[2, 24, 5] joined) => (float[2, 5, 4, 6] y) <int64[4] sides = {2, 5, 4, 6}> {
      t = Transpose<perm = [0, 2, 1]>(joined)
      r = Reshape(t, sides)
      y = Softmax<axis = AXIS>(r)
    }
    """
    assert TokensAsMaps().run(parse(text.replace("AXIS", "-1"))).count == 0
    assert TokensAsMaps().run(parse(text.replace("AXIS", "1"))).count == 1  # over channels: a segmentation's map


def test_refuses_when_the_transposed_tokens_are_read_elsewhere():
    tapped = FIXED.replace("float[2, 4, 2, 3] y)", "float[2, 4, 2, 3] y, float[2, 4, 6] u)")
    assert_refuses(TokensAsMaps, tapped, because="other uses")


@pytest.mark.parametrize("text", [FIXED, OPEN], ids=["fixed", "open"])
def test_the_view_sinks_until_it_meets_its_opposite(text):
    model = parse(text)
    TokensAsMaps().run(model)
    assert_rewrites(FlattenLate, model, to=["Transpose", *TOKENS, "Transpose"], count=5)


def test_the_view_stays_above_what_reads_tokens():
    model = parse(FIXED.replace("l = Add(h, bias)", "l = ReduceMean<keepdims = 1>(h, one)").replace(
        "<float[4] scale", "<int64[1] one = {1}, float[4] scale"))  # fmt: skip
    TokensAsMaps().run(model)
    FlattenLate().run(model)
    assert op_types(model).count("Reshape") == 3  # before the mean, beside it to the sum, and back to a map


def test_reshapes_and_transposes_in_a_row_become_one():
    model = parse("""
    <ir_version: 10, opset_import: ["" : 20]>
    g (float[2, 3, 4] x) => (float[4, 6] y)
    <int64[2] a = {6, 4}, int64[3] b = {2, 3, 4}, int64[2] c = {4, 6}>
    {
      r = Reshape(x, a)
      s = Reshape(r, b)
      t = Transpose<perm = [0, 2, 1]>(s)
      u = Transpose<perm = [2, 1, 0]>(t)
      y = Reshape(u, c)
    }
    """)
    assert merge_reshapes(model) == 2 and merge_transposes(model) == 1
    assert op_types(model) == ["Transpose", "Reshape"]
    assert tuple(model.graph.node(0).attributes["perm"].value) == (1, 2, 0)
