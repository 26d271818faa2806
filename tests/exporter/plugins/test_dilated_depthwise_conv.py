"""DilatedDepthwiseConv: reference = ONNX body = Triton kernel, over random pictures; the reference = torch's convolution."""

from __future__ import annotations

import numpy as np
import pytest
from fused_ops import LIMITS, assert_same_everywhere, in_interpreter, model_of, reference, relative_error
from hypothesis import given, settings
from hypothesis import strategies as st
from rtx_build import builds_on_rtx

from edgesmith.exporter.plugins.vision.dilated_depthwise_conv import OP

# batch, channels, height, width, size of the filter, dilation
SHAPES = st.tuples(
    st.integers(1, 2),
    st.integers(1, 4),
    st.integers(1, 20),
    st.integers(1, 12),
    st.sampled_from([5, 7]),
    st.integers(1, 4),
)


def case(shape, seed, dtype):
    batch, channels, height, width, k, dilation = shape
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((batch, channels, height, width)).astype(dtype)
    w = (rng.standard_normal((channels, 1, k, k)) / k).astype(dtype)
    return [x, w, rng.standard_normal(channels).astype(dtype)], {"dilation": dilation, "channels": channels}


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@settings(max_examples=12, deadline=None, derandomize=True)
@given(shape=SHAPES, seed=st.integers(0, 999))
def test_body_and_kernel_are_the_reference(dtype, shape, seed):
    arrays, attributes = case(shape, seed, dtype)
    assert_same_everywhere(OP, arrays, attributes)


@pytest.mark.parametrize("shape", [(1, 3, 14, 14, 7, 3), (2, 2, 9, 5, 5, 1), (1, 2, 2, 3, 7, 3)])
def test_the_reference_is_torchs_convolution(shape):
    import torch

    arrays, attributes = case(shape, 5, "float32")
    x, w, b = map(torch.from_numpy, arrays)
    border = attributes["dilation"] * (w.shape[-1] // 2)
    wanted = torch.nn.functional.conv2d(
        x, w, b, padding=border, dilation=attributes["dilation"], groups=attributes["channels"]
    )
    (got,) = reference(OP, arrays, attributes)
    assert relative_error(got, wanted.numpy()) <= LIMITS["float32"]


def test_several_programs_share_a_picture():
    arrays, attributes = case((1, 2, 28, 28, 7, 3), 1, "float32")  # 2 channels of 6 bands of 28: 3 programs of 128
    (wanted,) = reference(OP, arrays, attributes)
    (got,) = in_interpreter(OP, arrays, attributes)
    assert relative_error(got, wanted) <= LIMITS["float32"]


def test_what_is_not_of_the_schema_is_refused():
    (x, w, b), attributes = case((1, 3, 6, 6, 5, 2), 0, "float32")
    with pytest.raises(ValueError, match=r"\.x is"):
        OP.schema.bind([x.shape, w.shape, b.shape], {**attributes, "channels": 4})
    with pytest.raises(ValueError, match=r"\.w is"):
        OP.schema.bind([x.shape, (3, 1, 5, 7), b.shape], attributes)
    with pytest.raises(ValueError, match="4 x 4 has no middle"):
        reference(OP, [x, w[..., 1:, 1:], b], attributes)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("open_axes", [False, True], ids=["fixed", "open"])
def test_the_body_builds_on_rtx(dtype, open_axes):
    arrays, attributes = case((1, 8, 14, 14, 7, 3), 0, dtype)
    assert builds_on_rtx(model_of(OP, arrays, attributes, open_axes=open_axes)) > 1
