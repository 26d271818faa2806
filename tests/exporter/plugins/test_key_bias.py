"""The key bias of a packed cache: left out of what is stored, added back exactly where queries meet keys.

score[n] = scale q . (k[n] + R(n) b)        k what the cache holds, R(n) b turned here by complex numbers
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
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
from packed_cache import packed, plain_attention, unpacked
from rtx_build import builds_on_rtx

from edgesmith.exporter.plugins import OPS
from edgesmith.exporter.plugins.kv.prefix_attention import SIZES
from edgesmith.exporter.plugins.torch_ops import torch_op

PREFIX, PARTIAL = OPS["PrefixAttentionBiased"], OPS["KVAttentionPartialBiased"]
WITHOUT = {PREFIX.name: OPS["PrefixAttention"], PARTIAL.name: OPS["KVAttentionPartial"]}
COMBINE = OPS["KVAttentionCombine"]
QWEN = 600.0  # norm of a layer's key bias, of the size that is reported for Qwen2.5
HUNDREDS = (
    1e-4  # scores of some hundreds, summed from terms of thousands: float32 itself leaves a weight this uncertain
)

# kv heads, query heads of each, prefix, new tokens
SHAPES = st.tuples(st.integers(1, 2), st.integers(1, 4), st.integers(1, 140), st.integers(1, 20))


def tables(angle):
    return [np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)]


def bias_of(rng, kv_heads, dim, norm):
    bias = np.zeros((kv_heads, dim))
    for row in bias:
        row[rng.permutation(dim)[:8]] = rng.standard_normal(8)
    return (bias / np.linalg.norm(bias, axis=1, keepdims=True) * norm).astype(np.float32)


def turned(bias, cos, sin):
    """R(n) b, float64 (Hk, N, D): channels c and c + D / 2 are one complex number."""
    half = bias.shape[1] // 2
    numbers = bias[:, None, :half].astype(np.float64) + 1j * bias[:, None, half:].astype(np.float64)
    product = numbers * (cos.astype(np.float64) + 1j * sin.astype(np.float64))
    return np.concatenate([product.real, product.imag], axis=-1)


def random_parts(shape, size, dtype, norm, seed, near=False):
    """q, cache, bias and tables. ``near``: positions that differ little, so that large scores have small differences."""
    kv_heads, shared, prefix, new = shape
    dim, bits_k, bits_v = size
    rng = np.random.default_rng(seed)

    def normal(heads, count):
        return rng.standard_normal((2, heads, count, dim)).astype(dtype)

    cache = packed(normal(kv_heads, prefix), normal(kv_heads, prefix), bits_k, bits_v)
    angle = rng.uniform(-3, 3, (1 if near else prefix, dim // 2))
    if near:
        angle = angle + 0.002 * rng.standard_normal((prefix, dim // 2))
    bias = [bias_of(rng, kv_heads, dim, norm), *tables(angle)]
    return normal(kv_heads * shared, new), cache, normal(kv_heads, new), normal(kv_heads, new), bias


def attributes_of(size):
    return {"bits_k": size[1], "bits_v": size[2], "tokens": 64, "scale": size[0] ** -0.5}


def prefix_case(shape, size, dtype, norm=QWEN, seed=0, near=False):
    q, cache, k_new, v_new, bias = random_parts(shape, size, dtype, norm, seed, near)
    return [q, *cache, k_new, v_new, *bias], attributes_of(size)


def partial_case(shape, size, dtype, lengths, norm=QWEN, seed=0, near=False):
    q, cache, _, _, bias = random_parts((*shape[:3], 1), size, dtype, norm, seed, near)
    return [q, *cache, np.array(lengths, np.int32), *bias], attributes_of(size) | {"splits": 3}


def step(run, arrays, attributes):
    """One decoding step."""
    return run(COMBINE, [*run(PARTIAL, arrays, attributes), arrays[0]], {})[0]


def limit_for(dtype, norm):
    return max(LIMITS[dtype], HUNDREDS if norm == QWEN else 0)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@settings(max_examples=8, deadline=None, derandomize=True)
@given(shape=SHAPES, size=st.sampled_from(SIZES), norm=st.sampled_from((0.0, 3.0, QWEN)), seed=st.integers(0, 999))
@example(shape=(1, 1, 1, 1), size=(128, 4, 4), norm=QWEN, seed=0)
@example(shape=(2, 4, 65, 3), size=(128, 4, 2), norm=QWEN, seed=0)
@example(shape=(1, 2, 130, 18), size=(64, 4, 4), norm=QWEN, seed=0)
def test_body_and_kernel_of_the_prefix_are_the_reference(dtype, shape, size, norm, seed):
    arrays, attributes = prefix_case(shape, size, dtype, norm, seed)
    assert_same_everywhere(PREFIX, arrays, attributes, limit_for(dtype, norm))


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@settings(max_examples=8, deadline=None, derandomize=True)
@given(
    shape=SHAPES,
    size=st.sampled_from(SIZES),
    missing=st.tuples(st.integers(0, 200), st.integers(0, 3)),
    norm=st.sampled_from((0.0, 3.0, QWEN)),
    seed=st.integers(0, 999),
)
@example(shape=(1, 2, 130, 1), size=(128, 4, 2), missing=(66, 0), norm=QWEN, seed=0)
def test_body_and_kernel_of_a_step_are_the_reference(dtype, shape, size, missing, norm, seed):
    arrays, attributes = partial_case(shape, size, dtype, [max(shape[2] - n, 0) for n in missing], norm, seed)
    assert_same_everywhere(PARTIAL, arrays, attributes, limit_for(dtype, norm))


def exact_prefix(arrays, attributes):
    """Attention over stored keys plus the turned bias, written out."""
    q, *cache, k_new, v_new, bias, cos, sin = arrays
    k, v = unpacked(cache, attributes["bits_k"], attributes["bits_v"])
    k = k + turned(bias, cos, sin)
    seen = [k.shape[2] + m + 1 for m in range(q.shape[2])]
    return np.stack([
        plain_attention(q[b], np.concatenate([k[b], k_new[b]], 1), np.concatenate([v[b], v_new[b]], 1),
                        attributes["scale"], seen)
        for b in range(len(q))
    ])  # fmt: skip


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_scores_of_hundreds_keep_their_small_differences(size, dtype):
    """The bias gives all tokens nearly the same large score; an error of float16's 11 bits in it would show in every weight."""
    arrays, attributes = prefix_case((2, 2, 70, 3), size, dtype, near=True)
    q, bias, cos, sin = arrays[0], *arrays[-3:]
    scores = attributes["scale"] * np.einsum("bhmd,hnd->bhmn", q[:, ::2].astype(np.float64), turned(bias, cos, sin))
    assert np.abs(scores).max() > 50 and np.abs(scores - scores.mean(-1, keepdims=True)).max() < 2
    rough = [*arrays[:-2], *(table.astype(np.float16).astype(np.float32) for table in (cos, sin))]
    wanted = exact_prefix(arrays, attributes)
    assert relative_error(exact_prefix(rough, attributes), wanted) > LIMITS["float16"]  # what one float16 would cost
    for run in (reference, on_onnxruntime, in_interpreter):
        limit = LIMITS[dtype] if run is not on_onnxruntime else max(LIMITS[dtype], HUNDREDS)
        assert relative_error(run(PREFIX, arrays, attributes)[0], wanted) <= limit, run.__name__


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_step_is_attention_over_keys_with_their_bias(dtype):
    arrays, attributes = partial_case((2, 2, 150, 1), (128, 4, 4), dtype, [150, 131], near=True)
    q, *cache, length, bias, cos, sin = arrays
    k, v = unpacked(cache, 4, 4)
    k = k + turned(bias, cos, sin)
    wanted = np.stack([plain_attention(q[b], k[b], v[b], attributes["scale"], [int(length[b])]) for b in range(2)])
    for run in (reference, in_interpreter):
        assert relative_error(step(run, arrays, attributes), wanted) <= LIMITS[dtype], run.__name__


