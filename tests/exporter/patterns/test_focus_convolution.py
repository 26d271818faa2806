"""The stem of DAMO-YOLO: four phases and a convolution on them are one convolution of the image."""

from itertools import permutations

import numpy as np
import pytest
from graph_asserts import assert_refuses, assert_rewrites, op_types, parse, run, weights

from edgesmith.exporter.patterns.convolutions.focus_convolution import FocusConvolution, cuts

END = 9223372036854775807
FOCUS = f"""
<ir_version: 10, opset_import: ["" : 20]>
stem (float[batch, 3, height, width] images) => (float[batch, 5, rows, columns] y)
<int64[1] zero = {{0}}, int64[1] one = {{1}}, int64[1] two = {{2}}, int64[1] three = {{3}}, int64[1] end = {{{END}}},
 int64[1] early = {{7}}, {weights(w=(5, 12, 3, 3), b=(5,), g=(5, 12, 1, 1))}>
{{
  even = Slice(images, zero, end, two, two)
  p00 = Slice(even, zero, end, three, two)
  odd = Slice(images, one, end, two, two)
  p10 = Slice(odd, zero, end, three, two)
  p01 = Slice(even, one, end, three, two)
  p11 = Slice(odd, one, end, three, two)
  cat = Concat<axis = 1>(p00, p10, p01, p11)
  y = Conv<group = 1, kernel_shape = [3, 3], strides = [1, 1], pads = [1, 1, 1, 1]>(cat, w, b)
}}
"""
SIZED = FOCUS.replace("height, width", "8, 10")


def test_becomes_one_6x6_convolution_of_stride_2():
    conv = assert_rewrites(FocusConvolution, SIZED, to=["Conv"]).graph.node(0)
    assert conv.inputs[1].shape == (5, 3, 6, 6)
    assert tuple(conv.attributes["strides"].value) == (2, 2)
    assert tuple(conv.attributes["pads"].value) == (2, 2, 2, 2)


@pytest.mark.parametrize("size", [2, 4, 6])
def test_open_sizes_stay_open(size):
    model, plain = parse(FOCUS), parse(FOCUS)
    assert FocusConvolution().run(model).count == 1
    assert op_types(model) == ["Conv"]
    np.testing.assert_allclose(run(model, batch=size)[0], run(plain, batch=size)[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("order", list(permutations(("p00", "p10", "p01", "p11"))))
def test_the_phases_may_stand_in_any_order(order):
    assert_rewrites(FocusConvolution, SIZED.replace("p00, p10, p01, p11", ", ".join(order)), to=["Conv"])


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("(cat, w, b)", "(cat, w)"),
        ("strides = [1, 1], pads = [1, 1, 1, 1]", "strides = [2, 3], pads = [1, 0, 2, 1]"),
        ("kernel_shape = [3, 3], strides = [1, 1], pads = [1, 1, 1, 1]>(cat, w, b)", "kernel_shape = [1, 1]>(cat, g)"),
    ],
)
def test_other_strides_pads_and_kernels_fold_too(before, after):
    assert before in SIZED
    assert_rewrites(FocusConvolution, SIZED.replace(before, after), to=["Conv"])


def test_columns_before_rows_and_both_in_one_slice():
    text = SIZED.replace("even = Slice(images, zero, end, two, two)", "even = Slice(images, zero, end, three, two)")
    text = text.replace("p00 = Slice(even, zero, end, three, two)", "p00 = Slice(even, zero, end, two, two)")
    text = text.replace("p01 = Slice(even, one, end, three, two)", "p01 = Slice(images, starts, ends, both, steps)")
    text = text.replace(
        "<int64[1] zero", f"<int64[2] starts = {{0, 1}}, int64[2] ends = {{{END}, {END}}}, int64[2] both = {{2, 3}}, "
        "int64[2] steps = {2, 2}, int64[1] zero"
    )  # fmt: skip
    assert_rewrites(FocusConvolution, text, to=["Conv"])


