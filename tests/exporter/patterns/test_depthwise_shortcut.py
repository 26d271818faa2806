"""x + dw(x): the centre tap takes the shortcut, on maps and around transposes."""

import pytest
from graph_asserts import assert_refuses, assert_rewrites, weights

from edgesmith.exporter.patterns.convolutions.depthwise_shortcut import FoldDepthwiseShortcut

MAP = f"""
<ir_version: 10, opset_import: ["" : 20]>
on_a_map (float[batch, 4, 5, 6] x) => (float[batch, 4, 5, 6] y)
<{weights(w=(4, 1, 3, 3), b=(4,), dense=(4, 4, 3, 3))}>
{{
  d = Conv<group = 4, pads = [1, 1, 1, 1]>(x, w, b)
  y = Add(x, d)
}}
"""
TOKENS = f"""
<ir_version: 10, opset_import: ["" : 20]>
on_tokens (float[batch, 5, 6, 4] x) => (float[batch, 5, 6, 4] y)
<{weights(w=(4, 1, 3, 3))}>
{{
  t = Transpose<perm = [0, 3, 1, 2]>(x)
  d = Conv<group = 4, pads = [1, 1, 1, 1]>(t, w)
  k = Transpose<perm = [0, 2, 3, 1]>(d)
  y = Add(k, x)
}}
"""


@pytest.mark.parametrize("text", [MAP, MAP.replace("Add(x, d)", "Add(d, x)")])
def test_on_a_map_only_the_convolution_stays(text):
    assert_rewrites(FoldDepthwiseShortcut, text, to=["Conv"])


@pytest.mark.parametrize("text", [TOKENS, TOKENS.replace("Add(k, x)", "Add(x, k)")])
def test_around_transposes_the_sum_goes(text):
    assert_rewrites(FoldDepthwiseShortcut, text, to=["Transpose", "Conv", "Transpose"])


def test_refuses_padding_that_moves_the_centre():
    assert_refuses(FoldDepthwiseShortcut, MAP.replace("[1, 1, 1, 1]", "[2, 2, 0, 0]"), because="moves its centre")


@pytest.mark.parametrize(("text", "value"), [(MAP, "4, 5, 6] d"), (TOKENS, "5, 6, 4] k"), (TOKENS, "4, 5, 6] d")])
def test_refuses_when_the_result_has_other_uses(text, value):
    tapped = text.replace("] y)", f"] y, float[batch, {value})")
    assert_refuses(FoldDepthwiseShortcut, tapped, because="other uses")


def test_a_dense_convolution_keeps_its_shortcut():
    model = MAP.replace("group = 4, ", "").replace("(x, w, b)", "(x, dense, b)")
    assert_rewrites(FoldDepthwiseShortcut, model, to=["Conv", "Add"], count=0)
