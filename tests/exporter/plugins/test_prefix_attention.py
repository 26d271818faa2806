"""PrefixAttention: reference = ONNX body = Triton kernel = attention over what the cache holds, at every width."""

from __future__ import annotations

import numpy as np
import pytest
from fused_ops import LIMITS, in_interpreter, model_of, on_onnxruntime, reference, relative_error
from hypothesis import example, given, settings
from hypothesis import strategies as st
from packed_cache import packed, plain_attention, unpacked
from rtx_build import builds_on_rtx

from edgesmith.exporter.plugins.kv.prefix_attention import OP, SIZES

# batch, kv heads, query heads of each, prefix, new tokens
SHAPES = st.tuples(st.integers(1, 2), st.integers(1, 2), st.integers(1, 4), st.integers(1, 140), st.integers(1, 20))


def case(shape, size, dtype, seed=0, tokens=64):
    batch, kv_heads, shared, prefix, new = shape
    dim, bits_k, bits_v = size
    rng = np.random.default_rng(seed)

    def normal(heads, count):
        return rng.standard_normal((batch, heads, count, dim)).astype(dtype)

    cache = packed(normal(kv_heads, prefix), normal(kv_heads, prefix), bits_k, bits_v, tokens)
    arrays = [normal(kv_heads * shared, new), *cache, normal(kv_heads, new), normal(kv_heads, new)]
    return arrays, {"bits_k": bits_k, "bits_v": bits_v, "tokens": tokens, "scale": dim**-0.5}


def open_body(op, arrays, attributes):
    return on_onnxruntime(op, arrays, attributes, open_axes=True)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@settings(max_examples=10, deadline=None, derandomize=True)
@given(shape=SHAPES, size=st.sampled_from(SIZES), seed=st.integers(0, 999))
@example(shape=(1, 1, 1, 1, 1), size=(128, 4, 4), seed=0)
@example(shape=(2, 1, 4, 65, 1), size=(128, 4, 2), seed=0)
@example(shape=(1, 1, 2, 64, 35), size=(128, 2, 2), seed=0)  # more new tokens than a block holds
@example(shape=(1, 2, 1, 130, 33), size=(64, 4, 4), seed=0)
@example(shape=(1, 1, 2, 40, 33), size=(128, 8, 8), seed=0)
def test_body_and_kernel_are_the_reference(dtype, shape, size, seed):
    arrays, attributes = case(shape, size, dtype, seed)
    (wanted,) = reference(OP, arrays, attributes)
    for run in (on_onnxruntime, open_body, in_interpreter):
        (got,) = run(OP, arrays, attributes)
        assert relative_error(got, wanted) <= LIMITS[dtype], run.__name__


@settings(max_examples=15, deadline=None, derandomize=True)
@given(
    shape=SHAPES,
    size=st.sampled_from(((32, 8, 2), (32, 2, 8), (48, 4, 4), (128, 4, 2))),
    tokens=st.sampled_from((64, 32, 24)),
    seed=st.integers(0, 999),
)
def test_the_reference_is_attention_over_what_the_cache_holds(shape, size, tokens, seed):
    arrays, attributes = case(shape, size, "float32", seed, tokens)
    q, *cache, k_new, v_new = arrays
    k, v = unpacked(cache, size[1], size[2], tokens)
    seen = [cache[0].shape[2] + m + 1 for m in range(q.shape[2])]
    wanted = [
        plain_attention(q[b], np.concatenate([k[b], k_new[b]], 1), np.concatenate([v[b], v_new[b]], 1),
                        attributes["scale"], seen)
        for b in range(len(q))
    ]  # fmt: skip
    for run in (reference, open_body):  # sizes without a kernel too
        (got,) = run(OP, arrays, attributes)
        assert relative_error(got, np.stack(wanted)) <= LIMITS["float32"], run.__name__


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_groups_of_another_length_are_attended_like_the_reference(dtype):
    arrays, attributes = case((1, 1, 2, 140, 3), (128, 4, 4), dtype, tokens=128)
    (wanted,) = reference(OP, arrays, attributes)
    (got,) = in_interpreter(OP, arrays, attributes)
    assert relative_error(got, wanted) <= LIMITS[dtype]
    names = OP.schema.bind([array.shape for array in arrays], attributes)
    assert OP.variants_for(dtype, names)
    assert not OP.variants_for(dtype, names | {"tokens": 72})  # its blocks would lie in two groups