def test_a_stem_without_phases_is_left_alone():
    text = SIZED.replace("Concat<axis = 1>(p00, p10, p01, p11)", "Concat<axis = 1>(p00, p10, p01, r)")
    text = text.replace("  cat =", "  r = Relu(p11)\n  cat =")
    assert FocusConvolution().run(parse(text)).count == 0


@pytest.mark.parametrize(
    ("before", "after", "because"),
    [
        ("p00, p10, p01, p11)", "p00, p10, p01, p01)", "each of the four once"),
        ("Slice(odd, one, end, three, two)", "Slice(odd, one, early, three, two)", "ends at 7"),
        ("group = 1", "group = 2", "one group"),
        ("kernel_shape = [3, 3]", "dilations = [2, 2], kernel_shape = [3, 3]", "without dilation"),
        ("pads = [1, 1, 1, 1]", 'auto_pad = "SAME_UPPER"', "auto_pad"),
        ("columns] y)", "columns] y, float[batch, 12, h, w2] cat)", "other uses"),
    ],
)
def test_refuses_slices_or_a_convolution_that_focus_does_not_have(before, after, because):
    assert before in SIZED
    text = SIZED.replace(before, after).replace("8, 10]", "8, 8]" if "ends" in because else "8, 10]")
    if after == "group = 2":
        text = text.replace(weights(w=(5, 12, 3, 3), b=(5,)).split(", float[5] b")[0], weights(w=(6, 6, 3, 3)))
        text = text.replace("(cat, w, b)", "(cat, w)").replace("[batch, 5,", "[batch, 6,")
    assert_refuses(FocusConvolution, text, because=because)


def test_refuses_an_odd_size():
    """Legal only where the last row is cut away, so that every phase is as high as the others."""
    text = (
        SIZED.replace("8, 10]", "8, 9]")
        .replace("(even, zero, end", "(even, zero, eight")
        .replace("(odd, zero, end", "(odd, zero, eight")
    )
    assert_refuses(
        FocusConvolution, text.replace("int64[1] early", "int64[1] eight = {8}, int64[1] early"), because="9 columns"
    )


def test_refuses_phases_of_two_images():
    text = SIZED.replace("8, 10] images)", "8, 10] images, float[batch, 3, 8, 10] others)")
    assert_refuses(
        FocusConvolution, text.replace("odd = Slice(images", "odd = Slice(others"), because="different values"
    )


def test_refuses_weights_that_are_computed():
    text = SIZED.replace("  y = Conv", "  v = Mul(w, scale)\n  y = Conv").replace("(cat, w, b)", "(cat, v, b)")
    assert_refuses(FocusConvolution, text.replace("8, 10] images)", "8, 10] images, float scale)"), because="constants")


@pytest.mark.parametrize(
    ("cut", "found"),
    [
        ("Slice(images, zero, end, two, two)", {2: (0, END, 2)}),
        ("Slice(images, zero, end, two)", {2: (0, END, 1)}),
        ("Slice(images, zero, end, behind, two)", {}),
        ("Slice(images, behind, end, two, two)", {}),
        ("Slice(images, zero, behind, two, two)", {}),
        ("Slice(images, zero, end)", {}),
    ],
)
def test_cuts_are_counted_from_the_front(cut, found):
    text = f"""
    <ir_version: 10, opset_import: ["" : 20]>
    g (float[1, 3, 8, 8] images) => (float[a, b, c, d] y)
    <int64[1] zero = {{0}}, int64[1] two = {{2}}, int64[1] behind = {{-1}}, int64[1] end = {{{END}}}>
    {{ y = {cut} }}
    """
    value, axes = cuts(parse(text).graph.outputs[0])
    assert {axis: tuple(each) for axis, each in axes.items()} == found
    assert value.name == ("images" if found else "y")


def test_a_cut_that_ends_on_the_way_is_no_focus():
    text = FOCUS.replace("height, width", "200, 10").replace(f"end = {{{END}}}", "end = {100}")
    assert FocusConvolution().run(parse(text)).count == 0
