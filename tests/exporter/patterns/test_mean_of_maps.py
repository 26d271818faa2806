"""Means over a whole map become pools; other means stay."""

import pytest
from graph_asserts import assert_refuses, assert_rewrites, op_types, parse

from edgesmith.exporter.patterns.tokens.mean_of_maps import PoolMaps


def graph(
    mean: str, out: str = "batch, 3, 1, 1", kind: str = "float", shape: str = "batch, 3, 4, 5", opset: int = 20
) -> str:
    return f"""<ir_version: 8, opset_import: ["" : {opset}]> g ({kind}[{shape}] x) => ({kind}[{out}] y)
    <int64[2] map = {{2, 3}}, int64[2] back = {{-1, -2}}, int64[2] rows = {{1, 2}}, int64[1] one = {{3}}> {{ a = Relu(x) {mean} }}"""


@pytest.mark.parametrize("axes", ["map", "back"])
def test_a_mean_that_keeps_its_axes_is_a_pool(axes):
    assert_rewrites(PoolMaps, graph(f"y = ReduceMean(a, {axes})"), to=["Relu", "GlobalAveragePool"])


def test_a_mean_that_drops_them_is_flattened():
    text = graph("m = ReduceMean<keepdims = 0>(a, map) y = Neg(m)", "batch, 3")
    assert_rewrites(PoolMaps, text, to=["Relu", "GlobalAveragePool", "Flatten", "Neg"])
    text = graph("y = ReduceMean<keepdims = 0>(a, map)", "batch, 3")
    model = assert_rewrites(PoolMaps, text, to=["Relu", "GlobalAveragePool", "Flatten"])
    assert [value.name for value in model.graph.outputs] == ["y"]


def test_axes_may_be_an_attribute_and_sizes_open():
    assert_rewrites(PoolMaps, graph("y = ReduceMean<axes = [2, 3]>(a)", opset=17), to=["Relu", "GlobalAveragePool"])
    text = graph("y = ReduceMean(a, map)", shape="batch, 3, H, W")
    assert_rewrites(PoolMaps, text, to=["Relu", "GlobalAveragePool"])


@pytest.mark.parametrize(
    ("mean", "out"),
    [
        ("y = ReduceMean(a, rows)", "batch, 1, 1, 5"),
        ("y = ReduceMean(a, one)", "batch, 3, 4, 1"),
        ("y = ReduceMean(a)", "1, 1, 1, 1"),
        ("axes = Shape<start = 2>(a) b = Clip(axes, two, three) y = ReduceMean(a, b)", "batch, 3, 1, 1"),
    ],
)
def test_other_means_stay(mean, out):
    text = graph(mean, out).replace("<int64[2] map", "<int64 two = {2}, int64 three = {3}, int64[2] map")
    assert_refuses(PoolMaps, text, because="expected the map")


def test_other_types_and_ranks_stay():
    assert_refuses(PoolMaps, graph("y = ReduceMean(a, map)", kind="double"), because="float32")
    model = parse(graph("y = ReduceMean(a, map)", "batch, 3, 1, 1, 6", shape="batch, 3, 4, 5, 6"))
    assert PoolMaps().run(model).count == 0 and op_types(model) == ["Relu", "ReduceMean"]
