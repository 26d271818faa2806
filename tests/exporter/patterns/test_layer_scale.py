"""Layer scale into the convolution or linear layer before it, whichever operand it is."""

import pytest
from graph_asserts import assert_refuses, assert_rewrites, weights

from edgesmith.exporter.patterns.convolutions.layer_scale import FoldLayerScale

WEIGHTS = weights(w=(4, 3, 1, 1), b=(4,), ls=(4, 1, 1), m=(3, 4), g=(4,), wrong=(4, 5, 1))
CONV = f"""
<ir_version: 10, opset_import: ["" : 20]>
conv (float[2, 3, 5, 5] x) => (float[2, 4, 5, 5] y)
<{WEIGHTS}>
{{
  c = Conv(x, w, b)
  y = Mul(ls, c)
}}
"""
LINEAR = f"""
<ir_version: 10, opset_import: ["" : 20]>
linear (float[batch, 9, 3] x) => (float[batch, 9, 4] y)
<{WEIGHTS}>
{{
  p = MatMul(x, m)
  h = Add(b, p)
  y = Mul(h, g)
}}
"""


@pytest.mark.parametrize("text", [CONV, CONV.replace("Mul(ls, c)", "Mul(c, ls)")])
def test_convolution_takes_the_factor_in_either_operand(text):
    assert_rewrites(FoldLayerScale, text, to=["Conv"])


@pytest.mark.parametrize("factor", ["float one = {1.25}", "float[1] one = {1.25}", "float[1, 1, 1] one = {-2.0}"])
def test_convolution_takes_one_number_for_all_channels(factor):
    text = CONV.replace("<float[4", f"<{factor}, float[4", 1).replace("Mul(ls, c)", "Mul(c, one)")
    assert_rewrites(FoldLayerScale, text, to=["Conv"])


def test_one_number_that_adds_an_axis_stays():
    text = CONV.replace("<float[4", "<float[1, 1, 1, 1, 1] one = {1.25}, float[4", 1).replace(
        "Mul(ls, c)", "Mul(c, one)"
    )
    assert_rewrites(FoldLayerScale, text.replace("(float[2, 4, 5", "(float[1, 2, 4, 5"), to=["Conv", "Mul"], count=0)


def test_one_number_behind_a_linear_layer_stays():
    """The scale of an attention, which its passes look for."""
    text = LINEAR.replace("<float[4", "<float one = {0.125}, float[4", 1).replace("Mul(h, g)", "Mul(h, one)")
    assert_rewrites(FoldLayerScale, text, to=["MatMul", "Add", "Mul"], count=0)


@pytest.mark.parametrize("text", [LINEAR, LINEAR.replace("Mul(h, g)", "Mul(g, h)").replace("Add(b, p)", "Add(p, b)")])
def test_linear_layer_takes_the_factor_with_its_bias(text):
    assert_rewrites(FoldLayerScale, text, to=["MatMul", "Add"])


def test_linear_layer_without_bias_takes_it_too():
    assert_rewrites(
        FoldLayerScale, LINEAR.replace("Mul(h, g)", "Mul(p, g)").replace("  h = Add(b, p)\n", ""), to=["MatMul"]
    )


def test_refuses_when_the_layer_has_other_uses():
    tapped = LINEAR.replace("9, 4] y)", "9, 4] y, float[batch, 9, 4] h)")
    assert_refuses(FoldLayerScale, tapped, because="other uses")


def test_refuses_a_factor_that_differs_by_position():
    assert_refuses(
        FoldLayerScale, CONV.replace("Mul(ls, c)", "Mul(wrong, c)"), because="one number for each of 4 channels"
    )
