"""The audit of a quantised engine: what it counts is there, and a lost attention block is mended or reported."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from attention_graph import images, vit
from quantised_flow import chosen, quantised

from edgesmith.exporter.engine import rtx
from edgesmith.exporter.engine.audit import audit, build_audited, quantised_products, sites_around
from edgesmith.exporter.engine.xray import Kernel, XRay, read_engine
from edgesmith.exporter.precision.casts import to_precision
from edgesmith.graph.edit import add_constant, insert

needs_rtx = pytest.mark.skipif(not rtx.installed(), reason="TensorRT-RTX is not installed")
FEEDS = {"images": images(1)}
BLOCK = ("scores", "scaled", "softmax", "mix")


def kernel(role, operands, layers, moved=1000):
    return Kernel("gemm" if role == "gemm" else "kgen", "k", role, operands, layers, moved)


def plan(*kernels):
    return XRay(5000, kernels, device_memory_bytes=100, constant_bytes=10, recognised=1.0)


FLOAT16 = plan(kernel("attention", ("fp16",), BLOCK, 500), kernel("gemm", ("fp16", "fp16"), ("up",)))


def test_sites_are_judged_by_the_operands_of_their_kernel():
    after = plan(
        kernel("gemm", ("int8", "int8"), ("up", "up_DQ"), 300), kernel("gemm", ("fp16", "int8"), ("to_q",), 100),
        kernel("other", ("fp16",), ("down",)), kernel("attention", ("fp16",), ("mix", "project_Q")),
    )  # fmt: skip
    found = audit(after, FLOAT16, ["up", "to_q", "down"])
    assert found.real == ("up",) and found.in_name_only == ("to_q", "down") and not found.lost
    assert found.sites["to_q"] == ("fp16", "int8") and found.sites["down"] == ()
    data = found.to_json()
    assert data["sites"] == 3 and data["sites_on_integer_kernels"] == 1 and data["attention_lost"] == []
    assert data["quantised"]["moved_bytes"] == 2400 and data["fp16"]["kernels"] == 2
    told = "\n".join(found.lines())
    assert "sites on integer kernels: 1 of 3" in told and "to_q runs on fp16 x int8" in told
    assert "down runs on no kernel of its own" in told


def test_the_verdict_follows_the_bytes():
    little = audit(plan(kernel("gemm", ("int8", "int8"), ("up", "mix"), 900)), plan(*FLOAT16.kernel_list[1:]), ["up"])
    much = audit(plan(kernel("gemm", ("int8", "int8"), ("up",), 1100)), plan(*FLOAT16.kernel_list[1:]), ["up"])
    assert little.verdict().startswith("may win: +0 kernels, 0.90 of the bytes")
    assert much.verdict().startswith("expect fp16 to win") and "measure on the device" in much.verdict()
    assert "nothing is known" in audit(b"no engine", FLOAT16).verdict()


def test_a_lost_block_is_named_by_its_layers():
    found = audit(plan(kernel("gemm", ("fp16", "fp16"), ("scores",))), FLOAT16)
    assert found.lost == (BLOCK,) and "1 attention blocks fell apart" in found.verdict()
    assert any("attention lost: scores, scaled" in line for line in found.lines())


def test_sites_around_a_block_are_the_nearest_ones():
    graph = quantised(vit(), FEEDS)
    names = chosen(graph)
    assert set(names) == {"to_q", "to_k", "to_v", "project", "up", "down"}
    assert set(sites_around(graph.model, [BLOCK], names)) == {"to_q", "to_k", "to_v", "project"}
    # a product that is no site ends the walk all the same: what lies behind it is not beside the block
    assert set(sites_around(graph.model, [BLOCK], ["up", "down", "to_q"])) == {"to_q"}
    assert sites_around(graph.model, [], names) == []


def test_the_quantised_products_of_a_graph():
    graph = quantised(vit(), FEEDS)
    assert list(quantised_products(to_precision(graph.model, "fp16").model)) == chosen(graph)
    assert quantised_products(vit()) == ()


def attention_in_int8(keep):
    """The block's own products quantised, which takes the fusion apart, unless ``project`` is to stay as it is."""
    graph = quantised(vit(), FEEDS, keep=keep)
    model = graph.model.clone()
    if "project" not in keep:
        for node in list(model.graph):
            if node.name == "softmax":
                scale, zero = add_constant(model, "half", np.float32(1)), add_constant(model, "none", np.int8(0))
                after = next(use.node for use in node.outputs[0].uses())
                for word, index in (("left", 0), ("right", 1)):
                    codes = insert(after, "QuantizeLinear", [after.inputs[index], scale, zero], output=f"{word}_codes",
                                     name=f"{word}_Q", dtype=ir.DataType.INT8)  # fmt: skip
                    real = insert(after, "DequantizeLinear", [codes, scale, zero], output=f"{word}_real",
                                    name=f"{word}_DQ", dtype=ir.DataType.FLOAT)  # fmt: skip
                    after.replace_input_with(index, real)
    return to_precision(model, "fp16", engine="tensorrt_rtx").model, chosen(graph)


@pytest.fixture(scope="module")
def float16():
    return read_engine(rtx.build_rtx_engine(to_precision(vit(), "fp16").model, "sm89"))


@needs_rtx
def test_every_site_runs_on_integer_kernels_and_the_attention_stays_fused(float16):
    graph = quantised(vit(), FEEDS)
    typed = to_precision(graph.model, "fp16", engine="tensorrt_rtx").model
    found = audit(rtx.build_rtx_engine(typed, "sm89"), float16, chosen(graph))
    assert found.real == tuple(chosen(graph)) and not found.in_name_only and not found.lost
    assert found.quantised.recognised == 1.0
    assert found.quantised.fused_attention == float16.fused_attention == 1
    # scales of q, k and v, the heads put together in int8, GELU: what an int8 product does not take along
    assert found.quantised.kernels <= float16.kernels + 5


@needs_rtx
def test_a_block_that_falls_apart_gets_its_sites_back(float16):
    built = []

    def build(model):
        built.append(rtx.build_rtx_engine(model, "sm89"))
        return built[-1]

    found = build_audited(attention_in_int8, float16, build)
    assert audit(built[0], float16).lost, "the fixture must lose the fusion first"
    assert not found.audit.lost and found.rounds == 2 and found.engine is built[1]
    assert {"to_q", "to_k", "to_v", "project"} == set(found.given_back)
    assert "not one kernel" in found.given_back["project"]
    assert found.audit.real == ("up", "down")


@needs_rtx
def test_what_cannot_be_mended_is_reported(float16):
    graph, _ = attention_in_int8({})
    found = build_audited(lambda keep: (graph, ("to_q",)), float16, lambda model: rtx.build_rtx_engine(model, "sm89"))
    assert found.audit.lost and found.rounds == 4 and list(found.given_back) == ["to_q"]
