"""GGeMPool: reference = ONNX body = Triton kernel, over random shapes."""

from __future__ import annotations

import numpy as np
import pytest
from fused_ops import LIMITS, assert_same_everywhere, in_interpreter, model_of, reference, relative_error
from hypothesis import given, settings
from hypothesis import strategies as st
from rtx_build import builds_on_rtx

from edgesmith.exporter.plugins.vision.ggem_pool import OP

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
    assert_same_everywhere(OP, arrays, attributes)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("groups, width, aligned", [(4, 12, 16), (5, 9, 1)], ids=["aligned", "odd"])
def test_one_kernel_for_channels_in_sixteens_and_one_for_others(dtype, groups, width, aligned):
    arrays, attributes = case((2, 150, groups, width), 4, dtype, 0)  # two blocks of 128 tokens, two of 32 channels
    (variant,) = OP.variants_for(dtype, OP.schema.bind([array.shape for array in arrays], attributes))
    assert variant.constants["ALIGNED"] == aligned
    (wanted,) = reference(OP, arrays, attributes)
    (got,) = in_interpreter(OP, arrays, attributes)
    assert relative_error(got, wanted) <= LIMITS[dtype]


def test_negative_channels_are_clamped():
    x = np.full((1, 3, 2), -4.0, np.float32)
    (wanted,) = reference(OP, [x, np.array([[3.0], [1.0]], np.float32)], {"eps": 0.5})
    assert np.allclose(wanted, 0.5)


def test_exponents_of_another_form_are_refused():
    with pytest.raises(ValueError, match=r"GGeMPool\.p is"):
        OP.schema.bind([(2, 9, 8), (4, 2)], {})


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("open_axes", [False, True], ids=["fixed", "open"])
def test_the_body_builds_on_rtx(dtype, open_axes):
    arrays, attributes = case((1, 49, 4, 6), 0, dtype, 0)
    assert builds_on_rtx(model_of(OP, arrays, attributes, open_axes=open_axes)) > 1
