"""GGeM pooling as one node, groups in blocks and in turns."""

from __future__ import annotations

import pytest
from fused_graphs import assert_reference, fused_nodes
from graph_asserts import assert_refuses, assert_rewrites

from edgesmith.exporter.patterns.fuse.ggem_pool import FuseGGeMPool
from edgesmith.graph.read import constant

P, Q = "{3.0, 2.0, 1.0, 4.0}", "{0.33333334, 0.5, 1.0, 0.25}"
POOL = f"""
<ir_version: 10, opset_import: ["" : 20]>
pool (float[batch, 9, 8] x) => (float[batch, 8] y)
<float eps = {{1e-6}}, int64[4] grouped = {{-1, 9, 4, 2}}, int64[1] axis = {{1}}, int64[2] flat = {{-1, 8}},
 float[4, 1] p = {P}, float[4, 1] q = {Q}>
{{
  a = Clip(x, eps)
  b = Reshape(a, grouped)
  c = Pow(b, p)
  d = ReduceMean<keepdims = 0>(c, axis)
  e = Pow(d, q)
  y = Reshape(e, flat)
}}
"""
IN_TURNS = (
    POOL.replace("{-1, 9, 4, 2}", "{-1, 9, 2, 4}").replace("[4, 1] p", "[1, 4] p").replace("[4, 1] q", "[1, 4] q")
)


@pytest.mark.parametrize(("text", "interleaved"), [(POOL, 0), (IN_TURNS, 1)], ids=["blocks", "turns"])
def test_the_pooling_becomes_one_node(text, interleaved):
    model = assert_rewrites(FuseGGeMPool, text, to=["GGeMPool"])
    assert_reference(model)
    (node,) = fused_nodes(model)
    assert node.attributes["interleaved"].value == interleaved
    assert constant(node.inputs[1]).ravel().tolist() == [3, 2, 1, 4] and constant(node.inputs[1]).shape == (4, 1)


def test_one_exponent_for_all_channels_is_fused_too():
    text = POOL.replace("{-1, 9, 4, 2}", "{-1, 9, 1, 8}").replace(f"[4, 1] p = {P}", "[1, 1] p = {3.0}")
    model = assert_rewrites(FuseGGeMPool, text.replace(f"[4, 1] q = {Q}", "[1, 1] q = {0.33333334}"), to=["GGeMPool"])
    assert_reference(model)


def test_refuses_exponents_that_are_not_reciprocal():
    assert_refuses(FuseGGeMPool, POOL.replace("0.25", "0.5"), because="not reciprocal")


def test_refuses_when_another_node_reads_the_powers():
    tapped = POOL.replace("8] y)", "8] y, float[batch, 9, 4, 2] c)")
    assert_refuses(FuseGGeMPool, tapped, because="other uses")


def test_refuses_a_mean_that_keeps_its_axis():
    assert_refuses(FuseGGeMPool, POOL.replace("keepdims = 0", "keepdims = 1"), because="not over the tokens alone")


def test_refuses_a_mean_over_the_channels_of_a_group():
    text = POOL.replace("axis = {1}", "axis = {3}").replace("[4, 1] q", "[1, 4] q").replace("{-1, 8}", "{-1, 36}")
    assert_refuses(FuseGGeMPool, text.replace("8] y", "36] y"), because="not over the tokens alone")


def test_refuses_an_upper_bound():
    text = POOL.replace("Clip(x, eps)", "Clip(x, eps, top)").replace("float eps", "float top = {6.0}, float eps")
    assert_refuses(FuseGGeMPool, text, because="not one lower bound")


def test_refuses_without_a_lower_bound():
    assert_refuses(FuseGGeMPool, POOL.replace("{1e-6}", "{-1.0}"), because="no positive lower bound")
