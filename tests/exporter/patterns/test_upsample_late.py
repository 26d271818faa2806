"""1x1 convolutions of a map that was enlarged and joined: they move before the Resize."""

import pytest
from graph_asserts import assert_refuses, assert_rewrites, weights

from edgesmith.exporter.patterns.convolutions.upsample_late import UpsampleLate

WEIGHTS = weights(w=(4, 8, 1, 1), b=(4,), v=(6, 8, 1, 1), k=(4, 8, 3, 3), g=(4, 4, 1, 1))
RESIZE = 'Resize<coordinate_transformation_mode = "asymmetric", mode = "nearest", nearest_mode = "floor">'
NECK = f"""
<ir_version: 10, opset_import: ["" : 20]>
neck (float[batch, 3, 6, 10] c, float[batch, 5, 3, 5] u) => (float[batch, 4, yh, yw] y, float[batch, 6, zh, zw] z)
<float[4] scales = {{1.0, 1.0, 2.0, 2.0}}, {WEIGHTS}>
{{
  up = {RESIZE}(u, , scales)
  cat = Concat<axis = 1>(c, up)
  y = Conv<kernel_shape = [1, 1], strides = [1, 1], pads = [0, 0, 0, 0]>(cat, w, b)
  z = Conv<kernel_shape = [1, 1], strides = [1, 1], pads = [0, 0, 0, 0]>(cat, v)
}}
"""
MOVED = ["Conv", "Conv", "Resize", "Add"]


@pytest.mark.parametrize("text", [NECK, NECK.replace("Concat<axis = 1>(c, up)", "Concat<axis = 1>(up, c)")])
def test_both_convolutions_move_before_the_resize(text):
    model = assert_rewrites(UpsampleLate, text, to=MOVED * 2)
    assert [value.name for value in model.graph.outputs] == ["y", "z"]
    assert {tuple(node.inputs[1].shape)[1] for node in model.graph if node.op_type == "Conv"} == {3, 5}


def test_what_is_not_enlarged_stays_joined():
    text = NECK.replace("3, 6, 10] c,", "1, 6, 10] c, float[batch, 2, 6, 10] d,").replace("(c, up)", "(c, up, d)")
    assert_rewrites(UpsampleLate, text, to=["Concat", *MOVED, *MOVED])


def test_two_enlarged_maps_are_two_sums():
    text = NECK.replace("5, 3, 5] u", "2, 3, 5] u, float[batch, 3, 2, 2] t").replace("(c, up)", "(c, up, wide)")
    text = text.replace("  cat =", f"  wide = {RESIZE}(t, , more)\n  cat =")
    text = text.replace("<float[4] scales", "<float[4] more = {1.0, 1.0, 3.0, 5.0}, float[4] scales")
    assert_rewrites(UpsampleLate, text, to=[*MOVED, "Conv", "Resize", "Add"] * 2)


def test_a_join_that_nothing_enlarged_is_left_alone():
    text = NECK.replace("(c, up)", "(c, r)").replace(f"up = {RESIZE}(u, , scales)", "r = Relu(u)")
    text = text.replace("5, 3, 5] u", "5, 6, 10] u")
    assert_rewrites(UpsampleLate, text, to=["Relu", "Concat", "Conv", "Conv"], count=0)


@pytest.mark.parametrize(
    ("before", "after", "because"),
    [
        ('mode = "nearest", nearest', 'mode = "linear", nearest', "linear interpolation"),
        ("zw] z)", "zw] z, float[batch, 8, 6, 10] cat)", "other uses than convolutions"),
        ("zw] z)", "zw] z, float[batch, 5, 6, 10] up)", "enlarged map has other uses"),
        ("(cat, v)\n", "(cat, v)\n  o = Relu(cat)\n", "other uses than convolutions"),
        ("[1, 1], strides = [1, 1], pads = [0, 0, 0, 0]>(cat, w", "[3, 3], pads = [1, 1, 1, 1]>(cat, k", "more than one pixel"),
        ("<kernel_shape = [1, 1], strides = [1, 1], pads = [0, 0, 0, 0]>(cat, w", "<group = 2>(cat, g", "of groups"),
        ("strides = [1, 1], pads = [0, 0, 0, 0]>(cat, w", "strides = [2, 2]>(cat, w", "a stride"),
        ("strides = [1, 1], pads = [0, 0, 0, 0]>(cat, w", "pads = [1, 0, 0, 0]>(cat, w", "padding"),
        ("(u, , scales)", "(u, , , sides)", "constant scales"),
    ],
)  # fmt: skip
def test_refuses_what_upsampling_later_would_change(before, after, because):
    assert before in NECK
    text = NECK.replace(before, after, 1).replace(
        "<float[4] scales", "<int64[4] sides = {2, 5, 6, 10}, float[4] scales"
    )
    assert_refuses(UpsampleLate, text, because=because)


def test_refuses_a_map_that_is_joined_twice():
    text = (
        NECK.replace("3, 6, 10] c", "2, 6, 10] c").replace("5, 3, 5] u", "4, 3, 5] u").replace("(c, up)", "(c, c, up)")
    )
    assert_refuses(UpsampleLate, text, because="different ones")


def test_refuses_a_map_that_shrinks():
    text = NECK.replace("5, 3, 5] u", "5, 12, 20] u").replace("2.0, 2.0}", "0.5, 0.5}")
    assert_refuses(UpsampleLate, text, because="not below 1")
