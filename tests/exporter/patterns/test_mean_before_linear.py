"""The end of DaViT, cut from its export: the last residual sum, the mean over tokens, what follows."""

from __future__ import annotations

import pytest
from graph_asserts import assert_refuses, assert_rewrites, parse

from edgesmith.exporter.patterns.cleanup.no_ops import DropNoOps
from edgesmith.exporter.patterns.tokens.mean_before_linear import MeanBeforeLinear

HEAD = """
<ir_version: 10, opset_import: ["" : 20]>
head (float[BATCH, 5, 2] t, float[BATCH, 5, 3] g) => (float[BATCH, 2] y)
<float[3, 2] w = {1.0, 0.5, -0.2, 0.1, -1.0, 0.3}, float[2] b = {0.1, -0.2}, int64[1] tokens = {1}>
{
  m = MatMul(g, w)
  l = Add(b, m)
  s = Add(t, l)
  p = ReduceMean<keepdims = 0>(s, tokens)
  y = Neg(p)
}
"""


@pytest.mark.parametrize("batch", ["2", "batch"])
def test_the_mean_comes_first(batch):
    to = ["ReduceMean", "ReduceMean", "MatMul", "Add", "Add", "Neg"]
    assert_rewrites(MeanBeforeLinear, HEAD.replace("BATCH", batch), to=to)


def test_the_order_of_the_sum_does_not_matter():
    swapped = HEAD.replace("BATCH", "2").replace("s = Add(t, l)", "s = Add(l, t)")
    assert_rewrites(MeanBeforeLinear, swapped, to=["ReduceMean", "ReduceMean", "MatMul", "Add", "Add", "Neg"])


def test_a_mean_over_another_axis_stays():
    other = HEAD.replace("BATCH", "2").replace("tokens = {1}", "tokens = {2}").replace("float[2, 2] y", "float[2, 5] y")
    assert MeanBeforeLinear().run(parse(other)).count == 0


def test_refuses_when_the_tokens_are_read_too():
    tapped = HEAD.replace("BATCH", "2").replace("float[2, 2] y)", "float[2, 2] y, float[2, 5, 2] s)")
    assert_refuses(MeanBeforeLinear, tapped, because="other uses")


MAP = """
<ir_version: 10, opset_import: ["" : 20]>
head (float[2, 6, 2] t, float[2, 6, 3] g) => (float[2, 2, 1, 1] y)
<float[3, 2] w = {1.0, 0.5, -0.2, 0.1, -1.0, 0.3}, float[2] b = {0.1, -0.2}, int64[2] sides = {-1, -2}, int64[4] map = {2, 2, 3, 2}>
{
  m = MatMul(g, w)
  l = Add(b, m)
  s = Add(t, l)
  r = Reshape(s, map)
  u = Transpose<perm = [0, 3, 1, 2]>(r)
  p = ReduceMean<keepdims = 1>(u, sides)
  y = Neg(p)
}
"""


def test_the_mean_over_the_map_of_the_tokens_too():
    to = ["ReduceMean", "ReduceMean", "MatMul", "Add", "Add", "Reshape", "Neg"]
    assert_rewrites(MeanBeforeLinear, MAP, to=to)


def test_the_view_that_it_ends_with_and_the_one_behind_it_are_one():
    """DropNoOps has run before: what this pass leaves stays."""
    flat = MAP.replace("float[2, 2, 1, 1] y)", "float[2, 2] y)").replace(
        "y = Neg(p)", "f = Reshape(p, rows)\n  y = Neg(f)"
    )
    flat = flat.replace("int64[4] map", "int64[2] rows = {2, 2}, int64[4] map")
    model = assert_rewrites(MeanBeforeLinear, flat, to=["ReduceMean", "ReduceMean", "MatMul", "Add", "Add", "Neg"])
    assert DropNoOps().run(model).count == 0
