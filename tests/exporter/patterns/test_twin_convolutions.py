"""The class and box convolutions of a level become one; the cut stands behind the join of the levels."""

import pytest
from graph_asserts import assert_refuses, assert_rewrites, weights

from edgesmith.exporter.patterns.convolutions.twin_convolutions import MergeTwinConvolutions

WEIGHTS = weights(k0=(5, 4, 3, 3), a=(5,), s0=(6, 4, 3, 3), b=(6,), k1=(5, 7, 3, 3), s1=(6, 7, 3, 3))
HEADS = f"""
<ir_version: 10, opset_import: ["" : 20]>
heads (float[batch, 4, 4, 6] p3, float[batch, 7, 2, 3] p4) => (float[batch, 5, 30] logits, float[batch, 6, 30] sides)
<int64[3] row = {{0, 0, -1}}, {WEIGHTS}>
{{
  c0 = Conv<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(p3, k0, a)
  r0 = Conv<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(p3, s0, b)
  c1 = Conv<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(p4, k1)
  r1 = Conv<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(p4, s1, b)
  fc0 = Reshape(c0, row)
  fc1 = Reshape(c1, row)
  logits = Concat<axis = 2>(fc0, fc1)
  fr0 = Reshape(r0, row)
  fr1 = Reshape(r1, row)
  sides = Concat<axis = 2>(fr0, fr1)
}}
"""
TRANSPOSED = (
    HEADS.replace("5, 30] logits, float[batch, 6, 30]", "30, 5] logits, float[batch, 30, 6]")
    .replace(
        "logits = Concat<axis = 2>(fc0, fc1)",
        "lc = Concat<axis = 2>(fc0, fc1)\n  logits = Transpose<perm = [0, 2, 1]>(lc)",
    )
    .replace(
        "sides = Concat<axis = 2>(fr0, fr1)",
        "sc = Concat<axis = 2>(fr0, fr1)\n  sides = Transpose<perm = [0, 2, 1]>(sc)",
    )
)
MERGED = ["Conv", "Conv", "Reshape", "Reshape", "Concat", "Split"]


@pytest.mark.parametrize("text", [HEADS, HEADS.replace("batch", "3"), HEADS.replace("axis = 2", "axis = -1")])
def test_one_convolution_a_level_and_one_cut(text):
    model = assert_rewrites(MergeTwinConvolutions, text, to=MERGED)
    assert sorted(tuple(node.inputs[1].shape) for node in model.graph if node.op_type == "Conv") == [
        (11, 4, 3, 3),
        (11, 7, 3, 3),
    ]
    assert [value.name for value in model.graph.outputs] == ["logits", "sides"]


def test_the_cut_stands_behind_the_transpose_where_both_have_one():
    model = assert_rewrites(MergeTwinConvolutions, TRANSPOSED, to=[*MERGED, "Transpose"])
    split = model.graph.node(-1)
    assert (split.op_type, split.attributes["axis"].value) == ("Split", 2)


def test_the_cut_stands_before_a_transpose_that_only_one_has():
    text = TRANSPOSED.replace("sides = Transpose<perm = [0, 2, 1]>(sc)", "sides = Relu(sc)").replace("30, 6]", "6, 30]")
    assert_rewrites(MergeTwinConvolutions, text, to=[*MERGED, "Transpose", "Relu"])


def test_the_first_join_may_be_read_before_the_last():
    """Behind the first stands its activation before the second is joined, as exported."""
    text = TRANSPOSED.replace("\n  sc =", "\n  s = Sigmoid(logits)\n  sc =").replace("30, 5] logits", "30, 5] s")
    assert_rewrites(MergeTwinConvolutions, text, to=[*MERGED, "Transpose", "Sigmoid"])


def test_the_levels_may_be_joined_from_coarse_to_fine():
    text = HEADS.replace("(fc0, fc1)", "(fc1, fc0)").replace("(fr0, fr1)", "(fr1, fr0)")
    assert_rewrites(MergeTwinConvolutions, text, to=MERGED)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("Conv<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(p3, s0, b)",
         "Conv<kernel_shape = [3, 3], dilations = [2, 2], pads = [2, 2, 2, 2]>(p3, s0, b)"),
        ("r0 = Conv<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(p3, s0, b)",
         "q = Relu(p3)\n  r0 = Conv<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(q, s0, b)"),
        ("30] sides)", "30] sides, float[batch, 6, 4, 6] r0)"),
        ("30] sides)", "30] sides, float[batch, 6, 24] fr0)"),
    ],
)  # fmt: skip
def test_refuses_when_one_level_has_no_twins(before, after):
    """Another dilation, another map, a map or a row of cells that is read elsewhere: the other level alone is no gain."""
    assert before in HEADS
    assert_refuses(MergeTwinConvolutions, HEADS.replace(before, after), because="not every level")


def test_refuses_joins_in_different_orders():
    assert_refuses(MergeTwinConvolutions, HEADS.replace("(fr0, fr1)", "(fr1, fr0)"), because="different orders")


def test_refuses_twins_that_meet_in_one_join():
    text = HEADS.replace("sides = Concat<axis = 2>(fr0, fr1)", "sides = Concat<axis = 2>(fr0, fr1)")
    text = text.replace("(fc0, fc1)", "(fc0, fd0, fc1)").replace("logits =", "fd0 = Reshape(d0, row)\n  logits =")
    text = text.replace("  c1 =", "  d0 = Conv<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(p3, k0)\n  c1 =")
    assert_refuses(MergeTwinConvolutions, text.replace("5, 30]", "5, 54]"), because="not every level")


def test_twins_that_go_different_ways_stay_apart():
    """The neck's pairs: one half is joined, the other goes on into the next block."""
    text = f"""
    <ir_version: 10, opset_import: ["" : 20]>
    neck (float[batch, 4, 5, 6] x) => (float[batch, 6, 5, 6] y)
    <{weights(w=(3, 4, 1, 1), v=(3, 4, 1, 1), u=(3, 3, 1, 1))}>
    {{
      a = Conv(x, w)
      b = Conv(x, v)
      c = Conv(b, u)
      y = Concat<axis = 1>(a, c)
    }}
    """
    assert_rewrites(MergeTwinConvolutions, text, to=["Conv", "Conv", "Conv", "Concat"], count=0)
