"""Branches that are added up become one convolution; residual adds that are something else stay."""

import pytest
from graph_asserts import assert_refuses, assert_rewrites, parse, run, weights

from edgesmith.exporter.patterns.convolutions.fold_batchnorm import FoldBatchNorm
from edgesmith.exporter.patterns.convolutions.rep_convolution import FoldRepConvolution

WEIGHTS = weights(w=(6, 4, 3, 3), b=(6,), one=(6, 4, 1, 1), c=(6,), g=(6, 2, 3, 3), g_one=(6, 2, 1, 1))
DOWN = f"""
<ir_version: 10, opset_import: ["" : 20]>
rep_conv (float[batch, 4, height, width] x) => (float[batch, 6, rows, columns] y)
<{WEIGHTS}>
{{
  d = Conv<kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1]>(x, w, b)
  p = Conv<kernel_shape = [1, 1], strides = [2, 2], pads = [0, 0, 0, 0]>(x, one, c)
  y = Add(d, p)
}}
"""
SQUARE = weights(w=(4, 4, 3, 3), b=(4,), one=(4, 4, 1, 1), g=(4, 2, 3, 3), s=(4,), t=(4,), m=(4,), v=(4,))
BLOCK = f"""
<ir_version: 10, opset_import: ["" : 20]>
rep_vgg (float[batch, 4, 5, 6] x) => (float[batch, 4, 5, 6] y)
<{SQUARE}>
{{
  d = Conv<pads = [1, 1, 1, 1]>(x, w)
  dn = BatchNormalization<epsilon = 0.001>(d, s, t, m, v)
  p = Conv(x, one)
  pn = BatchNormalization<epsilon = 0.001>(p, t, s, m, v)
  i = BatchNormalization<epsilon = 0.001>(x, s, t, v, m)
  dp = Add(dn, pn)
  y = Add(dp, i)
}}
"""
SHORTCUT = f"""
<ir_version: 10, opset_import: ["" : 20]>
shortcut (float[batch, 4, 5, 6] x) => (float[batch, 4, 5, 6] y)
<{SQUARE}>
{{
  d = Conv<pads = [1, 1, 1, 1]>(x, w, b)
  y = Add(x, d)
}}
"""


@pytest.mark.parametrize("text", [DOWN, DOWN.replace("Add(d, p)", "Add(p, d)"), DOWN.replace("[2, 2]", "[1, 1]")])
def test_a_3x3_and_a_1x1_become_one_3x3(text):
    model = assert_rewrites(FoldRepConvolution, text, to=["Conv"])
    assert model.graph.node(0).inputs[1].shape == (6, 4, 3, 3)
    assert model.graph.outputs[0].name == "y"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("(x, one, c)", "(x, one)"),  # no bias in the small one
        ("(x, w, b)", "(x, w)"),  # nor in the large one
        (
            "pads = [0, 0, 0, 0]>(x, one, c)",
            "pads = [0, 0, 0, 0], dilations = [3, 3]>(x, one, c)",
        ),  # means nothing at 1x1
    ],
)
def test_biases_and_the_dilation_of_one_tap_are_free(before, after):
    assert before in DOWN
    assert_rewrites(FoldRepConvolution, DOWN.replace(before, after), to=["Conv"])


def test_two_1x1_add_up():
    text = DOWN.replace(
        "kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1]>(x, w, b)", "strides = [2, 2]>(x, one)"
    )
    assert_rewrites(FoldRepConvolution, text, to=["Conv"])


def test_groups_that_are_equal_add_up():
    grouped = (
        DOWN.replace("Conv<", "Conv<group = 2, ").replace("x, w, b", "x, g, b").replace("x, one, c", "x, g_one, c")
    )
    assert_rewrites(FoldRepConvolution, grouped, to=["Conv"])


def test_dilated_kernels_add_up_where_their_taps_meet():
    """The same dilation, and a padding that puts the one tap under the middle one."""
    text = DOWN.replace("pads = [1, 1, 1, 1]", "dilations = [2, 2], pads = [2, 2, 2, 2]")
    assert_rewrites(FoldRepConvolution, text, to=["Conv"])


def test_a_tap_beside_the_centre_is_found():
    """A 3x3 that reads two rows above and none below: the 1x1 is in its last row."""
    model = assert_rewrites(FoldRepConvolution, DOWN.replace("[1, 1, 1, 1]", "[2, 1, 0, 1]"), to=["Conv"])
    assert tuple(model.graph.node(0).attributes["pads"].value) == (2, 1, 0, 1)


