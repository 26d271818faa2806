"""DequantizeK and DequantizeV: reference = ONNX body = Triton kernel, and the way back of QuantizeK and QuantizeV."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from fused_ops import (
    LIMITS,
    assert_same_everywhere,
    in_interpreter,
    model_of,
    on_onnxruntime,
    reference,
    relative_error,
)
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rtx_build import builds_on_rtx

from edgesmith.exporter.plugins.functions import OPSET, function, node
from edgesmith.exporter.plugins.kv import dequantise as dequantize_kv
from edgesmith.exporter.plugins.kv import quantise as quantize_kv
from edgesmith.exporter.plugins.kv.dequantise import K_OP, V_OP
from edgesmith.exporter.plugins.kv.packing import BITS, pack
from edgesmith.runtime.plugins.schema import DOMAIN


def packed_k(shape, bits, tokens, seed, dtype):
    """Random codes with random scales, and the input that says the type."""
    batch, heads, count, size = shape
    rng = np.random.default_rng(seed)
    codes = pack(rng.integers(0, 2**bits, shape), bits)
    meta = rng.standard_normal((batch, heads, -(-count // tokens), 2, size)).astype(np.float16)
    return [codes, meta, np.zeros(1, dtype)]


def packed_v(shape, bits, seed, dtype):
    rng = np.random.default_rng(seed)
    codes = pack(rng.integers(0, 2**bits, shape), bits)
    return [codes, rng.standard_normal((*shape[:3], 8 // bits, 2)).astype(np.float16), np.zeros(1, dtype)]


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@settings(max_examples=15, deadline=None, derandomize=True)
@given(
    shape=st.tuples(st.integers(1, 2), st.integers(1, 2), st.integers(1, 70), st.sampled_from((32, 48, 128))),
    bits=st.sampled_from(BITS),
    tokens=st.sampled_from((64, 32, 24)),
    seed=st.integers(0, 999),
)
@example(shape=(2, 2, 65, 128), bits=4, tokens=64, seed=0)
@example(shape=(1, 1, 1, 32), bits=2, tokens=64, seed=0)
def test_keys_are_the_same_everywhere(dtype, shape, bits, tokens, seed):
    arrays, attributes = packed_k(shape, bits, tokens, seed, dtype), {"bits": bits, "tokens": tokens}
    assert reference(K_OP, arrays, attributes)[0].dtype == dtype
    assert_same_everywhere(K_OP, arrays, attributes)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@settings(max_examples=15, deadline=None, derandomize=True)
@given(
    shape=st.tuples(st.integers(1, 2), st.integers(1, 2), st.integers(1, 40), st.sampled_from((64, 128))),
    bits=st.sampled_from(BITS),
    rotate=st.integers(0, 1),
    seed=st.integers(0, 999),
)
@example(shape=(2, 2, 33, 128), bits=2, rotate=1, seed=0)
def test_values_are_the_same_everywhere(dtype, shape, bits, rotate, seed):
    arrays, attributes = packed_v(shape, bits, seed, dtype), {"bits": bits, "rotate": rotate}
    assert reference(V_OP, arrays, attributes)[0].dtype == dtype
    assert_same_everywhere(V_OP, arrays, attributes)


@pytest.mark.parametrize("run", [reference, on_onnxruntime, in_interpreter])
@pytest.mark.parametrize("rotate", [0, 1])
def test_quantised_values_come_back(run, rotate):
    v = np.random.default_rng(0).standard_normal((1, 2, 21, 64)).astype(np.float32)
    codes, meta = run(quantize_kv.V_OP, [v], {"bits": 8, "rotate": rotate})
    (back,) = run(V_OP, [codes, meta, np.zeros(1, np.float32)], {"bits": 8, "rotate": rotate})
    # half of the largest step, the minimum's rounding; a rotation keeps the length of a row's error
    step = float(meta[..., 0].max())
    assert np.sqrt(((back - v) ** 2).mean(axis=-1)).max() <= 0.5 * step + 5 * 2.0**-11


@pytest.mark.parametrize("run", [reference, on_onnxruntime, in_interpreter])
def test_quantised_keys_come_back(run):
    k = np.random.default_rng(0).standard_normal((1, 2, 70, 64)).astype(np.float16)
    codes, meta = run(quantize_kv.K_OP, [k], {"bits": 8})
    (back,) = run(K_OP, [codes, meta, np.zeros(1, np.float16)], {"bits": 8})
    assert np.abs(back.astype(np.float32) - k.astype(np.float32)).max() <= 0.6 * float(meta[:, :, :, 0].max())


def test_the_value_of_like_is_not_read():
    codes, meta, _ = packed_v((1, 1, 3, 64), 4, 0, "float32")
    for run in (reference, on_onnxruntime, in_interpreter):
        (got,) = run(V_OP, [codes, meta, np.full(1, np.nan, np.float32)], {})
        assert np.isfinite(got).all()


def test_tensors_that_do_not_belong_together_are_refused():
    codes, meta, like = packed_v((1, 2, 5, 64), 4, 0, "float32")
    with pytest.raises(ValueError, match="DequantizeV.meta"):
        V_OP.schema.bind([codes.shape, meta.shape, like.shape], {"bits": 2})
    codes, meta, like = packed_k((1, 2, 70, 64), 4, 64, 0, "float32")
    with pytest.raises(ValueError, match="DequantizeK.meta"):
        K_OP.schema.bind([codes.shape, meta.shape, like.shape], {"bits": 4, "tokens": 32})
    with pytest.raises(ValueError, match="DequantizeK.codes"):
        K_OP.schema.bind([codes.shape, meta.shape, like.shape], {"bits": 8})
    with pytest.raises(ValueError, match="DequantizeK.like"):
        K_OP.schema.bind([codes.shape, meta.shape, (2,)], {"bits": 4})


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("t", ["float32", "float16", "bfloat16"])
def test_a_kernel_for_every_type_and_width(t, bits):
    names = V_OP.schema.bind([(1, 2, 5, 4 * bits), (1, 2, 5, 8 // bits, 2), (1,)], {"bits": bits})  # heads of 128
    assert len(V_OP.variants_for(t, names)) == 1
    names = K_OP.schema.bind([(1, 2, 5, 3 * bits), (1, 2, 1, 2, 96), (1,)], {"bits": bits})
    assert len(K_OP.variants_for(t, names)) == 1


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_the_bodies_build_on_rtx(dtype):
    assert builds_on_rtx(model_of(K_OP, packed_k((1, 2, 70, 64), 4, 64, 0, dtype), {"bits": 4})) > 1
    assert builds_on_rtx(model_of(V_OP, packed_v((1, 2, 70, 64), 4, 0, dtype), {"bits": 4, "rotate": 1})) > 1


@pytest.mark.slow
@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("rotate", [0, 1])
def test_the_body_of_values_builds_on_rtx_with_open_axes(bits, rotate):
    arrays = packed_v((1, 2, 70, 128), bits, 0, "float16")
    model = model_of(V_OP, arrays, {"bits": bits, "rotate": rotate}, open_axes=True)
    assert builds_on_rtx(model, sizes={"N": (1, 70, 128)}) > 1


def there_and_back(quantize, dequantize, size, attributes):
    """A graph with open batch and tokens: x -> codes, meta -> x again."""
    x, likes, codes, meta, y = "x", "like", "codes", "meta", "y"
    half = onnx.TensorProto.FLOAT16
    graph = onnx.helper.make_graph(
        [
            node(quantize, [x], [codes, meta], attributes),
            node(dequantize, [codes, meta, likes], [y], attributes),
        ],
        "there_and_back",
        [onnx.helper.make_tensor_value_info(x, half, ["B", 2, "N", size])],
        [onnx.helper.make_tensor_value_info(y, half, [None] * 4)],
        [onnx.numpy_helper.from_array(np.zeros(1, np.float16), likes)],
    )
    opsets = [onnx.helper.make_opsetid("", OPSET), onnx.helper.make_opsetid(DOMAIN, 1)]
    functions = [function(quantize), function(dequantize)]
    return onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10, functions=functions)


@pytest.mark.parametrize(
    ("quantize", "dequantize", "attributes"),
    [
        (quantize_kv.K_OP, K_OP, {"bits": 4, "tokens": 32}),
        (quantize_kv.V_OP, V_OP, {"bits": 2, "rotate": 1}),
    ],
    ids=["K", "V"],
)
def test_one_graph_with_open_axes_takes_any_number_of_tokens(quantize, dequantize, attributes):
    model = there_and_back(quantize, dequantize, 64, attributes)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    for tokens in (1, 31, 32, 33, 70):
        x = np.random.default_rng(tokens).standard_normal((2, 2, tokens, 64)).astype(np.float16)
        (wanted,) = reference(dequantize, [*reference(quantize, [x], attributes), x[0, 0, 0, :1]], attributes)
        (y,) = session.run(None, {"x": x})
        assert relative_error(y, wanted) <= LIMITS["float16"]


@pytest.mark.slow
def test_keys_there_and_back_build_on_rtx_with_open_axes():
    model = there_and_back(quantize_kv.K_OP, K_OP, 128, {"bits": 4, "tokens": 64})
    assert builds_on_rtx(model, sizes={"N": (1, 70, 128)}) > 1


def test_both_files_name_their_attributes_alike():
    assert K_OP.schema.attributes == quantize_kv.K_OP.schema.attributes
    assert V_OP.schema.attributes == quantize_kv.V_OP.schema.attributes
    assert dequantize_kv.LIKE.shape == ("1",)
