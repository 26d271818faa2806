"""KVAttentionPartial and KVAttentionCombine: each alone in every form, and both together against plain attention."""

from __future__ import annotations

import numpy as np
import pytest
from fused_ops import LIMITS, in_interpreter, model_of, on_onnxruntime, reference, relative_error
from hypothesis import example, given, settings
from hypothesis import strategies as st
from packed_cache import packed, plain_attention, unpacked
from rtx_build import builds_on_rtx

from edgesmith.exporter.plugins.kv.attention import COMBINE, PARTIAL
from edgesmith.exporter.plugins.kv.prefix_attention import OP as PREFIX
from edgesmith.exporter.plugins.kv.prefix_attention import SIZES

# batch, kv heads, query heads of each, capacity
SHAPES = st.tuples(st.integers(1, 3), st.integers(1, 2), st.integers(1, 16), st.integers(1, 200))


def case(shape, size, dtype, lengths, seed=0, tokens=64, splits=3):
    batch, kv_heads, shared, capacity = shape
    dim, bits_k, bits_v = size
    rng = np.random.default_rng(seed)
    k, v = (rng.standard_normal((batch, kv_heads, capacity, dim)).astype(dtype) for _ in range(2))
    q = rng.standard_normal((batch, kv_heads * shared, 1, dim)).astype(dtype)
    length = np.resize(np.array(lengths, np.int32), batch)
    attributes = {"bits_k": bits_k, "bits_v": bits_v, "tokens": tokens, "scale": dim**-0.5, "splits": splits}
    return [q, *packed(k, v, bits_k, bits_v, tokens), length], attributes


def open_body(op, arrays, attributes):
    return on_onnxruntime(op, arrays, attributes, open_axes=True)


def both(run, arrays, attributes):
    """One decoding step."""
    return run(COMBINE, [*run(PARTIAL, arrays, attributes), arrays[0]], {})[0]


def plain(arrays, attributes):
    """The same, written out; 0 where a sequence has no token."""
    q, *cache, length = arrays
    k, v = unpacked(cache, attributes["bits_k"], attributes["bits_v"], attributes["tokens"])
    return np.stack([
        plain_attention(q[b], k[b], v[b], attributes["scale"], [int(length[b])]) if length[b] else np.zeros(q[b].shape)
        for b in range(len(q))
    ])  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@settings(max_examples=10, deadline=None, derandomize=True)
@given(
    shape=SHAPES,
    size=st.sampled_from(SIZES),
    missing=st.lists(st.integers(0, 200), min_size=3, max_size=3),
    splits=st.integers(1, 5),
    seed=st.integers(0, 999),
)
@example(shape=(1, 1, 1, 1), size=(128, 4, 4), missing=[0], splits=1, seed=0)
@example(
    shape=(2, 1, 5, 130), size=(128, 4, 2), missing=[0, 66], splits=3, seed=0
)  # the second has one group, two empty
@example(shape=(1, 2, 19, 70), size=(64, 4, 4), missing=[0], splits=2, seed=0)  # more heads than a tile has rows
def test_bodies_and_kernels_are_the_references(dtype, shape, size, missing, splits, seed):
    lengths = [max(shape[3] - count, 0) for count in missing]
    arrays, attributes = case(shape, size, dtype, lengths, seed, splits=splits)
    wanted = reference(PARTIAL, arrays, attributes)
    joined = [*wanted, arrays[0]]
    for run in (on_onnxruntime, open_body, in_interpreter):
        for got, part in zip(run(PARTIAL, arrays, attributes), wanted, strict=True):
            assert relative_error(got, part) <= LIMITS[dtype], run.__name__
        (got,) = run(COMBINE, joined, {})
        assert relative_error(got, reference(COMBINE, joined, {})[0]) <= LIMITS[dtype], run.__name__


