"""Groups of a 1x1 convolution joined to the width of a vector register."""

import pytest
from graph_asserts import assert_refuses, assert_rewrites, weights

from edgesmith.exporter.patterns.convolutions.grouped_convolution import WidenGroups

GROUPED = f"""
<ir_version: 10, opset_import: ["" : 20]>
grouped (float[batch, 32, 3, 3] x) => (float[batch, 64, 3, 3] y)
<{weights(w=(64, 4, 1, 1), b=(64,), w3=(64, 4, 3, 3))}>
{{
  y = Conv<group = 8>(x, w, b)
}}
"""


@pytest.mark.parametrize("text", [GROUPED, GROUPED.replace("(x, w, b)", "(x, w)")])
def test_four_groups_of_four_become_one_of_sixteen(text):
    model = assert_rewrites(WidenGroups, text, to=["Conv"])
    node = model.graph.node(0)
    assert node.attributes["group"].value == 2
    assert list(node.inputs[1].shape) == [64, 16, 1, 1]


def test_refuses_a_number_of_groups_that_does_not_join():
    odd = (
        GROUPED.replace("batch, 32,", "batch, 24,")
        .replace("64, 3, 3] y", "48, 3, 3] y")
        .replace("group = 8", "group = 6")
    )
    odd = odd.replace(weights(w=(64, 4, 1, 1), b=(64,), w3=(64, 4, 3, 3)), weights(w=(48, 4, 1, 1), b=(48,)))
    assert_refuses(WidenGroups, odd, because="do not join to 16")


def test_refuses_a_kernel_of_more_than_one_tap():
    wide = GROUPED.replace("Conv<group = 8>(x, w, b)", "Conv<group = 8, pads = [1, 1, 1, 1]>(x, w3, b)")
    assert_refuses(WidenGroups, wide, because="3x3 kernel")
