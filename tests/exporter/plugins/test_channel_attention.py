"""ChannelGram and ChannelApply: reference = ONNX body = Triton kernel; together they are timm's channel attention."""

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
from rtx_build import builds_on_rtx

from edgesmith.exporter.plugins.vision.channel_attention import APPLY, DIMS, GRAM, splits_for

SHAPES = st.tuples(st.integers(1, 2), st.integers(1, 150), st.integers(1, 3), st.sampled_from(DIMS))
SPLITS, VERSIONS, SEEDS = st.integers(1, 9), st.integers(1, 2), st.integers(0, 999)


def packed(batch, tokens, groups, dim, seed, dtype):
    return np.random.default_rng(seed).standard_normal((batch, tokens, 3, groups, dim)).astype(dtype)


def both(run, qkv, scale, version, splits):
    """Channel attention through ``run``: the shares of ChannelGram are what ChannelApply reads."""
    (partials,) = run(GRAM, [qkv], {"splits": splits, "version": version})
    (y,) = run(APPLY, [qkv, partials], {"scale": scale, "version": version})
    return y


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@settings(max_examples=15, deadline=None, derandomize=True)
@given(shape=SHAPES, splits=SPLITS, version=VERSIONS, seed=SEEDS)
@example(shape=(1, 5, 1, 32), splits=8, version=2, seed=0)  # fewer tokens than shares
@example(shape=(2, 9, 3, 16), splits=8, version=1, seed=0)  # shares of 2: one is short, three are empty
def test_shares_of_body_and_kernel_are_the_references(dtype, shape, splits, version, seed):
    arrays, attributes = [packed(*shape, seed, dtype)], {"splits": splits, "version": version}
    assert reference(GRAM, arrays, attributes)[0].dtype == np.float32
    # the products of 16-bit inputs are exact in float32, so the limit is float32's for both
    assert_same_everywhere(GRAM, arrays, attributes, LIMITS["float32"])


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@settings(max_examples=15, deadline=None, derandomize=True)
@given(shape=SHAPES, splits=SPLITS, version=VERSIONS, seed=SEEDS, scale=st.sampled_from((0.0, 0.05, 32**-0.5)))
def test_result_of_body_and_kernel_is_the_references(dtype, shape, splits, version, seed, scale):
    qkv = packed(*shape, seed, dtype)
    (partials,) = reference(GRAM, [qkv], {"splits": splits, "version": version})
    assert_same_everywhere(APPLY, [qkv, partials], {"scale": scale, "version": version})


@pytest.mark.parametrize("run", [reference, on_onnxruntime, in_interpreter])
@pytest.mark.parametrize(("version", "dynamic"), [(1, False), (2, False), (2, True)])
def test_both_ops_are_timms_channel_attention(run, version, dynamic):
    from timm.models.davit import ChannelAttention, ChannelAttentionV2

    torch.manual_seed(version)
    groups, dim, tokens = 3, 32, 77
    module = (
        ChannelAttention(groups * dim, groups, qkv_bias=True)
        if version == 1
        else ChannelAttentionV2(groups * dim, groups, dynamic_scale=dynamic)
    )
    module.qkv.weight.data *= 4  # sharp enough that a transposed softmax is another result
    x = torch.randn(2, tokens, groups * dim)
    with torch.no_grad():
        wanted = module(x).numpy()
        qkv = module.qkv(x).reshape(2, tokens, 3, groups, dim).numpy()
        y = both(run, qkv, 0.0 if dynamic else dim**-0.5, version, splits=4)
        got = module.proj(torch.from_numpy(y)).numpy()
    assert relative_error(got, wanted) <= 1e-5


@pytest.mark.parametrize("run", [on_onnxruntime, in_interpreter])
def test_sums_past_the_range_of_float16_are_kept(run):
    qkv = packed(1, 300, 1, 16, 0, "float16")
    qkv[:, :, 1:] = 24  # 300 * 24 * 24 = 172,800 and float16 ends at 65,504
    (partials,) = run(GRAM, [qkv], {"splits": 1, "version": 1})
    assert (partials == 300 * 24 * 24).all()
    assert relative_error(both(run, qkv, 1e-6, 1, 1), both(reference, qkv, 1e-6, 1, 1)) <= LIMITS["float16"]


@pytest.mark.parametrize("op", [GRAM, APPLY], ids=lambda op: op.name)
@pytest.mark.parametrize("t", ["float32", "float16", "bfloat16"])
def test_every_head_size_has_one_kernel_and_others_none(op, t):
    sizes = {"D": 0, "G": 3, "N": 49, "B": 1}
    assert [len(op.variants_for(t, {**sizes, "D": dim})) for dim in (*DIMS, 48)] == [1, 1, 1, 0]


def test_shares_fill_a_small_gpu_and_stay_larger_than_their_sums():
    assert [splits_for(tokens, groups) for tokens, groups in ((3136, 3), (784, 6), (196, 12), (49, 24))] == [
        11,
        6,
        3,
        1,
    ]


@pytest.mark.parametrize(
    ("op", "shapes", "attributes", "because"),
    [
        (GRAM, [(1, 9, 2, 3, 16)], {}, "qkv is"),
        (GRAM, [(9, 3, 3, 16)], {}, "qkv is"),
        (APPLY, [(1, 9, 3, 3, 16), (1, 2, 8, 16, 16)], {"scale": 1.0}, "partials is"),
        (APPLY, [(1, 9, 3, 3, 16), (1, 3, 8, 16, 16)], {}, "needs the attribute scale"),
    ],
)
def test_refuses_shapes_and_attributes_the_schema_does_not_have(op, shapes, attributes, because):
    with pytest.raises(ValueError, match=because):
        op.schema.bind(shapes, attributes)


def test_refuses_a_version_that_does_not_exist():
    with pytest.raises(ValueError, match="versions 1 and 2, found 3"):
        GRAM.reference(packed(1, 9, 1, 16, 0, "float32"), version=3)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("open_axes", [False, True], ids=["fixed", "open"])
def test_the_bodies_build_on_rtx(dtype, open_axes):
    qkv = packed(1, 49, 3, 32, 0, dtype)
    (partials,) = reference(GRAM, [qkv], {})
    assert builds_on_rtx(model_of(GRAM, [qkv], {}, open_axes=open_axes)) > 1
    assert builds_on_rtx(model_of(APPLY, [qkv, partials], {"scale": 0.0, "version": 2}, open_axes=open_axes)) > 1