@settings(max_examples=15, deadline=None, derandomize=True)
@given(
    shape=SHAPES,
    size=st.sampled_from(((32, 8, 2), (32, 2, 8), (48, 4, 4), (128, 4, 2))),
    missing=st.lists(st.integers(0, 200), min_size=3, max_size=3),
    tokens=st.sampled_from((64, 32, 24)),
    splits=st.integers(1, 7),
    seed=st.integers(0, 999),
)
def test_both_together_are_plain_attention(shape, size, missing, tokens, splits, seed):
    lengths = [max(shape[3] - count, 0) for count in missing]
    arrays, attributes = case(shape, size, "float32", lengths, seed, tokens, splits)
    wanted = plain(arrays, attributes)
    for run in (reference, open_body):  # sizes without a kernel too
        assert relative_error(both(run, arrays, attributes), wanted) <= LIMITS["float32"], run.__name__


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("size", SIZES)
def test_the_kernels_together_are_plain_attention(size, dtype):
    arrays, attributes = case((2, 1, 3, 200), size, dtype, [200, 131], splits=4)
    assert relative_error(both(in_interpreter, arrays, attributes), plain(arrays, attributes)) <= LIMITS[dtype]


@pytest.mark.parametrize("run", [reference, on_onnxruntime, in_interpreter])
def test_a_step_is_prefix_attention_with_its_own_token_in_the_cache(run):
    """The last of the cached tokens as a new one, of keys and values that quantising does not change."""
    rng = np.random.default_rng(0)
    shape, attributes = (1, 2, 129, 128), {"bits_k": 4, "bits_v": 4, "scale": 128**-0.5}
    k, v = (rng.integers(0, 16, shape).astype(np.float32) for _ in range(2))
    k[:, :, ::128], v[..., ::64] = 0, 0  # every group has both ends of the range: scale 1, minimum 0
    k[:, :, [1, 65]], v[..., 1::64] = 15, 15
    q = rng.standard_normal((1, 6, 1, 128)).astype(np.float32) / 8
    k[:, :, 64], last = 0, k[:, :, 128:]
    step = both(run, [q, *packed(k, v, 4, 4), np.array([129], np.int32)], attributes | {"splits": 3})
    (new,) = run(PREFIX, [q, *packed(k[:, :, :128], v[:, :, :128], 4, 4), last, v[:, :, 128:]], attributes)
    assert relative_error(step, new) <= LIMITS["float32"]


@pytest.mark.parametrize("run", [reference, on_onnxruntime, in_interpreter])
def test_empty_splits_weigh_nothing(run):
    arrays, attributes = case((3, 1, 2, 130), (128, 4, 4), "float32", [0, 1, -5], splits=4)
    partial, stats = run(PARTIAL, arrays, attributes)
    assert np.isfinite(partial).all() and np.isfinite(stats).all()
    assert (stats[1, :, 0, :, 1] == 1).all()  # one token, its power 2^0
    assert not stats[[0, 2]].any() and not partial[[0, 2]].any() and not stats[1, :, 1:].any()
    y = both(run, arrays, attributes)
    assert not y[[0, 2]].any()
    _, v = unpacked(arrays[1:5], 4, 4)
    assert relative_error(y[1], np.repeat(v[1, :, :1], 2, axis=0)) <= LIMITS["float32"]


@pytest.mark.parametrize("run", [reference, on_onnxruntime, in_interpreter])
def test_an_empty_split_does_not_hide_low_scores(run):
    """All scores far below 0, the maximum of a split that has no token."""
    arrays, attributes = case((1, 1, 2, 130), (128, 4, 4), "float32", [130], splits=4)
    partial, stats = reference(PARTIAL, arrays, attributes)
    assert not stats[:, :, 3].any()
    low = stats.copy()
    low[:, :, :3, :, 0] -= 5000
    (plain_y,), (low_y,) = (run(COMBINE, [partial, each, arrays[0]], {}) for each in (stats, low))
    assert np.abs(plain_y).max() > 0.01
    assert relative_error(low_y, plain_y) <= 1e-3  # 5000 leaves a maximum in float32 four digits after the point


