"""The Walsh-Hadamard transform: what it is, and that nobody's order of sums differs from the reference's."""

from __future__ import annotations

import numpy as np
import pytest
from fused_ops import on_onnxruntime
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesmith.exporter.plugins.declaration import FusedOp
from edgesmith.exporter.plugins.kv.hadamard import fwht, fwht_text
from edgesmith.runtime.plugins.schema import OpSchema, Tensor

OP = FusedOp(
    OpSchema("Turn", (Tensor("x", "T", ("B", "H", "N", "D")),), (Tensor("y", "T", ("B", "H", "N", "D")),)),
    "", "", "", fwht_text("x", "y", 512), fwht,
)  # fmt: skip


def matrix(size):
    """By the definition: (-1)^popcount(c & d) / sqrt(size)."""
    signs = [[(-1) ** (c & d).bit_count() for d in range(size)] for c in range(size)]
    return np.array(signs) / np.sqrt(size)


@pytest.mark.parametrize("size", [1, 2, 8, 64, 512])
def test_is_the_matrix_of_signs(size):
    x = np.random.default_rng(size).standard_normal((3, 5, size))
    assert np.allclose(fwht(x), x @ matrix(size), rtol=0, atol=1e-12)
    assert np.allclose(fwht(fwht(x)), x, rtol=0, atol=1e-12)


def test_an_outlier_channel_is_spread():
    x = np.zeros(64)
    x[3] = 8.0
    assert np.array_equal(np.abs(fwht(x)), np.ones(64))


def test_a_float32_input_gives_a_float32_result():
    assert fwht(np.ones((2, 8), np.float32)).dtype == np.float32


@settings(max_examples=15, deadline=None, derandomize=True)
@given(
    size=st.sampled_from((2, 16, 128, 512)),
    tokens=st.integers(1, 9),
    open_axes=st.booleans(),
    seed=st.integers(0, 99),
)
def test_the_body_is_equal_bit_for_bit(size, tokens, open_axes, seed):
    x = (np.random.default_rng(seed).standard_normal((2, 1, tokens, size)) * 300).astype(np.float32)
    (y,) = on_onnxruntime(OP, [x], {}, open_axes=open_axes)
    assert np.array_equal(y, fwht(x))


@pytest.mark.parametrize("size", [0, 3, 96])
def test_other_sizes_are_refused(size):
    with pytest.raises(ValueError, match=f"{size} channels"):
        fwht(np.zeros((2, size)))
