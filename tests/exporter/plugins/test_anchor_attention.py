"""AnchorAttention: reference = ONNX body = Triton kernel, over random rows, keys and groups of heads."""

from __future__ import annotations

import numpy as np
import pytest
from fused_ops import LIMITS, assert_same_everywhere, in_interpreter, model_of, reference, relative_error
from hypothesis import given, settings
from hypothesis import strategies as st
from rtx_build import builds_on_rtx

from edgesmith.exporter.plugins.vision.anchor_attention import OP

# batch, key heads, query heads a key head, rows, keys, width of a head
SHAPES = st.tuples(
    st.integers(1, 2),
    st.integers(1, 2),
    st.integers(1, 4),
    st.integers(1, 6),
    st.integers(1, 200),
    st.sampled_from([32, 64, 128]),
)


def case(shape, seed, dtype):
    batch, key_heads, group, rows, keys, d = shape
    rng = np.random.default_rng(seed)
    q_rows = rng.standard_normal((batch, key_heads * group, rows, d)).astype(dtype)
    return [q_rows, rng.standard_normal((batch, key_heads, keys, d)).astype(dtype)], {"scale": d**-0.5}


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@settings(max_examples=12, deadline=None, derandomize=True)
@given(shape=SHAPES, seed=st.integers(0, 999))
def test_body_and_kernel_are_the_reference(dtype, shape, seed):
    arrays, attributes = case(shape, seed, dtype)
    assert_same_everywhere(OP, arrays, attributes)


def test_every_chunk_of_keys_and_block_of_rows_knows_the_whole_sum():
    arrays, attributes = case((1, 1, 4, 5, 1100, 32), 1, "float32")  # 3 chunks of 512 keys, 2 blocks of 16 rows
    (wanted,) = reference(OP, arrays, attributes)
    (got,) = in_interpreter(OP, arrays, attributes)
    assert relative_error(got, wanted) <= LIMITS["float32"]
    assert np.allclose(got.sum(axis=-1), 1)


def test_large_scores_do_not_overflow():
    (q_rows, k), attributes = case((1, 2, 2, 3, 90, 64), 2, "float16")
    q_rows *= 60
    (wanted,) = reference(OP, [q_rows, k], attributes)
    (got,) = in_interpreter(OP, [q_rows, k], attributes)
    assert relative_error(got, wanted) <= LIMITS["float16"]


def test_query_heads_that_do_not_share_key_heads_evenly_are_refused():
    (q_rows, _), attributes = case((1, 3, 1, 2, 5, 32), 0, "float32")
    k = np.zeros((1, 2, 5, 32), np.float32)
    with pytest.raises(ValueError, match="3 query heads do not share 2 key heads evenly"):
        reference(OP, [q_rows, k], attributes)
    assert not OP.variants_for("float32", OP.schema.bind([q_rows.shape, k.shape], attributes))


def test_keys_of_another_width_are_refused():
    with pytest.raises(ValueError, match=r"AnchorAttention\.k is"):
        OP.schema.bind([(1, 4, 2, 64), (1, 2, 9, 32)], {"scale": 1.0})


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("open_axes", [False, True], ids=["fixed", "open"])
def test_the_body_builds_on_rtx(dtype, open_axes):
    arrays, attributes = case((1, 2, 4, 3, 50, 64), 0, dtype)
    assert builds_on_rtx(model_of(OP, arrays, attributes, open_axes=open_axes)) > 1