def test_a_block_of_three_branches_folds_to_one_convolution():
    model = parse(BLOCK)
    before = run(model)
    assert FoldBatchNorm().run(model).count == 2
    assert FoldRepConvolution().run(model).count == 2
    assert [node.op_type for node in model.graph] == ["Conv"]
    assert abs(run(model)[0] - before[0]).max() < 1e-5
    assert FoldRepConvolution().run(model).count == 0


@pytest.mark.parametrize("text", [SHORTCUT, SHORTCUT.replace("Add(x, d)", "Add(d, x)")])
def test_a_shortcut_beside_one_convolution_goes_into_its_centre(text):
    assert_rewrites(FoldRepConvolution, text, to=["Conv"])


def test_a_shortcut_beside_groups_stands_on_the_diagonal_of_each():
    grouped = SHORTCUT.replace("Conv<", "Conv<group = 2, ").replace("x, w, b", "x, g, b")
    assert_rewrites(FoldRepConvolution, grouped, to=["Conv"])


def test_maps_of_two_inputs_stay_apart():
    """A residual block: the shortcut's convolution reads the block's input, the other one reads what is inside."""
    text = DOWN.replace("  p =", "  r = Relu(x)\n  p =").replace("(x, one, c)", "(r, one, c)")
    assert_rewrites(FoldRepConvolution, text, to=["Conv", "Relu", "Conv", "Add"], count=0)


def test_an_activation_between_keeps_the_shortcut():
    """DAMO-YOLO's neck: x + act(conv(...))."""
    text = SHORTCUT.replace("  y = Add(x, d)", "  r = Relu(d)\n  y = Add(x, r)")
    assert_rewrites(FoldRepConvolution, text, to=["Conv", "Relu", "Add"], count=0)


@pytest.mark.parametrize(
    ("before", "after", "because"),
    [
        ("pads = [1, 1, 1, 1]", "dilations = [2, 2], pads = [1, 1, 3, 3]", "no tap"),
        ("pads = [1, 1, 1, 1]", "pads = [2, 2, 2, 2]", "maps of one size"),
        ("pads = [0, 0, 0, 0]", 'auto_pad = "VALID"', "auto_pad"),
    ],
)
def test_refuses_kernels_that_do_not_align(before, after, because):
    assert_refuses(FoldRepConvolution, DOWN.replace(before, after).replace("height, width", "2, 2"), because=because)


def test_refuses_branches_of_different_strides():
    text = DOWN.replace("[1, 1], strides = [2, 2]", "[1, 1], strides = [1, 1]").replace("height, width", "1, 1")
    assert_refuses(FoldRepConvolution, text, because="strides (2, 2) and (1, 1)")


def test_refuses_branches_of_different_groups():
    text = DOWN.replace("<kernel_shape = [3, 3]", "<group = 2, kernel_shape = [3, 3]").replace("x, w, b", "x, g, b")
    assert_refuses(FoldRepConvolution, text, because="6 channels in 2 groups and 6 channels in 1 group")


@pytest.mark.parametrize(
    ("text", "value"), [(DOWN, "6, rows, columns] p"), (DOWN, "6, rows, columns] d"), (SHORTCUT, "4, 5, 6] d")]
)
def test_refuses_when_a_branch_has_other_uses(text, value):
    assert_refuses(FoldRepConvolution, text.replace("] y)", f"] y, float[batch, {value})"), because="other uses")


def test_refuses_a_shortcut_beside_more_channels():
    """One channel of x would be added to all four: broadcasting, no shortcut."""
    text = f"""
    <ir_version: 10, opset_import: ["" : 20]>
    broadcast (float[batch, 1, 5, 6] x) => (float[batch, 4, 5, 6] y)
    <{weights(w=(4, 1, 3, 3))}>
    {{
      d = Conv<pads = [1, 1, 1, 1]>(x, w)
      y = Add(x, d)
    }}
    """
    assert_refuses(FoldRepConvolution, text, because="1 channels of the shortcut beside 4")


def test_refuses_a_shortcut_beside_a_moved_centre():
    assert_refuses(FoldRepConvolution, SHORTCUT.replace("[1, 1, 1, 1]", "[2, 2, 0, 0]"), because="moves its centre")


def test_refuses_a_branch_whose_batchnorm_is_not_constant():
    text = BLOCK.replace("5, 6] x)", "5, 6] x, float[4] mean)").replace("(x, s, t, v, m)", "(x, s, t, mean, m)")
    model = parse(text)
    FoldBatchNorm().run(model)
    record = FoldRepConvolution().run(model)
    assert record.count == 1
    assert "constants of inference" in record.refused[0].why