@pytest.mark.parametrize("bits", [8, 4, 2])
def test_a_key_scale_that_float16_cannot_multiply(bits):
    """q * scale = 131072 in one channel, whose keys are 0: without a power of two before it the product is infinite."""
    arrays, attributes = case((1, 1, 2, 70, 3), (128, bits, bits), "float16")
    q, k_codes, k_meta, _, _, k_new, _ = arrays
    code = 2 ** (bits - 1) - 1
    k_codes.view(np.uint8)[..., 0] = code  # byte 0 holds channel 0, and for fewer bits others in its upper planes
    scale = np.float16(65536 / 2**bits)
    k_meta[:, :, :, 0, 0], k_meta[:, :, :, 1, 0] = scale, -code * scale
    q[..., 0], k_new[..., 0] = 131072 / float(scale), 0
    attributes["scale"] = (
        0.01  # 65536 is added and taken away in float32, which leaves the score 2^-7 * scale uncertain
    )
    assert (q[..., 0].astype(np.float32) * float(scale) > np.finfo(np.float16).max).all()
    (wanted,) = reference(OP, arrays, attributes)
    (got,) = in_interpreter(OP, arrays, attributes)
    assert relative_error(got, wanted) <= LIMITS["float16"]


@pytest.mark.parametrize("factor", [1e-3, 1e3])
@pytest.mark.parametrize("bits", [8, 4, 2])
def test_values_of_tiny_and_of_large_scales_keep_their_digits(bits, factor):
    """Scales of V down to 1e-5: p * scale is subnormal in float16, and half of its digits would be lost."""
    arrays, attributes = case((1, 1, 2, 130, 3), (128, bits, bits), "float16")
    arrays[3:5] = packed(arrays[5] * 0, np.random.default_rng(1).standard_normal((1, 1, 130, 128)) * factor, 8, bits)[
        2:
    ]
    arrays[6] = (arrays[6] * factor).astype(np.float16)
    (wanted,) = reference(OP, arrays, attributes)
    (got,) = in_interpreter(OP, arrays, attributes)
    assert relative_error(got, wanted) <= LIMITS["float16"]


def test_values_of_no_range_and_a_query_of_zeros():
    arrays, attributes = case((1, 1, 2, 70, 2), (128, 4, 4), "float16")
    arrays[0][:] = 0  # every token counts the same
    arrays[4][..., 0] = 0  # scales that another quantiser may write for constant rows
    (wanted,) = reference(OP, arrays, attributes)
    for run in (on_onnxruntime, in_interpreter):
        (got,) = run(OP, arrays, attributes)
        assert relative_error(got, wanted) <= LIMITS["float16"], run.__name__


def test_a_new_token_does_not_see_the_next():
    arrays, attributes = case((1, 1, 2, 20, 3), (128, 4, 4), "float32")
    later = [array.copy() for array in arrays]
    later[5][:, :, 2], later[6][:, :, 2] = 7, 7
    for run in (reference, on_onnxruntime, in_interpreter):
        (first,), (second,) = run(OP, arrays, attributes), run(OP, later, attributes)
        assert np.array_equal(first[:, :, :2], second[:, :, :2]), run.__name__
        assert not np.array_equal(first[:, :, 2], second[:, :, 2]), run.__name__


def test_shapes_that_do_not_fit_are_refused():
    arrays, attributes = case((1, 1, 3, 70, 2), (128, 4, 4), "float32")
    shapes = [array.shape for array in arrays]
    for index, wrong in ((2, (1, 1, 1, 2, 128)), (3, (1, 1, 70, 32)), (4, (1, 1, 70, 4, 2)), (6, (1, 1, 3, 128))):
        with pytest.raises(ValueError, match=OP.schema.inputs[index].name):
            OP.schema.bind([*shapes[:index], wrong, *shapes[index + 1 :]], attributes)
    with pytest.raises(ValueError, match="3 query heads are not shared evenly by 2"):
        reference(OP, [arrays[0], *(np.concatenate([array] * 2, axis=1) for array in arrays[1:])], attributes)


@pytest.mark.parametrize(("size", "dtype"), [((64, 4, 4), "float16"), ((64, 8, 2), "float32")])
def test_the_body_builds_on_rtx(size, dtype):
    arrays, attributes = case((1, 1, 2, 70, 3), size, dtype)
    assert builds_on_rtx(model_of(OP, arrays, attributes)) > 1


@pytest.mark.parametrize("size", SIZES)
def test_the_body_builds_on_rtx_with_open_axes(size):
    arrays, attributes = case((1, 2, 2, 70, 3), size, "float16")
    assert (
        builds_on_rtx(model_of(OP, arrays, attributes, open_axes=True), sizes={"N": (65, 70, 128), "M": (1, 3, 8)}) > 1
    )
