"""The end of a detector's head, cut from an export: two levels become cells."""

from __future__ import annotations

import pytest
from graph_asserts import assert_refuses, assert_rewrites, parse

from edgesmith.exporter.patterns.boxes.merge_levels import MergeLevels

LEVELS = """
<ir_version: 10, opset_import: ["" : 20]>
head (float[BATCH, 3, 4, 6] fine, float[BATCH, 3, 2, 3] coarse) => (float[BATCH, 30, 3] y)
<int64[3] flat = {0, 3, -1}>
{
  a = Reshape(fine, flat)
  at = Transpose<perm = [0, 2, 1]>(a)
  b = Reshape(coarse, flat)
  bt = Transpose<perm = [0, 2, 1]>(b)
  y = Concat<axis = 1>(at, bt)
}
"""


@pytest.mark.parametrize("batch", ["2", "batch"])
def test_one_transpose_behind_the_concat(batch):
    text = LEVELS.replace("BATCH", batch)
    model = assert_rewrites(MergeLevels, text, to=["Reshape", "Reshape", "Concat", "Transpose"])
    assert list(model.graph)[-1].op_type == "Transpose"


def test_another_axis_and_order_of_axes():
    """perm [1, 2, 0] and the last axis: the Concat is along what the last axis was made of."""
    text = """
<ir_version: 10, opset_import: ["" : 20]>
g (float[2, 3, 4] a, float[5, 3, 4] b) => (float[3, 4, 7] y)
{
  at = Transpose<perm = [1, 2, 0]>(a)
  bt = Transpose<perm = [1, 2, 0]>(b)
  y = Concat<axis = -1>(at, bt)
}
"""
    assert_rewrites(MergeLevels, text, to=["Concat", "Transpose"])


def test_refuses_when_a_level_is_read_too():
    tapped = LEVELS.replace("BATCH", "2").replace("float[2, 30, 3] y)", "float[2, 30, 3] y, float[2, 24, 3] at)")
    assert_refuses(MergeLevels, tapped, because="other uses")


def test_refuses_levels_that_are_turned_differently():
    text = """
<ir_version: 10, opset_import: ["" : 20]>
g (float[2, 3, 3] a, float[2, 3, 3] b) => (float[2, 6, 3] y)
{
  at = Transpose<perm = [0, 2, 1]>(a)
  bt = Transpose<perm = [0, 1, 2]>(b)
  y = Concat<axis = 1>(at, bt)
}
"""
    assert_refuses(MergeLevels, text, because="2 ways")


def test_a_concat_of_other_values_stays():
    text = LEVELS.replace("BATCH", "2").replace(
        "bt = Transpose<perm = [0, 2, 1]>(b)", "n = Neg(b) bt = Reshape(n, back)"
    )
    text = text.replace("{0, 3, -1}>", "{0, 3, -1}, int64[3] back = {0, 6, 3}>")
    assert MergeLevels().run(parse(text)).count == 0
