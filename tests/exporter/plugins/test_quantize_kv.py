"""QuantizeK and QuantizeV: reference, ONNX body and Triton kernel agree in every code and every stored half."""

from __future__ import annotations

import re

import numpy as np
import pytest
from fused_ops import in_interpreter, model_of, on_onnxruntime, open_body, reference
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rtx_build import builds_on_rtx

from edgesmith.exporter.plugins.kv.hadamard import fwht
from edgesmith.exporter.plugins.kv.packing import BITS, dequantize_k, dequantize_v, unpack
from edgesmith.exporter.plugins.kv.quantise import K_OP, V_OP
from edgesmith.exporter.plugins.pack.pack import PACKED
from edgesmith.runtime.plugins.pack import read_pack

SHAPES = st.tuples(st.integers(1, 2), st.integers(1, 2), st.integers(1, 70), st.sampled_from((64, 128)))
KINDS = ("normal", "biased", "constant", "tiny", "huge")
LARGEST = {"float32": 3e5, "float16": 6e4}  # float32 may go where float16, which stores the minimum, cannot


def rows(kind, shape, seed, dtype):
    """Keys or values of one kind: plain, with Qwen2.5's key bias, without any range, with hardly one, at the limits."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(shape)
    match kind:
        case "biased":
            x = x + rng.standard_normal(shape[-1]) * 300
        case "constant":
            x = np.broadcast_to(rng.standard_normal(shape[-1]), shape)
        case "tiny":
            x = 0.5 + x * 1e-6
        case "huge":
            x = np.clip(x / 2, -1, 1) * LARGEST[dtype]
    return x.astype(dtype)


def assert_equal_everywhere(op, x, attributes):
    codes, meta = reference(op, [x], attributes)
    assert np.isfinite(meta).all()
    for run in (on_onnxruntime, open_body, in_interpreter):
        got_codes, got_meta = run(op, [x], attributes)
        assert np.array_equal(got_meta.view(np.int16), meta.view(np.int16)), run.__name__
        assert np.array_equal(got_codes, codes), run.__name__


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@settings(max_examples=15, deadline=None, derandomize=True)
@given(
    shape=st.tuples(st.integers(1, 2), st.integers(1, 2), st.integers(1, 70), st.sampled_from((32, 48, 128))),
    bits=st.sampled_from(BITS),
    tokens=st.sampled_from((64, 32, 24)),
    kind=st.sampled_from(KINDS),
    seed=st.integers(0, 999),
)
@example(shape=(1, 1, 1, 32), bits=2, tokens=64, kind="normal", seed=0)
@example(shape=(2, 2, 65, 128), bits=4, tokens=64, kind="biased", seed=0)  # one token in the last group
@example(shape=(1, 2, 9, 128), bits=8, tokens=64, kind="huge", seed=0)
def test_keys_have_the_same_codes_everywhere(dtype, shape, bits, tokens, kind, seed):
    assert_equal_everywhere(K_OP, rows(kind, shape, seed, dtype), {"bits": bits, "tokens": tokens})


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@settings(max_examples=15, deadline=None, derandomize=True)
@given(
    shape=SHAPES,
    bits=st.sampled_from(BITS),
    rotate=st.integers(0, 1),
    kind=st.sampled_from(KINDS),
    seed=st.integers(0, 999),
)
@example(shape=(2, 2, 33, 128), bits=4, rotate=1, kind="normal", seed=0)
@example(shape=(1, 1, 5, 128), bits=8, rotate=1, kind="huge", seed=0)
@example(shape=(1, 1, 5, 64), bits=2, rotate=1, kind="constant", seed=0)
def test_values_have_the_same_codes_everywhere(dtype, shape, bits, rotate, kind, seed):
    assert_equal_everywhere(V_OP, rows(kind, shape, seed, dtype), {"bits": bits, "rotate": rotate})


@settings(max_examples=10, deadline=None, derandomize=True)
@given(size=st.sampled_from((16, 32, 256)), bits=st.sampled_from(BITS), seed=st.integers(0, 999))
def test_bodies_rotate_heads_that_no_kernel_takes(size, bits, seed):
    x, attributes = rows("normal", (1, 2, 7, size), seed, "float32"), {"bits": bits, "rotate": 1}
    assert not V_OP.variants_for("float32", V_OP.schema.bind([x.shape], attributes))
    for run in (on_onnxruntime, open_body):
        for got, wanted in zip(run(V_OP, [x], attributes), reference(V_OP, [x], attributes), strict=True):
            assert np.array_equal(got, wanted)


@pytest.mark.parametrize("kind", ["normal", "biased"])
@pytest.mark.parametrize("bits", BITS)
def test_a_key_comes_back_within_half_a_step(kind, bits):
    k = rows(kind, (2, 2, 100, 64), bits, "float16")  # halves, so that every minimum is stored as it is
    codes, meta = reference(K_OP, [k], {"bits": bits, "tokens": 32})
    back = dequantize_k(codes, meta, bits, 32)
    steps = meta.astype(np.float64)[:, :, np.arange(100) // 32, 0]
    # a scale rounded to float16 is off by 2^-11, and its largest multiple by as much of the whole range
    allowed = steps * (0.5 + (2**bits - 1) * 2.0**-11) + 1e-6
    assert (np.abs(back - k.astype(np.float64)) <= allowed).all()


@pytest.mark.parametrize("rotate", [0, 1])
@pytest.mark.parametrize("bits", BITS)
def test_a_value_comes_back_within_half_a_step(bits, rotate):
    v = rows("normal", (2, 2, 30, 128), bits, "float16")
    codes, meta = reference(V_OP, [v], {"bits": bits, "rotate": rotate})
    x = fwht(v.astype(np.float64)) if rotate else v.astype(np.float64)
    steps, minima = (np.repeat(meta[..., i].astype(np.float64), 128 * bits // 8, axis=-1) for i in (0, 1))
    # and a rotated minimum is a float32, off by 2^-11 once it is stored
    allowed = steps * (0.5 + (2**bits - 1) * 2.0**-11) + np.abs(minima) * 2.0**-11 + 1e-6
    assert (np.abs(dequantize_v(codes, meta, bits) - x) <= allowed).all()


@pytest.mark.parametrize("run", [reference, on_onnxruntime, in_interpreter])
def test_a_key_bias_moves_only_its_own_channel(run):
    k = rows("normal", (1, 2, 70, 32), 0, "float32")
    biased = k.copy()
    biased[..., 5] += 600
    others = np.arange(32) != 5
    attributes = {"bits": 4, "tokens": 64}
    (codes, meta), (biased_codes, biased_meta) = (run(K_OP, [x], attributes) for x in (k, biased))
    assert np.array_equal(meta[..., others], biased_meta[..., others])
    assert np.array_equal(unpack(codes, 4)[..., others], unpack(biased_codes, 4)[..., others])
    assert (biased_meta[..., 1, 5] > 500).all()
    assert (
        np.abs(dequantize_k(biased_codes, biased_meta, 4) - biased).max() < 1.0
    )  # half a step, and half a unit of 600


@pytest.mark.parametrize("run", [reference, on_onnxruntime, in_interpreter])
def test_what_float16_cannot_hold_saturates(run):
    k = np.zeros((1, 1, 4, 32), np.float32)
    k[0, 0, :, 0] = [-1e6, -7e4, 0, 1e6]
    k[0, 0, :, 1] = [7e4, 7e4, 7e4, 8e4]
    codes, meta = run(K_OP, [k], {"bits": 8, "tokens": 64})
    assert np.isfinite(meta).all()
    assert meta[0, 0, 0, 1, 0] == -65504 and meta[0, 0, 0, 1, 1] == 65504
    back = dequantize_k(codes, meta, 8)
    assert back[0, 0, 0, 0] == -65504  # the nearest code
    assert abs(back[0, 0, 3, 0] - 1e6) < 1e6 * 0.01
    assert (back[..., 2:] == 0).all()


@pytest.mark.parametrize("bits", BITS)
def test_a_constant_channel_is_exact(bits):
    k = np.full((1, 1, 9, 32), -3.25, np.float32)
    codes, meta = reference(K_OP, [k], {"bits": bits})
    assert (unpack(codes, bits) == 0).all()
    assert np.array_equal(dequantize_k(codes, meta, bits), k)


@pytest.mark.parametrize(("bits", "size"), [(3, 64), (2, 24)])
def test_rows_that_do_not_pack_are_refused(bits, size):
    x = np.zeros((1, 1, 2, size), np.float32)
    for op in (K_OP, V_OP):
        with pytest.raises(ValueError):
            reference(op, [x], {"bits": bits})
        assert not op.variants_for("float32", op.schema.bind([x.shape], {"bits": bits}))


def test_a_rotation_needs_a_power_of_two():
    with pytest.raises(ValueError, match="96 channels"):
        reference(V_OP, [np.zeros((1, 1, 2, 96), np.float32)], {"rotate": 1})


def test_no_kernel_takes_a_group_that_is_larger_than_its_tile():
    shape = (1, 1, 200, 64)
    assert K_OP.variants_for("float16", K_OP.schema.bind([shape], {"tokens": 64}))
    assert not K_OP.variants_for("float16", K_OP.schema.bind([shape], {"tokens": 65}))


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("op", [K_OP, V_OP], ids=["K", "V"])
def test_the_bodies_build_on_rtx(op, dtype):
    attributes = {"bits": 4} | ({} if op is K_OP else {"rotate": 1})
    assert builds_on_rtx(model_of(op, [np.zeros((1, 2, 70, 64), dtype)], attributes)) > 1


@pytest.mark.slow
@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("op", [K_OP, V_OP], ids=["K", "V"])
def test_the_bodies_build_on_rtx_with_open_axes(op, bits):
    attributes = {"bits": bits} | ({} if op is K_OP else {"rotate": 1})
    model = model_of(op, [np.zeros((1, 2, 70, 128), np.float16)], attributes, open_axes=True)
    assert builds_on_rtx(model, sizes={"N": (1, 70, 128)}) > 1


def test_nothing_in_the_ptx_can_change_a_code():
    """No product that a sum could swallow, no division or root that is not IEEE's."""
    pack = read_pack(PACKED)
    for op in (K_OP, V_OP):
        ptx = [pack.ptx[launch.entry] for launch in pack.ops[op.name].launches]
        assert len(ptx) == len(op.kernel.variants)
        floats = set(re.findall(r"\b((?:mul|fma|mad|div|sqrt|rsqrt|rcp)\.[\w.]*f32)\b", "".join(ptx)))
        assert floats == {"div.rn.f32"}
