"""GGeM's powers by logarithm, for both layouts; kept in float32 by the typed graph."""

import numpy as np
import pytest
from graph_asserts import assert_refuses, assert_rewrites, parse

from edgesmith.exporter.patterns.tokens.ggem_pool import GGeMPowers
from edgesmith.exporter.precision.casts import to_precision

P, INVERSE = "3.0, 2.0, 1.0, 4.0", "0.33333334, 0.5, 1.0, 0.25"
POOL = """
<ir_version: 10, opset_import: ["" : 20]>
pool (float[batch, 9, 8] x) => (float[batch, 8] y)
<float eps = {1e-6}, int64[4] grouped = {-1, 9, 4, 2}, int64[1] axis = {1}, int64[2] flat = {-1, 8},
 float[4, 1] p = {3.0, 2.0, 1.0, 4.0}, float[4, 1] q = {0.33333334, 0.5, 1.0, 0.25}>
{
  a = Clip(x, eps)
  b = Reshape(a, grouped)
  c = Pow(b, p)
  d = ReduceMean<keepdims = 0>(c, axis)
  e = Pow(d, q)
  y = Reshape(e, flat)
}
"""
TO = ["Clip", "Reshape", "Log", "Mul", "Exp", "ReduceMean", "Pow", "Reshape"]


@pytest.mark.parametrize("layout", ["contiguous", "interleaved"])
def test_learned_powers_become_exponentials(layout):
    text = POOL
    if layout == "interleaved":
        text = text.replace("{-1, 9, 4, 2}", "{-1, 9, 2, 4}").replace("float[4, 1]", "float[1, 4]")
    assert_rewrites(GGeMPowers, text, to=TO)


def test_equal_whole_powers_become_one_number():
    text = POOL.replace(P, "3.0, 3.0, 3.0, 3.0").replace(INVERSE, ", ".join(["0.33333334"] * 4))
    model = assert_rewrites(GGeMPowers, text, to=["Clip", "Reshape", "Pow", "ReduceMean", "Pow", "Reshape"])
    powers = [node for node in model.graph if node.op_type == "Pow"]
    assert powers[0].inputs[1].shape.numpy() == ()


def test_the_typed_graph_keeps_the_pooling_in_float32():
    model = parse(POOL)
    GGeMPowers().run(model)
    islands = {island["op"]: island["why"] for island in to_precision(model, "fp16").islands}
    assert {"Clip", "Log", "Mul", "Exp", "ReduceMean", "Pow"} <= set(islands)
    assert all("GGeM" in why for why in islands.values())


@pytest.mark.parametrize("largest", [1e3, 30.0])
def test_agrees_with_float64_over_the_range_of_tokens(largest):
    rng = np.random.default_rng(3)
    x = rng.uniform(-largest, largest, (2, 9, 8)).astype(np.float32)
    p = np.array([3.0, 2.0, 1.0, 4.0])[:, None]
    grouped = np.maximum(x.astype(np.float64), 1e-6).reshape(2, 9, 4, 2)
    expected = ((grouped**p).mean(1) ** (1 / p)).reshape(2, 8)
    model = parse(POOL)
    GGeMPowers().run(model)
    np.testing.assert_allclose(_run(model, x), expected, rtol=5e-6)  # p log x is up to 30, in units of 2**-24


def _run(model, x):
    import onnx_ir as ir
    import onnxruntime

    session = onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


def test_refuses_exponents_that_are_not_reciprocal():
    assert_refuses(GGeMPowers, POOL.replace("1.0, 0.25", "1.0, 0.5"), because="not reciprocal")


def test_refuses_without_a_positive_bound():
    assert_refuses(GGeMPowers, POOL.replace("{1e-6}", "{0.0}"), because="no positive lower bound")


def test_refuses_when_another_node_reads_the_powers():
    tapped = POOL.replace("(float[batch, 8] y)", "(float[batch, 8] y, float[batch, 9, 4, 2] c)")
    assert_refuses(GGeMPowers, tapped, because="other uses")


def test_a_mean_of_squares_is_no_pooling():
    text = POOL.replace("e = Pow(d, q)", "e = Relu(d)")
    assert_refuses(GGeMPowers, text, because="without its root")