@pytest.mark.parametrize("run", [reference, on_onnxruntime, in_interpreter])
def test_a_bias_of_zero_changes_nothing(run):
    for op, (arrays, attributes) in (
        (PREFIX, prefix_case((1, 2, 70, 3), (128, 4, 4), "float32", norm=1.0)),
        (PARTIAL, partial_case((1, 2, 70, 1), (128, 4, 4), "float32", [70, 9], norm=1.0)),
    ):
        arrays[-3][:] = 0
        for got, wanted in zip(
            run(op, arrays, attributes), run(WITHOUT[op.name], arrays[:-3], attributes), strict=True
        ):
            assert relative_error(got, wanted) <= LIMITS["float32"], (
                op.name
            )  # tiles of other sizes sum in another order


def test_leaving_the_bias_out_of_what_is_stored_saves_the_keys():
    """A bias on channels that go round within a group is the range of the codes there; left out, it costs nothing."""
    rng = np.random.default_rng(0)
    k, v = (rng.standard_normal((1, 1, 128, 128)).astype(np.float32) for _ in range(2))
    q = rng.standard_normal((1, 2, 4, 128)).astype(np.float32) / 4
    new = [rng.standard_normal((1, 1, 4, 128)).astype(np.float32) for _ in range(2)]
    bias = bias_of(rng, 1, 128, 100.0)
    cos, sin = tables(np.arange(128)[:, None] * rng.uniform(0.1, 1, 64))
    whole = k + turned(bias, cos, sin)
    attributes = attributes_of((128, 4, 4))
    seen = [128 + m + 1 for m in range(4)]
    keys, values = (np.concatenate([old[0], added[0]], 1) for old, added in zip((whole, v), new, strict=True))
    wanted = plain_attention(q[0], keys, values, attributes["scale"], seen)[None]
    (apart,) = reference(PREFIX, [q, *packed(k, v, 4, 4), *new, bias, cos, sin], attributes)
    (stored,) = reference(WITHOUT[PREFIX.name], [q, *packed(whole.astype(np.float32), v, 4, 4), *new], attributes)
    assert relative_error(apart, wanted) < relative_error(stored, wanted) / 3


