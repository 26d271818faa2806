"""The decoding of a distribution over distances, cut from an export: two levels, four sides, three bins."""

from __future__ import annotations

import pytest
from graph_asserts import assert_refuses, assert_rewrites, parse

from edgesmith.exporter.patterns.boxes.box_distances import DistancesByReduction, DistancesOnMaps

SIDES = """
<ir_version: 10, opset_import: ["" : 20]>
head (float[BATCH, 12, 4, 6] fine, float[BATCH, 12, 2, 3] coarse) => (float[BATCH, 30, 4] y)
<int64[3] flat = {0, 12, -1}, int64[4] sides = {0, -1, 4, 3}, float[3] cells = {0, 1, 2}>
{
  a = Reshape(fine, flat)
  at = Transpose<perm = [0, 2, 1]>(a)
  b = Reshape(coarse, flat)
  bt = Transpose<perm = [0, 2, 1]>(b)
  c = Concat<axis = 1>(at, bt)
  s = Reshape(c, sides)
  p = Softmax<axis = -1>(s)
  y = MatMul(p, cells)
}
"""
FIXED = SIDES.replace("BATCH", "2")


@pytest.mark.parametrize("batch", ["2", "batch"])
def test_the_product_becomes_a_sum(batch):
    to = ["Reshape", "Transpose"] * 2 + ["Concat", "Reshape", "Softmax", "Mul", "ReduceSum"]
    assert_rewrites(DistancesByReduction, SIDES.replace("BATCH", batch), to=to)


@pytest.mark.parametrize("batch", ["2", "batch"])
def test_on_maps_only_the_distances_are_transposed(batch):
    to = ["Reshape"] * 3 + ["Concat", "Softmax", "Mul", "ReduceSum", "Transpose"]
    model = assert_rewrites(DistancesOnMaps, SIDES.replace("BATCH", batch), to=to)
    turned = list(model.graph)[-1]
    assert list(turned.inputs[0].shape)[1:] == [4, 30]


def test_one_transpose_behind_the_levels_is_known_too():
    one = FIXED.replace("at = Transpose<perm = [0, 2, 1]>(a)", "").replace("bt = Transpose<perm = [0, 2, 1]>(b)", "")
    one = one.replace("c = Concat<axis = 1>(at, bt)", "ab = Concat<axis = 2>(a, b) c = Transpose<perm = [0, 2, 1]>(ab)")
    assert_rewrites(DistancesOnMaps, one, to=["Reshape"] * 3 + ["Concat", "Softmax", "Mul", "ReduceSum", "Transpose"])


def test_a_column_keeps_its_axis():
    column = FIXED.replace("float[3] cells", "float[3, 1] cells").replace("float[2, 30, 4] y", "float[2, 30, 4, 1] y")
    assert_rewrites(
        DistancesByReduction,
        column,
        to=["Reshape", "Transpose"] * 2 + ["Concat", "Reshape", "Softmax", "Mul", "ReduceSum"],
    )
    assert DistancesOnMaps().run(parse(column)).count == 0


@pytest.mark.parametrize("step", [DistancesByReduction, DistancesOnMaps])
def test_refuses_when_the_distribution_is_read_too(step):
    tapped = FIXED.replace("float[2, 30, 4] y)", "float[2, 30, 4] y, float[2, 30, 4, 3] p)")
    assert_refuses(step, tapped, because="other uses")


def test_refuses_sides_that_are_no_axis_of_their_own():
    other = FIXED.replace("int64[4] sides = {0, -1, 4, 3}", "int64[3] sides = {0, -1, 3}")
    assert_refuses(
        DistancesOnMaps, other.replace("float[2, 30, 4] y", "float[2, 120] y"), because="expected (B, N, 4, 3)"
    )


def test_refuses_cells_that_are_no_transposed_maps():
    other = FIXED.replace("s = Reshape(c, sides)", "n = Neg(c) s = Reshape(n, sides)")
    assert_refuses(DistancesOnMaps, other, because="come from Neg")


def test_attention_is_no_expectation():
    text = """
<ir_version: 10, opset_import: ["" : 20]>
g (float[2, 4, 5] s, float[2, 5, 1] v) => (float[2, 4, 1] y) { p = Softmax<axis = -1>(s) y = MatMul(p, v) }
"""
    assert DistancesByReduction().run(parse(text)).count == 0


def test_a_softmax_over_another_axis_is_no_expectation():
    assert DistancesByReduction().run(parse(FIXED.replace("Softmax<axis = -1>", "Softmax<axis = 2>"))).count == 0
