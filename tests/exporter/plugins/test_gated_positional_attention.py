"""GatedPositionalAttention: reference = ONNX body = Triton kernel, over random grids; the reference = the published layer."""

from __future__ import annotations

import numpy as np
import pytest
from fused_ops import LIMITS, assert_same_everywhere, in_interpreter, model_of, reference, relative_error
from hypothesis import given, settings
from hypothesis import strategies as st
from rtx_build import builds_on_rtx

from edgesmith.exporter.plugins.vision.gated_positional_attention import OP

# batch, heads, side of the grid, patches that are missing from whole rows (or there beyond them), width of a head
SHAPES = st.tuples(
    st.integers(1, 2), st.integers(1, 2), st.integers(1, 9), st.integers(-3, 3), st.sampled_from([16, 32, 48, 64])
)


def case(shape, seed, dtype):
    batch, heads, side, extra, d = shape
    tokens = max(1, side * side + extra)
    rng = np.random.default_rng(seed)
    qkv = [rng.standard_normal((batch, heads, tokens, d)).astype(dtype) for _ in range(3)]
    pos = np.stack([*rng.uniform(-3, 3, (2, heads)), rng.uniform(-2, 0.5, heads), rng.uniform(0, 1, heads)], axis=1)
    return [*qkv, pos.astype(np.float32)], {"side": side, "scale": d**-0.5}


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@settings(max_examples=12, deadline=None, derandomize=True)
@given(shape=SHAPES, seed=st.integers(0, 999))
def test_body_and_kernel_are_the_reference(dtype, shape, seed):
    arrays, attributes = case(shape, seed, dtype)
    assert_same_everywhere(OP, arrays, attributes)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_every_variant_is_the_reference_over_several_blocks_of_rows_and_keys(dtype):
    arrays, attributes = case((1, 1, 10, 0, 48), 7, dtype)  # 100 patches: blocks of 64 or 32 rows, 32 or 16 keys
    (wanted,) = reference(OP, arrays, attributes)
    variants = OP.variants_for(dtype, OP.schema.bind([array.shape for array in arrays], attributes))
    assert len(variants) == {"float16": 2, "float32": 1}[dtype]
    for variant in variants:
        (got,) = in_interpreter(OP, arrays, attributes, variant)
        assert relative_error(got, wanted) <= LIMITS[dtype], variant


@pytest.mark.parametrize(
    "w", [(0, 0, 0), (0, 0, -50), (40, -40, 0), (60, 7, -9), (-300, 5, 3)], ids=["even", "self", "corner", "off", "far"]
)
def test_sharp_positions_neither_overflow_nor_vanish(w):
    """The largest score is found in closed form: at an end, between, in a last row that is not full, in an only one."""
    for side, extra in ((7, 0), (7, -3), (7, 2), (7, -44)):
        (q, k, v, pos), attributes = case((1, 1, side, extra, 16), 3, "float16")
        pos[0] = (*w, 0.9)
        (wanted,) = reference(OP, [q, k, v, pos], attributes)
        (got,) = in_interpreter(OP, [q, k, v, pos], attributes)
        assert relative_error(got, wanted) <= LIMITS["float16"]


def test_the_reference_is_timms_layer():
    import torch
    from timm.models.convit import GPSA

    torch.manual_seed(0)
    side, heads, d = 5, 4, 6
    layer = GPSA(heads * d, num_heads=heads, locality_strength=0.7).eval()
    x = torch.randn(2, side * side, heads * d)
    with torch.no_grad():
        layer.gating_param.copy_(torch.randn(heads))
        qk = layer.qk(x).reshape(2, side * side, 2, heads, d).permute(2, 0, 3, 1, 4).numpy()
        v = layer.v(x).reshape(2, side * side, heads, d).permute(0, 2, 1, 3).numpy()
        wanted = layer(x).numpy()
        projected = torch.cat([layer.pos_proj.weight, layer.gating_param.sigmoid()[:, None]], dim=1).numpy()
        mixed = OP.reference(*qk, v, projected, side=side, scale=d**-0.5)
        got = layer.proj(torch.from_numpy(mixed).transpose(1, 2).flatten(2)).numpy()
    assert relative_error(got, wanted) <= LIMITS["float32"]


def test_what_is_not_of_the_schema_is_refused():
    (q, k, v, pos), attributes = case((1, 2, 3, 0, 16), 0, "float32")
    with pytest.raises(ValueError, match="pos"):
        OP.schema.bind([q.shape, k.shape, v.shape, (2, 3)], attributes)
    with pytest.raises(ValueError, match=r"\.v is"):
        OP.schema.bind([q.shape, k.shape, (1, 2, 8, 16), pos.shape], attributes)
    with pytest.raises(ValueError, match="needs the attribute side"):
        OP.schema.bind([q.shape, k.shape, v.shape, pos.shape], {"scale": 1.0})


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("open_axes", [False, True], ids=["fixed", "open"])
def test_the_body_builds_on_rtx(dtype, open_axes):
    arrays, attributes = case((1, 4, 7, 0, 48), 0, dtype)
    assert builds_on_rtx(model_of(OP, arrays, attributes, open_axes=open_axes)) > 1