@pytest.mark.parametrize("run", [reference, on_onnxruntime, in_interpreter])
def test_tables_behind_the_length_may_hold_anything(run):
    arrays, attributes = partial_case((1, 2, 130, 1), (128, 4, 4), "float32", [66, 66])
    after = [array.copy() for array in arrays]
    after[-2][66:], after[-1][66:] = np.nan, np.inf
    assert np.array_equal(step(run, arrays, attributes), step(run, after, attributes))


def test_the_ops_without_a_bias_are_what_they_were():
    """Graphs, kernel packs and bundles that hold them stay good."""
    packed_names = ["k_codes", "k_meta", "v_codes", "v_meta"]
    for op, names in ((PREFIX, ["q", *packed_names, "k_new", "v_new"]), (PARTIAL, ["q", *packed_names, "length"])):
        plain = WITHOUT[op.name].schema
        assert [tensor.name for tensor in plain.inputs] == names
        assert [tensor.name for tensor in op.schema.inputs] == [*names, "key_bias", "cos", "sin"]
        assert (plain.outputs, plain.attributes) == (op.schema.outputs, op.schema.attributes)


def test_shapes_that_do_not_fit_are_refused():
    arrays, attributes = prefix_case((1, 2, 70, 2), (128, 4, 4), "float32")
    shapes = [array.shape for array in arrays]
    for index, wrong in ((7, (2, 128)), (8, (70, 128)), (9, (69, 64))):
        with pytest.raises(ValueError, match=PREFIX.schema.inputs[index].name):
            PREFIX.schema.bind([*shapes[:index], wrong, *shapes[index + 1 :]], attributes)


def test_the_torch_ops_are_the_references():
    for op, (arrays, attributes) in (
        (PREFIX, prefix_case((2, 2, 70, 3), (64, 4, 4), "float32")),
        (PARTIAL, partial_case((2, 2, 70, 1), (64, 4, 4), "float32", [70, 9])),
    ):
        got = torch_op(op)(*map(torch.from_numpy, arrays), **attributes)
        for one, wanted in zip(
            got if isinstance(got, tuple) else (got,), reference(op, arrays, attributes), strict=True
        ):
            assert np.array_equal(one.numpy(), wanted)


@pytest.mark.parametrize(("op", "axes"), [(PREFIX, {"M": (1, 3, 8)}), (PARTIAL, {})], ids=["prefix", "step"])
def test_the_bodies_build_on_rtx_with_open_axes(op, axes):
    case = prefix_case if op is PREFIX else partial_case
    arrays, attributes = case((2, 2, 70, 3), (128, 4, 4), "float16", *([[70, 9]] if op is PARTIAL else []))
    assert builds_on_rtx(model_of(op, arrays, attributes, open_axes=True), sizes={"N": (65, 70, 128), **axes}) > 1
