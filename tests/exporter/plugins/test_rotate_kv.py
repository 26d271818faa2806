"""RotateKV: folding is exact, what is read is what was written, and body and kernel are the reference."""

from __future__ import annotations

import numpy as np
import pytest
from fused_ops import assert_same_everywhere, in_interpreter, model_of, on_onnxruntime, reference
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rtx_build import builds_on_rtx

from edgesmith.exporter.plugins.kv.hadamard import fwht
from edgesmith.exporter.plugins.kv.packing import BITS, pack
from edgesmith.exporter.plugins.kv.quantise import reference_v
from edgesmith.exporter.plugins.kv.rotate import OP, channel_order, fold, places, rope, rotate, sink_tokens

# kv heads, heads rotated together, head size: Qwen2.5-VL-3B, two groups of two, 7B
LAYOUTS = ((2, 2, 128), (4, 2, 64), (4, 4, 128))


def angles(tokens, size, seed):
    turn = np.random.default_rng(seed).uniform(-3, 3, (tokens, size // 2))
    return np.cos(turn).astype(np.float32), np.sin(turn).astype(np.float32)


def random_case(batch, tokens, kept, layout, bits, seed, dtype):
    """Random codes, scales, order and bias; some tokens are sinks."""
    kv_heads, heads, size = layout
    rng = np.random.default_rng(seed)
    codes = pack(rng.integers(0, 2**bits, (batch, kv_heads, tokens, size)), bits)
    meta = rng.standard_normal((batch, kv_heads, tokens, 8 // bits, 2)).astype(np.float16)
    place = rng.permutation(kv_heads * size).astype(np.int32)
    bias = rng.standard_normal((kv_heads, size)).astype(np.float32)
    slot = rng.integers(-2 * kept, kept, (batch, tokens)).clip(-1).astype(np.int32)
    sinks = rng.standard_normal((batch, kv_heads, kept, size)).astype(dtype)
    return [codes, meta, place, bias, *angles(tokens, size, seed), slot, sinks], {"bits": bits, "heads": heads}


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@settings(max_examples=12, deadline=None, derandomize=True)
@given(
    batch=st.integers(1, 2),
    tokens=st.integers(1, 20),
    kept=st.integers(1, 3),
    layout=st.sampled_from(LAYOUTS),
    bits=st.sampled_from(BITS),
    seed=st.integers(0, 999),
)
@example(batch=2, tokens=17, kept=2, layout=(4, 2, 64), bits=4, seed=0)
def test_body_and_kernel_are_the_reference(dtype, batch, tokens, kept, layout, bits, seed):
    arrays, attributes = random_case(batch, tokens, kept, layout, bits, seed, dtype)
    assert_same_everywhere(OP, arrays, attributes)


@settings(max_examples=10, deadline=None, derandomize=True)
@given(heads=st.sampled_from((1, 2, 4)), seed=st.integers(0, 999))
def test_a_folded_projection_gives_rotated_sorted_keys(heads, seed):
    kv_heads, size, inputs, tokens = 4, 16, 24, 30
    rng = np.random.default_rng(seed)
    weight, hidden = rng.standard_normal((kv_heads * size, inputs)), rng.standard_normal((tokens, inputs))
    keys = (hidden @ weight.T).reshape(tokens, kv_heads, size)
    order = channel_order(rotate(keys, heads))
    folded = hidden @ fold(weight, order, kv_heads, heads).T
    assert np.allclose(folded, rotate(keys, heads).reshape(tokens, -1)[:, order], rtol=0, atol=1e-12)
    assert (np.diff(folded.sum(axis=0)) >= -1e-9).all()  # similar channels stand together
    assert np.array_equal(np.arange(kv_heads * size), order[places(order)])


@pytest.mark.parametrize("run", [reference, on_onnxruntime, in_interpreter])
@pytest.mark.parametrize("layout", [(2, 2, 128), (4, 2, 64)])
def test_keys_that_were_folded_and_quantised_come_back_after_rope(run, layout):
    kv_heads, heads, size = layout
    tokens, rng = 21, np.random.default_rng(0)
    hidden, weight = rng.standard_normal((tokens, 40)), rng.standard_normal((kv_heads * size, 40)) / 6
    keys = (hidden @ weight.T).reshape(tokens, kv_heads, size)
    bias = (rng.standard_normal((kv_heads, size)) * 300).astype(np.float32)  # Qwen2.5's
    order = channel_order(rotate(keys, heads))
    stored = (hidden @ fold(weight, order, kv_heads, heads).T).reshape(tokens, kv_heads, size).swapaxes(0, 1)[None]
    codes, meta = reference_v(stored.astype(np.float32), bits=8)
    cos, sin = angles(tokens, size, 1)
    exact = rope(keys.swapaxes(0, 1)[None] + bias[:, None], cos, sin)  # (1, Hk, N, D)
    slot = sink_tokens(hidden, 3)[None]
    sinks = exact[:, :, slot[0] >= 0].astype(np.float32)
    arrays = [codes, meta, places(order), bias, cos, sin, slot, sinks]
    (back,) = run(OP, arrays, {"bits": 8, "heads": heads})
    # a rotation and RoPE keep the length of an error: root mean square over the heads rotated together
    error = np.sqrt(((back - exact) ** 2).mean(axis=(1, 3)))[0]
    assert error.max() <= 0.5 * float(meta[..., 0].max()) + 5 * 2.0**-11 + 1e-4
    assert np.array_equal(back[:, :, slot[0] >= 0], sinks)
    assert error[slot[0] < 0].min() > 0


def test_the_bias_would_take_the_scales_if_it_were_stored():
    rng = np.random.default_rng(0)
    keys = rng.standard_normal((1, 2, 50, 128)).astype(np.float32)
    bias = np.zeros((2, 1, 128), np.float32)
    bias[:, 0, [3, 70]] = 600
    with_bias, without = (
        reference_v(rotate(x.swapaxes(1, 2), 2).swapaxes(1, 2), bits=4)[1][..., 0].astype(np.float64).mean()
        for x in (keys + bias, keys)
    )
    assert with_bias > 10 * without


def test_sinks_are_the_tokens_with_the_largest_activation():
    hidden = np.ones((6, 4))
    hidden[4, 1], hidden[1, 0] = -9, 5
    assert sink_tokens(hidden, 2).tolist() == [-1, 0, -1, -1, 1, -1]
    assert sink_tokens(hidden[:2], 20).tolist() == [0, 1]


def test_rotates_several_heads_together():
    keys = np.random.default_rng(0).standard_normal((3, 4, 8))
    pairs = fwht(keys.reshape(3, 2, 16)).reshape(3, 4, 8)
    assert np.array_equal(rotate(keys, 2), pairs)
    assert np.allclose(rotate(rotate(keys, 4), 4), keys)
    with pytest.raises(ValueError, match="24 channels"):
        rotate(keys[:, :3], 3)


def test_shapes_that_do_not_belong_together_are_refused():
    arrays, attributes = random_case(1, 5, 1, (2, 2, 64), 4, 0, "float32")
    for index, wrong in ((1, (1, 2, 5, 4, 2)), (2, (64,)), (4, (5, 64)), (6, (1, 6)), (7, (1, 2, 1, 32))):
        shapes = [array.shape for array in arrays]
        shapes[index] = wrong
        with pytest.raises(ValueError, match=f"DequantizeRotatedK.{OP.schema.inputs[index].name}"):
            OP.schema.bind(shapes, attributes)


def test_no_kernel_takes_heads_that_are_not_in_whole_rotations():
    arrays, _ = random_case(1, 5, 1, (3, 1, 128), 4, 0, "float32")
    names = OP.schema.bind([array.shape for array in arrays], {"bits": 4, "heads": 2})
    assert not OP.variants_for("float32", names)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_the_body_builds_on_rtx(dtype):
    arrays, attributes = random_case(1, 30, 2, (4, 2, 64), 4, 0, dtype)
    assert builds_on_rtx(model_of(OP, arrays, attributes)) > 1


@pytest.mark.slow
def test_the_body_builds_on_rtx_with_open_axes():
    arrays, attributes = random_case(1, 70, 2, (2, 2, 128), 4, 0, "float16")
    assert builds_on_rtx(model_of(OP, arrays, attributes, open_axes=True), sizes={"N": (1, 70, 128)}) > 1
