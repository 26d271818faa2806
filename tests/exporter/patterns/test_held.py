"""Folds on float16 graphs: what would leave the type's range is left alone, in words; what fits is folded."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from graph_asserts import parse, weights
from onnx import numpy_helper

from edgesmith.exporter.patterns.base import Pattern
from edgesmith.exporter.patterns.convolutions.fold_batchnorm import FoldBatchNorm
from edgesmith.exporter.patterns.convolutions.large_kernel_attention import FoldNormalisedShortcut
from edgesmith.exporter.patterns.convolutions.layer_scale import FoldLayerScale
from edgesmith.exporter.patterns.convolutions.rep_convolution import FoldRepConvolution
from edgesmith.exporter.patterns.convolutions.rescale_trunk import RescaleTrunk
from edgesmith.exporter.patterns.matchers.held import unheld
from edgesmith.graph.run import open_session

CONSTANTS = weights(
    w=(4, 4, 1, 1), q=(4, 4, 1, 1), large=(4, 4, 3, 3), b=(4,), s=(4,), t=(4,), m=(4,), v=(4,), f=(4, 1, 1), k=(5, 5),
    d=(5,), a=(5,),
)  # fmt: skip
BODIES: dict[str, tuple[type[Pattern], str]] = {
    "BatchNorm after": (FoldBatchNorm, "c = Conv(x, w, b) y = BatchNormalization(c, s, t, m, v)"),
    "BatchNorm before": (FoldBatchNorm, "c = BatchNormalization(x, s, t, m, v) y = Conv(c, w, b)"),
    "scale": (FoldLayerScale, "c = Conv(x, w, b) y = Mul(c, f)"),
    "scale of a linear layer": (FoldLayerScale, "c = MatMul(x, k) e = Add(c, d) y = Mul(e, a)"),
    "branches": (FoldRepConvolution, "c = Conv<pads = [1, 1, 1, 1]>(x, large, b) e = Conv(x, q) y = Add(c, e)"),
    "shortcut": (
        FoldNormalisedShortcut,
        "n = BatchNormalization(x, s, t, m, v) c = Conv(n, w, b) e = Add(n, c) l = Mul(f, e) y = Add(x, l)",
    ),
    "trunk": (RescaleTrunk, "h = Conv(x, w, b) c = Conv(h, q, b) l = Mul(h, f) y = Add(l, c)"),
}
MANY: dict[str, tuple[str, dict[str, float]]] = {  # what is too large, or so small that rounding is all that is left
    "times a factor": ("BatchNorm after", {"w": 300.0, "s": 300.0, "v": 1.0}),
    "a shift": ("BatchNorm after", {"s": 300.0, "m": 300.0, "v": 1.0}),
    "behind it": ("BatchNorm before", {"w": 300.0, "s": 300.0, "v": 1.0}),
    "behind it, its shift": ("BatchNorm before", {"w": 200.0, "t": 100.0, "m": 0.0}),
    "a layer scale": ("scale", {"w": 300.0, "f": 300.0}),
    "a bias of it": ("scale", {"b": 300.0, "f": 300.0}),
    "a small one": ("scale", {"w": 1e-4, "f": 1e-3}),
    "of a linear layer": ("scale of a linear layer", {"k": 300.0, "a": 300.0}),
    "its bias": ("scale of a linear layer", {"d": 300.0, "a": 300.0}),
    "a sum": ("branches", {"large": 4e4, "q": 4e4}),
    "a scaled branch": ("shortcut", {"w": 300.0, "f": 300.0, "s": 1.0, "v": 1.0}),
    "a normalised branch": ("shortcut", {"w": 300.0, "s": 300.0, "v": 1.0, "f": 1.0}),
    "both, each of which fits": ("shortcut", {"w": 50.0, "s": 50.0, "v": 1.0, "f": 50.0}),
    "a factor on the shortcut": ("shortcut", {"w": 1e-2, "s": 300.0, "v": 1.0, "f": 300.0}),
    "a trunk's start": ("trunk", {"w": 3e4, "f": 4.0}),
    "a trunk's reader": ("trunk", {"q": 3e4, "f": 0.25, "w": 1.0}),
}
SOUND = {"times a factor", "a layer scale", "a small one", "of a linear layer", "a scaled branch", "a trunk's start"}


def half(body: str, changed: dict[str, float]) -> ir.Model:
    """The graph in float16; constants that are named hold one number."""
    text = f'<ir_version: 10, opset_import: ["" : 20]> g (float[2, 4, 5, 5] x) => (float[2, 4, 5, 5] y) <{CONSTANTS}>'
    proto = ir.to_proto(parse(f"{text} {{ {body} }}"))
    for tensor in proto.graph.initializer:
        array = numpy_helper.to_array(tensor)
        array = np.full_like(array, changed[tensor.name]) if tensor.name in changed else array
        tensor.CopyFrom(numpy_helper.from_array(array.astype(np.float16), tensor.name))
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    del proto.graph.value_info[:]
    return ir.from_proto(onnx.shape_inference.infer_shapes(proto))


def answer(model: ir.Model, size: float) -> np.ndarray:
    images = (size * np.random.default_rng(0).standard_normal((2, 4, 5, 5))).astype(np.float16)
    (found,) = open_session(model, optimise=False).run(None, {"x": images})
    return found.astype(np.float64)


def applied(step: type[Pattern], model: ir.Model) -> tuple[int, list[str]]:
    """How often, and what was refused."""
    record = step().run(model)
    return record.count, [refusal.why for refusal in record.refused]


@pytest.mark.parametrize("name", BODIES)
def test_what_fits_is_folded(name: str):
    step, body = BODIES[name]
    model = half(body, {})
    before = answer(model, 1.0)
    assert applied(step, model)[0] == 1
    np.testing.assert_allclose(answer(model, 1.0), before, rtol=2e-2, atol=2e-2)  # some roundings of 2**-11 of up to 8


@pytest.mark.parametrize("name", MANY)
def test_what_does_not_fit_is_left_alone(name: str):
    body, changed = MANY[name]
    step, text = BODIES[body]
    model = half(text, changed)
    before = answer(model, 1e-4)
    if name in SOUND:
        assert np.isfinite(before).all(), "the graph is of use, and folded it would not be"
    count, told = applied(step, model)
    assert count == 0 and any("which float16 does not hold" in why for why in told), told
    np.testing.assert_array_equal(answer(model, 1e-4), before)


@pytest.mark.parametrize("name", MANY)
def test_in_float32_it_is_folded(name: str):
    body, changed = MANY[name]
    step, text = BODIES[body]
    proto = ir.to_proto(half(text, changed))
    for tensor in proto.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name))
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    del proto.graph.value_info[:]
    assert applied(step, ir.from_proto(onnx.shape_inference.infer_shapes(proto)))[0] == 1


def test_the_largest_and_the_smallest_that_a_type_holds():
    one = np.ones(1)
    assert unheld(np.dtype(np.float16), 65504 * one) == "" != unheld(np.dtype(np.float16), 65520 * one)
    assert unheld(np.dtype(np.float16), 2.0**-16 * one) == "" != unheld(np.dtype(np.float16), 2.0**-18 * one)
    assert unheld(np.dtype(np.float16), one, 2.0**-30 * one) == "" != unheld(np.dtype(np.float16), one, -1e5 * one)
    assert unheld(np.dtype(np.float16), 0 * one) == unheld(np.dtype(np.float32), 1e30 * one, 1e-30 * one) == ""
    assert "nan" in unheld(np.dtype(np.float32), np.nan * one)