@pytest.mark.parametrize("run", [reference, on_onnxruntime, in_interpreter])
def test_nothing_after_the_length_is_read_into_the_result(run):
    arrays, attributes = case((2, 1, 3, 200), (128, 4, 2), "float32", [70, 200], splits=3)
    spoilt = [array.copy() for array in arrays]
    spoilt[1][0, :, 70:] = -1
    spoilt[2][0, :, 2:] = np.nan  # the groups after the one that token 69 is in
    spoilt[3][0, :, 70:] = -1
    spoilt[4][0, :, 70:] = np.nan
    for got, wanted in zip(run(PARTIAL, spoilt, attributes), run(PARTIAL, arrays, attributes), strict=True):
        assert np.array_equal(got, wanted)


@pytest.mark.parametrize("run", [reference, on_onnxruntime, in_interpreter])
def test_a_length_beyond_the_capacity_is_the_capacity(run):
    arrays, attributes = case((1, 1, 2, 100), (128, 4, 4), "float32", [100], splits=2)
    beyond = [*arrays[:-1], np.array([4000], np.int32)]
    for got, wanted in zip(run(PARTIAL, beyond, attributes), run(PARTIAL, arrays, attributes), strict=True):
        assert np.array_equal(got, wanted)


@pytest.mark.parametrize("factor", [1e-4, 1e3])
def test_small_and_large_scales_in_float16(factor):
    """Keys and values whose scales float16 holds, but not their products with queries and probabilities."""
    arrays, attributes = case((1, 1, 2, 130), (128, 8, 8), "float16", [130], splits=2)
    arrays[2] = (arrays[2].astype(np.float32) * factor).astype(np.float16)
    arrays[4] = (arrays[4].astype(np.float32) * factor).astype(np.float16)
    arrays[0] = (arrays[0].astype(np.float32) / factor).clip(-60000, 60000).astype(np.float16)
    attributes["scale"] *= 1.0 if factor > 1 else 0.1
    for got, wanted in zip(
        in_interpreter(PARTIAL, arrays, attributes), reference(PARTIAL, arrays, attributes), strict=True
    ):
        assert relative_error(got, wanted) <= LIMITS["float16"]


def test_shapes_that_do_not_fit_are_refused():
    arrays, attributes = case((2, 1, 3, 70), (128, 4, 4), "float32", [70])
    shapes = [array.shape for array in arrays]
    for index, wrong in ((0, (2, 3, 2, 128)), (2, (2, 1, 3, 2, 128)), (5, (3,))):
        with pytest.raises(ValueError, match=PARTIAL.schema.inputs[index].name):
            PARTIAL.schema.bind([*shapes[:index], wrong, *shapes[index + 1 :]], attributes)
    with pytest.raises(ValueError, match="q"):
        COMBINE.schema.bind([(2, 1, 4, 3, 128), (2, 1, 4, 3, 2), (2, 4, 1, 128)], {})
    names = PARTIAL.schema.bind(shapes, attributes)
    assert PARTIAL.variants_for("float16", names) and not PARTIAL.variants_for("float16", names | {"tokens": 96})


@pytest.mark.parametrize("open_axes", [False, True])
@pytest.mark.parametrize("size", SIZES)
def test_the_bodies_build_on_rtx(size, open_axes):
    arrays, attributes = case((2, 1, 3, 130), size, "float16", [130], splits=3)
    sizes = {"N": (129, 130, 192)}
    assert builds_on_rtx(model_of(PARTIAL, arrays, attributes, open_axes=open_axes), sizes=sizes) > 1
    joined = [*reference(PARTIAL, arrays, attributes), arrays[0]]
    assert builds_on_rtx(model_of(COMBINE, joined, {}, open_axes=open_axes), sizes=sizes) > 1
