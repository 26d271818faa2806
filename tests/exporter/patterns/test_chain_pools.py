"""Max-pools of growing windows on one map become a chain of small ones."""

import pytest
from graph_asserts import assert_refuses, assert_rewrites

from edgesmith.exporter.patterns.convolutions.chain_pools import ChainPools

SPP = """
<ir_version: 10, opset_import: ["" : 20]>
spp (float[batch, 2, height, width] x) => (float[batch, 8, rows, columns] y)
{
  p5 = MaxPool<ceil_mode = 0, dilations = [1, 1], kernel_shape = [5, 5], strides = [1, 1], pads = [2, 2, 2, 2]>(x)
  p9 = MaxPool<ceil_mode = 0, dilations = [1, 1], kernel_shape = [9, 9], strides = [1, 1], pads = [4, 4, 4, 4]>(x)
  p13 = MaxPool<ceil_mode = 0, dilations = [1, 1], kernel_shape = [13, 13], strides = [1, 1], pads = [6, 6, 6, 6]>(x)
  y = Concat<axis = 1>(x, p5, p9, p13)
}
"""
POOLS = ["MaxPool", "MaxPool", "MaxPool", "Concat"]
P5, P9, P13 = (line for line in SPP.splitlines() if "MaxPool" in line)


@pytest.mark.parametrize("size", ["20, 20", "13, 7", "3, 2", "1, 1"])
def test_three_pools_become_three_of_5(size):
    """A map smaller than a window, too: DAMO-YOLO's has 2 x 2 cells for the smallest images."""
    model = assert_rewrites(ChainPools, SPP.replace("height, width", size), to=POOLS, rtol=0, atol=0)
    kernels = [tuple(node.attributes["kernel_shape"].value) for node in model.graph if node.op_type == "MaxPool"]
    assert kernels == [(5, 5)] * 3


def test_the_widest_may_come_first():
    text = SPP.replace(P5, "").replace(P9, "").replace(P13, f"{P13}\n{P9}\n{P5}").replace("height, width", "9, 15")
    model = assert_rewrites(ChainPools, text, to=POOLS, rtol=0, atol=0)
    assert [node.outputs[0].name for node in model.graph][:3] == ["p5", "p9", "p13"]


def test_each_window_grows_by_its_own_step():
    text = SPP.replace("[5, 5]", "[3, 1]").replace("[2, 2, 2, 2]", "[1, 0, 1, 0]").replace("height, width", "9, 15")
    text = text.replace("[9, 9]", "[3, 7]").replace("[4, 4, 4, 4]", "[1, 3, 1, 3]")
    model = assert_rewrites(ChainPools, text, to=POOLS, rtol=0, atol=0)
    kernels = [tuple(node.attributes["kernel_shape"].value) for node in model.graph if node.op_type == "MaxPool"]
    assert kernels == [(3, 1), (1, 7), (11, 7)]


def test_pools_with_readers_of_their_own_keep_their_values():
    tapped = SPP.replace("columns] y)", "columns] y, float[batch, 2, rows, columns] p9)").replace(
        "height, width", "9, 15"
    )
    assert_rewrites(ChainPools, tapped, to=POOLS, rtol=0, atol=0)


def test_pools_of_two_maps_stay_apart():
    text = SPP.replace(P9, "  r = Relu(x)\n" + P9.replace("(x)", "(r)")).replace(P13, "").replace("p9, p13", "p9")
    assert_rewrites(
        ChainPools, text.replace("height, width", "9, 15"), to=["MaxPool", "Relu", "MaxPool", "Concat"], count=0
    )


@pytest.mark.parametrize(
    ("before", "after", "because"),
    [
        ("[9, 9], strides = [1, 1], pads = [4, 4, 4, 4]", "[9, 9], strides = [1, 1], pads = [8, 4, 0, 4]", "moves its centre"),
        ("dilations = [1, 1], kernel_shape = [5, 5], strides = [1, 1], pads = [2, 2, 2, 2]",
         "dilations = [2, 2], kernel_shape = [5, 5], strides = [1, 1], pads = [4, 4, 4, 4]", "a dilation"),
        ("[5, 5], strides = [1, 1], pads = [2, 2, 2, 2]", "[4, 4], strides = [1, 1], pads = [2, 2, 1, 1]", "(4, 4)"),
        ("[9, 9], strides = [1, 1], pads = [4, 4, 4, 4]", "[3, 7], strides = [1, 1], pads = [1, 3, 1, 3]", "no wider form"),
        ("[9, 9], strides = [1, 1], pads = [4, 4, 4, 4]", "[5, 5], strides = [1, 1], pads = [2, 2, 2, 2]", "no wider form"),
        ("[9, 9], strides = [1, 1], pads = [4, 4, 4, 4]", '[9, 9], auto_pad = "SAME_UPPER"', "padding"),
    ],
)  # fmt: skip
def test_refuses_windows_that_are_not_the_narrow_one_widened(before, after, because):
    assert before in SPP
    assert_refuses(ChainPools, SPP.replace(before, after).replace("height, width", "20, 20"), because=because)


def test_refuses_pools_that_skip_places():
    text = SPP.replace("strides = [1, 1]", "strides = [2, 2]").replace("(x, p5", "(p5")
    assert_refuses(
        ChainPools, text.replace("[batch, 8,", "[batch, 6,").replace("height, width", "20, 20"), because="a stride"
    )


def test_refuses_when_the_places_of_the_maxima_are_read():
    text = SPP.replace("p9 =", "p9, at =").replace("] y)", "] y, int64[batch, 2, rows, columns] at)")
    assert_refuses(ChainPools, text.replace("height, width", "20, 20"), because="places of the maxima")
