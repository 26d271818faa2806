"""WindowAttention: reference = ONNX body = Triton kernel, and all are timm's partition, attention and reverse."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fused_ops import LIMITS, in_interpreter, model_of, on_onnxruntime, reference, relative_error
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rtx_build import builds_on_rtx

from edgesmith.exporter.plugins.vision.window_attention import DIMS, OP

# batch, rows and columns of windows, rows of a window, heads, channels a head
SHAPES = st.tuples(*(st.integers(1, most) for most in (2, 3, 3, 9, 3)), st.sampled_from(DIMS))


def case(shape, seed, dtype):
    batch, down, across, window, heads, dim = shape
    size = (batch, down * window, across * window, 3, heads, dim)
    return [np.random.default_rng(seed).standard_normal(size).astype(dtype)], {"window": window, "scale": dim**-0.5}


def open_model(arrays, attributes):
    """Batch, rows and columns of the map without a size."""
    model = model_of(OP, arrays, attributes, open_axes=True)
    dims = model.graph.input[0].type.tensor_type.shape.dim
    for axis, name in ((1, "Hm"), (2, "Wm")):
        dims[axis].dim_param = name
    return model


def open_body(op, arrays, attributes):
    import onnxruntime

    session = onnxruntime.InferenceSession(
        open_model(arrays, attributes).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"qkv": arrays[0]})


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@settings(max_examples=15, deadline=None, derandomize=True)
@given(shape=SHAPES, seed=st.integers(0, 999))
@example(shape=(1, 1, 1, 12, 1, 32), seed=0)  # 144 tokens, Florence-2's windows: several tiles of queries and keys
@example(shape=(1, 2, 1, 7, 2, 32), seed=0)
def test_body_and_kernel_are_the_reference(dtype, shape, seed):
    arrays, attributes = case(shape, seed, dtype)
    (wanted,) = reference(OP, arrays, attributes)
    for run in (on_onnxruntime, open_body, in_interpreter):
        (got,) = run(OP, arrays, attributes)
        assert got.dtype == arrays[0].dtype
        assert relative_error(got, wanted) <= LIMITS[dtype], run.__name__


@pytest.mark.parametrize("run", [reference, on_onnxruntime, in_interpreter])
@pytest.mark.parametrize("size", [(14, 7), (9, 13)], ids=["whole windows", "padded"])
def test_the_op_is_timms_window_attention(run, size):
    from timm.models.davit import WindowAttention, window_partition, window_reverse

    torch.manual_seed(0)
    heads, dim, window = 2, 32, (7, 7)
    module = WindowAttention(heads * dim, window, heads)
    module.qkv.weight.data *= 4
    rows, columns = (-(-side // 7) * 7 for side in size)
    x = torch.zeros(
        2, rows, columns, heads * dim
    )  # timm pads the map with zeros, so padded keys are the bias of the layer
    x[:, : size[0], : size[1]] = torch.randn(2, *size, heads * dim)
    with torch.no_grad():
        windows = module(window_partition(x, window).reshape(-1, 49, heads * dim))
        wanted = window_reverse(windows.reshape(-1, 7, 7, heads * dim), window, rows, columns).numpy()
        qkv = module.qkv(x).reshape(2, rows, columns, 3, heads, dim).numpy()
        (y,) = run(OP, [qkv], {"window": 7, "scale": dim**-0.5})
        got = module.proj(torch.from_numpy(y)).numpy()
    assert relative_error(got, wanted) <= 1e-5


@pytest.mark.parametrize("run", [on_onnxruntime, in_interpreter])
def test_large_scores_do_not_overflow(run):
    arrays, attributes = case((1, 1, 2, 7, 1, 32), 0, "float16")
    arrays[0][:, :, :, :2] = 60  # q . k = 115,200 and float16 ends at 65,504
    (got,), (wanted,) = run(OP, arrays, attributes), reference(OP, arrays, attributes)
    assert relative_error(got, wanted) <= LIMITS["float16"]


@pytest.mark.parametrize("t", ["float32", "float16", "bfloat16"])
def test_every_head_size_has_one_kernel_and_others_none(t):
    assert [len(OP.variants_for(t, {"D": dim, "window": 7})) for dim in (*DIMS, 48)] == [1, 1, 1, 0]


def test_refuses_shapes_and_attributes_the_schema_does_not_have():
    with pytest.raises(ValueError, match="qkv is"):
        OP.schema.bind([(1, 7, 7, 2, 3, 32)], {"scale": 1.0})
    with pytest.raises(ValueError, match="needs the attribute scale"):
        OP.schema.bind([(1, 7, 7, 3, 3, 32)], {})


def test_refuses_a_map_that_is_not_whole_windows():
    with pytest.raises(ValueError, match="14 x 10 is not cut into windows of 7 x 7"):
        OP.reference(np.zeros((1, 14, 10, 3, 1, 16), np.float32), scale=1.0)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("axes", ["fixed", "open batch", "open map"])
def test_the_body_builds_on_rtx(dtype, axes):
    arrays, attributes = case((1, 2, 2, 7, 3, 32), 0, dtype)
    model = (
        open_model(arrays, attributes)
        if axes == "open map"
        else model_of(OP, arrays, attributes, open_axes=axes != "fixed")
    )
    sizes = {"Hm": (7, 14, 28), "Wm": (7, 14, 28)}
    assert builds_on_rtx(model, sizes=sizes) > 1
