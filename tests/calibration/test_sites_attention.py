"""Attention has two meanings: ONNX's own from opset 23 on, and com.microsoft's; a site search asks for the domain."""

from __future__ import annotations

import numpy as np
import onnx.parser
import onnx_ir as ir
import pytest

from edgesmith.calibration.sites.sites import find_sites

HEAD = '<ir_version: 10, opset_import: ["" : {opset}, "com.microsoft" : 1]>'
# 5 tokens of 2 heads, 4 numbers wide in q and k and 6 in v; 7 keys
MAPS = """
net (float[B, 2, 5, 4] q, float[B, 2, 7, 4] k, float[B, 2, 7, 6] v) => (float[B, 2, 5, 3] y)
{ a = Attention(q, k, v)  y = MatMul(a, w) }
"""
TOKENS = """
net (float[B, 5, 8] q, float[B, 7, 8] k, float[B, 7, 12] v) => (float[B, 5, 3] y)
{ a = Attention<q_num_heads = 2, kv_num_heads = 2>(q, k, v)  y = MatMul(a, w) }
"""
PRODUCTS = 5 * 7 * 2 * (4 + 6)  # q k^T and p v of both heads


def found(text: str, rows: int, feeds: dict[str, tuple[int, ...]]):
    proto = onnx.parser.parse_model(HEAD.format(opset=23) + text)
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.ones((rows, 3), np.float32), "w"))
    for node in proto.graph.node:
        node.name = node.output[0]
    return find_sites(ir.from_proto(proto), {name: np.ones(shape, np.float32) for name, shape in feeds.items()})


@pytest.mark.parametrize("batch", [1, 3])
def test_attention_of_opset_23_on_heads(batch: int):
    feeds = {"q": (batch, 2, 5, 4), "k": (batch, 2, 7, 4), "v": (batch, 2, 7, 6)}
    (site,) = found(MAPS, 6, feeds)
    assert site.node == "y" and site.macs == 2 * 5 * 6 * 3
    assert site.share == pytest.approx(site.macs / (site.macs + PRODUCTS))


def test_attention_of_opset_23_on_tokens():
    (site,) = found(TOKENS, 12, {"q": (1, 5, 8), "k": (1, 7, 8), "v": (1, 7, 12)})
    assert site.share == pytest.approx(5 * 12 * 3 / (5 * 12 * 3 + PRODUCTS))
