"""Islands are judged by the worst output; channel scales move only where they stand along the outputs of a product."""

from __future__ import annotations

import numpy as np
import pytest
from graph_asserts import parse

from edgesmith.exporter.precision.islands import choose_islands
from edgesmith.exporter.precision.scales_behind import channel_scales

TWO = """
<ir_version: 10, opset_import: ["" : 20]>
g (float[1, 4] x) => (float[1, 4] good, float[1, 4] bad)
{ [calm] good = Tanh(x) [wild] bad = Sin(x) }
"""


def test_the_worst_output_decides_not_their_mean():
    """One output exact, one at cosine 0: their mean would be one half, and a limit of 0.4 would hold."""
    exact = {"good": np.float32([[1, 2, 3, 4]]), "bad": np.float32([[1, 0, 0, 0]])}
    rounded = exact | {"bad": np.float32([[0, 1, 0, 0]])}

    def run(model, feeds, names):
        low = "edgesmith.precision" in model.metadata_props
        return dict(rounded if low else exact)

    found = choose_islands(parse(TWO), {"x": exact["good"]}, run, limit=0.4, rounds=1)
    assert found.cosine_before == pytest.approx(0.0, abs=1e-6)
    assert set(found.names) == {"wild"}, "the node whose error rises is kept, though the mean is above the limit"


PRODUCT = """
<ir_version: 10, opset_import: ["" : 21]>
g (float[2, 3] x, float[2, 2] other, float[2] fed) => (float[2, 2] z)
<float s = {0.1}, int8 p = {0}, int8[3, 2] w = {1, 2, 3, 4, 5, 6}, float[2] scale = {0.5, 0.25}, int8[2] zeros = {0, 0},
 int8[2] ones = {0, 1}, float[3] rows = {0.5, 0.25, 0.125}, float[2] minus = {0.5, -0.25}, float one_scale = {0.5},
 float[3, 1] blocks = {0.5, 0.25, 0.125}, float[3, 2] plain = {1, 2, 3, 4, 5, 6}>
{
  q = QuantizeLinear(x, s, p)
  xr = DequantizeLinear(q, s, p)
  wr = DequantizeLinear<axis = 1>(w, scale, zeros)
  y = MatMul(xr, wr)
  z = Neg(y)
}
"""


@pytest.mark.parametrize(
    ("before", "after", "moves"),
    [
        ("", "", True),
        ("axis = 1", "axis = -1", True),
        ("(w, scale, zeros)", "(w, scale)", True),
        ("axis = 1>(w, scale, zeros)", "axis = 0>(w, rows)", False),  # along what is summed
        ("(w, scale, zeros)", "(w, scale, ones)", False),
        ("(w, scale, zeros)", "(w, minus, zeros)", False),
        ("<axis = 1>(w, scale, zeros)", "(w, one_scale)", False),
        ("axis = 1>(w, scale, zeros)", "axis = 1, block_size = 2>(w, blocks)", False),
        ("MatMul(xr, wr)", "MatMul(x, wr)", False),
        ("MatMul(xr, wr)", "MatMul(xr, plain)", False),
        ("MatMul(xr, wr)", "MatMul(wr, xr)", False),
        ("z = Neg(y)", "z = Neg(other)", True),
    ],
)
def test_scales_of_the_output_channels(before, after, moves):
    text = PRODUCT.replace(before, after) if before else PRODUCT
    if "MatMul(wr, xr)" in after:
        text = text.replace("float[2, 3] x", "float[2, 4] x").replace("float[2, 2] z", "float[3, 4] z")
    node = next(node for node in parse(text).graph if node.op_type == "MatMul")
    found = channel_scales(node)
    assert (found is not None) == moves
    assert not moves or found.tolist() == [0.5, 0.25]


def test_a_product_that_is_handed_out_keeps_its_scales():
    node = parse(PRODUCT.replace("float[2, 2] z)", "float[2, 2] z, float[2, 2] y)")).graph.node(3)
    assert node.op_type == "MatMul" and channel_scales(node) is None


CONV = """
<ir_version: 10, opset_import: ["" : 21]>
g (float[1, 2, 3, 3] x, float[2] fed) => (float[1, 2, 3, 3] z)
<float s = {0.1}, int8 p = {0}, int8[2, 2, 1, 1] w = {1, 2, 3, 4}, float[2] scale = {0.5, 0.25}, float[2] bias = {1, 2}>
{
  q = QuantizeLinear(x, s, p)
  xr = DequantizeLinear(q, s, p)
  wr = DequantizeLinear<axis = 0>(w, scale)
  y = Conv(xr, wr, bias)
  z = Neg(y)
}
"""


@pytest.mark.parametrize(
    ("before", "after", "moves"),
    [("", "", True), ("axis = 0", "axis = 1", False), ("wr, bias", "wr", True), ("wr, bias", "wr, fed", False)],
)
def test_scales_of_a_convolution_stand_along_its_first_axis(before, after, moves):
    node = parse(CONV.replace(before, after) if before else CONV).graph.node(3)
    assert (channel_scales(node) is not None) == moves
