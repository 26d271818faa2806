"""What counts as a place to quantise, what it costs, and where it stands in the graph."""

from __future__ import annotations

import numpy as np
import onnx.parser
import onnx_ir as ir
import pytest

from edgesmith.calibration.sites.sites import find_sites

# pixels > stem > depthwise > tokens > two linears, attention among the tokens, a batched constant, a head with a bias
NET = """
<ir_version: 10, opset_import: ["" : 20]>
net (float[B, 3, 8, 8] images) => (float[B, 5] logits)
<int64[2] thin = {1, 2}, int64[1] mid = {1}>
{
  seen = Identity(images)
  stem = Conv<strides = [2, 2]>(seen, w_stem)
  act = Relu(stem)
  local = Conv<group = 4, pads = [1, 1, 1, 1]>(act, w_depthwise)
  grouped = Conv<group = 2, pads = [1, 1, 1, 1]>(local, w_grouped)
  point = Conv(grouped, w_point)
  flat = Reshape(point, tokens)
  x = Transpose<perm = [0, 2, 1]>(flat)
  normal = LayerNormalization<axis = -1>(x, one)
  up = MatMul(normal, w_up)
  gelu = Gelu(up)
  shift = MatMul(w_position, gelu)
  down = MatMul(shift, w_down)
  keys = Transpose<perm = [0, 2, 1]>(down)
  scores = MatMul(down, keys)
  mixed = MatMul(scores, down)
  pooled = ReduceMean<keepdims = 0>(mixed, mid)
  head = Gemm<transB = 1>(pooled, w_head)
  logits = Add(head, bias)
}
"""
SHAPES = {
    "w_stem": (4, 3, 2, 2), "w_depthwise": (4, 1, 3, 3), "w_grouped": (4, 2, 3, 3), "w_point": (4, 4, 1, 1),
    "one": (4,), "w_up": (4, 8), "w_position": (1, 16, 16), "w_down": (8, 4), "w_head": (5, 4), "bias": (5,),
}  # fmt: skip
MACS = {
    "stem": 16 * 4 * 12, "local": 16 * 4 * 9, "grouped": 16 * 4 * 18, "point": 16 * 4 * 4, "up": 16 * 4 * 8,
    "down": 16 * 8 * 4, "head": 4 * 5,
}  # fmt: skip
NO_SITES = 16 * 16 * 8 + 2 * 16 * 16 * 4  # the position term and the two attention products


@pytest.fixture
def net() -> ir.Model:
    proto = onnx.parser.parse_model(NET)
    rng = np.random.default_rng(0)
    arrays = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in SHAPES.items()}
    arrays["tokens"] = np.array([0, 4, 16])
    proto.graph.initializer.extend(onnx.numpy_helper.from_array(array, name) for name, array in arrays.items())
    for node in proto.graph.node:
        node.name = node.output[0] + "_node"
    return ir.from_proto(proto)


def found(net: ir.Model, batch: int = 1) -> dict:
    sites = find_sites(net, {"images": np.ones((batch, 3, 8, 8), np.float32)})
    return {site.node.removesuffix("_node"): site for site in sites}


def test_every_product_with_a_constant_weight_is_a_site_and_no_other(net):
    assert list(found(net)) == ["stem", "local", "grouped", "point", "up", "down", "head"]


def test_macs_are_those_of_one_image_and_shares_count_the_attention_products(net):
    for batch in (1, 3):
        sites = found(net, batch)
        assert {name: site.macs for name, site in sites.items()} == MACS
        total = sum(MACS.values()) + NO_SITES
        assert {name: site.share for name, site in sites.items()} == {
            name: pytest.approx(macs / total) for name, macs in MACS.items()
        }


def test_the_kind_says_where_it_stands(net):
    kinds = {name: site.kind for name, site in found(net).items()}
    assert kinds == {
        "stem": "stem", "local": "depthwise", "grouped": "conv", "point": "linear", "up": "linear", "down": "linear",
        "head": "head",
    }  # fmt: skip


def test_a_site_knows_its_axes_and_who_made_its_input(net):
    sites = found(net)
    assert [(s.in_axis, s.weight_in_axis, s.weight_out_axis) for s in sites.values()] == [
        *[(1, 1, 0)] * 4, (-1, 0, 1), (-1, 0, 1), (-1, 1, 0),
    ]  # fmt: skip
    for site in sites.values():
        out, fan_in = site.weight_shape[site.weight_out_axis], site.weight_shape[site.weight_in_axis]
        assert (out, fan_in * site.groups) == {
            "stem": (4, 3), "local": (4, 4), "grouped": (4, 4), "point": (4, 4), "up": (8, 4), "down": (4, 8),
            "head": (5, 4),
        }[site.node.removesuffix("_node")]  # fmt: skip
    assert {name: site.producer for name, site in sites.items()} == {
        "stem": "", "local": "Relu", "grouped": "Conv", "point": "Conv", "up": "LayerNormalization", "down": "MatMul",
        "head": "ReduceMean",
    }  # fmt: skip


def test_fused_attention_counts_in_the_total():
    text = """
    <ir_version: 10, opset_import: ["" : 20, "com.microsoft" : 1]>
    net (float[B, 6, 8] x) => (float[B, 6, 8] y)
    {
      q = Relu(x)
      inner = MatMul(q, w)
      mixed = com.microsoft.MultiHeadAttention<num_heads = 2>(inner, q, q)
      y = Relu(mixed)
    }
    """
    proto = onnx.parser.parse_model(text)
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.ones((8, 8), np.float32), "w"))
    (site,) = find_sites(ir.from_proto(proto), {"x": np.ones((2, 6, 8), np.float32)})
    assert site.macs == 6 * 8 * 8
    assert site.share == pytest.approx(site.macs / (site.macs + 2 * 6 * 6 * 8))


def test_a_weight_that_the_caller_may_feed_is_no_constant():
    text = """
    <ir_version: 10, opset_import: ["" : 20]>
    net (float[B, 4] x, float[4, 4] w) => (float[B, 4] y)
    <float[4, 4] w = {1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1}>
    { y = MatMul(x, w) }
    """
    feeds = {"x": np.ones((1, 4), np.float32), "w": np.eye(4, dtype=np.float32)}
    assert find_sites(ir.from_proto(onnx.parser.parse_model(text)), feeds) == ()
