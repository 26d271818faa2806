"""GGeMPool: reference = ONNX body = Triton kernel, over random shapes."""

from __future__ import annotations

import numpy as np
import pytest
from fused_ops import LIMITS, in_interpreter, on_onnxruntime, reference, relative_error
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesmith.exporter.plugins.ggem_pool import OP

SHAPES = st.tuples(st.integers(1, 3), st.integers(1, 90), st.integers(1, 5), st.integers(1, 9))


def case(shape, seed, dtype, interleaved):
    batch, tokens, groups, width = shape
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((batch, tokens, groups * width)).astype(dtype)
    p = rng.uniform(0.5, 5, (groups, 1)).astype(np.float32)
    return [x, p], {"eps": 1e-6, "interleaved": interleaved}


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@settings(max_examples=15, deadline=None, derandomize=True)
@given(shape=SHAPES, seed=st.integers(0, 999), interleaved=st.integers(0, 1))
def test_body_and_kernel_are_the_reference(dtype, shape, seed, interleaved):
    arrays, attributes = case(shape, seed, dtype, interleaved)
    (wanted,) = reference(OP, arrays, attributes)
    for run in (on_onnxruntime, in_interpreter):
        (got,) = run(OP, arrays, attributes)
        assert relative_error(got, wanted) <= LIMITS[dtype], run.__name__


def test_negative_channels_are_clamped():
    x = np.full((1, 3, 2), -4.0, np.float32)
    (wanted,) = reference(OP, [x, np.array([[3.0], [1.0]], np.float32)], {"eps": 0.5})
    assert np.allclose(wanted, 0.5)
