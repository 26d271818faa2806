"""What TensorRT-RTX makes of int8 graphs: every site on integer kernels, and no fused attention lost against fp16.

Built without a GPU, sm89, batch 1: the flow of an export (rewrite, quantise, type, build, X-ray). The full-size families
take minutes and are slow tests; counts do not depend on the weights, which are random.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from attention_graph import TEXT, images, vit
from quantised_flow import chosen, quantised

from edgesmith.exporter.engine.audit import Audit, audit
from edgesmith.exporter.engine.rtx import build_rtx_engine, installed
from edgesmith.exporter.engine.xray import XRay, read_engine
from edgesmith.exporter.patterns import order_for
from edgesmith.exporter.patterns.rewrite import rewrite
from edgesmith.exporter.precision import casts as precision
from edgesmith.exporter.precision.casts import to_precision
from edgesmith.exporter.run.nouns import Shapes
from edgesmith.exporter.trace.trace import trace
from edgesmith.models import create

pytestmark = pytest.mark.skipif(not installed(), reason="TensorRT-RTX is not installed: pip install 'edgesmith[rtx]'")


def engine(model, low="fp16") -> XRay:
    return read_engine(build_rtx_engine(to_precision(model, low, engine="tensorrt_rtx").model, "sm89"))


@cache
def float16(low="fp16") -> XRay:
    return engine(vit(), low)


@pytest.mark.parametrize(
    ("codes", "low", "operands"),
    [("int8", "fp16", ("int8", "int8")), ("int8", "bf16", ("int8", "int8")), ("fp8", "fp16", ("fp8", "fp8"))],
)
def test_every_site_multiplies_codes_with_codes(codes, low, operands):
    graph = quantised(vit(), {"images": images()}, precision=codes, low=low)
    found = audit(engine(graph.model, low), float16(low), chosen(graph))
    assert len(found.sites) == 6 and set(found.sites.values()) == {operands}
    assert not found.in_name_only and not found.lost and found.quantised.recognised == 1.0
    # q, k and v are one product, as in fp16, where their ranges agree
    one = len({graph.scales.activations[node].scale for node in ("to_q", "to_k", "to_v")}) == 1
    assert found.quantised.counts()[f"gemm {operands[0]}"] == (4 if one else 5)


def packed() -> ir.Model:
    """The fixture with q, k and v from one layer without bias, picked apart by views: as ConViT has them."""
    lines = TEXT.splitlines()
    first = next(number for number, line in enumerate(lines) if "[to_q]" in line)
    last = next(number for number, line in enumerate(lines) if "[heads_v]" in line)
    lines[first : last + 1] = """
  [to_qkv] qkv0 = MatMul(n1, wqkv)
  [split_qkv] qkv1 = Reshape(qkv0, five)
  [heads_qkv] qkv2 = Transpose<perm = [2, 0, 3, 1, 4]>(qkv1)
  [apart] q5, k5, v5 = Split<axis = 0, num_outputs = 3>(qkv2)
  [take_q] q = Squeeze(q5, first)
  [take_k] k4 = Squeeze(k5, first)
  [take_v] v = Squeeze(v5, first)
  [turn_k] k = Transpose<perm = [0, 1, 3, 2]>(k4)""".splitlines()
    constants = "int64[1] tokens = {1}, int64[1] first = {0}, int64[5] five = {0, 16, 3, 2, 32}"
    text = "\n".join(lines).replace("BATCH", "1").replace("int64[1] tokens = {1}", constants)
    proto, plain = onnx.parser.parse_model(text), ir.to_proto(vit())
    known = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in plain.graph.initializer}
    known["wqkv"] = np.concatenate([known.pop(name) for name in ("wq", "wk", "wv")], axis=1)
    mine = {tensor.name for tensor in proto.graph.initializer}
    proto.graph.initializer.extend(
        onnx.numpy_helper.from_array(array, name) for name, array in known.items() if name not in mine
    )
    return ir.from_proto(onnx.shape_inference.infer_shapes(proto))


def test_channel_scales_inside_leave_a_layer_without_bias_in_int8_by_name_only(monkeypatch):
    """Why they go behind (scales_behind.py): the views under q, k and v would be pushed into the codes."""
    graph = quantised(packed(), {"images": images()})
    behind = audit(engine(graph.model), float16(), chosen(graph))
    assert "to_qkv" in behind.real and not behind.in_name_only and not behind.lost
    monkeypatch.setattr(precision, "scales_behind", lambda *_: 0)
    inside = audit(engine(graph.model), float16(), chosen(graph))
    assert inside.in_name_only == ("to_qkv",) and inside.sites["to_qkv"] == ("fp16", "int8")
    assert inside.quantised.moved_bytes > behind.quantised.moved_bytes


def audited(name: str) -> Audit:
    """The int8 engine of a full-size model beside its fp16 one, each in its own order of passes."""
    exported = trace(create(name, weights="random"), Shapes.fixed(1, 3, 224, 224), name=name)
    plain = engine(rewrite(exported, "rtx").model)
    feeds = {"images": np.random.default_rng(0).standard_normal((1, 3, 224, 224)).astype(np.float32)}
    graph = quantised(rewrite(exported, order_for("rtx", "int8")).model, feeds)
    return audit(engine(graph.model), plain, chosen(graph))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "fused_attention", "most_kernels"),
    [
        ("convit_tiny", 12, 135),  # fp16 119; with one scale a channel 145, and 12 sites in int8 in name only
        ("davit_tiny", 10, 187),  # fp16 154; 195 so, and in the order of fp16 192
        ("smt_tiny", 5, 216),  # fp16 182; 240 so
        ("van_b0", 0, 196),  # fp16 117; 209 so
        ("vit_ggem_tiny_patch16", 12, 126),  # fp16 102
    ],
)
def test_int8_keeps_the_fused_attention_and_number_of_kernels(name, fused_attention, most_kernels):
    found = audited(name)
    assert found.quantised.recognised == found.float16.recognised == 1.0
    assert found.quantised.fused_attention == found.float16.fused_attention == fused_attention and not found.lost
    assert not found.in_name_only, f"int8 in name only: {found.in_name_only}"
    assert found.quantised.kernels <= most_kernels
