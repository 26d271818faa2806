"""The packing of codes: numpy, the definition spelled out byte by byte, and the lines of bodies say the same."""

from __future__ import annotations

import numpy as np
import onnx.inliner
import pytest
from fused_ops import model_of, on_onnxruntime
from hypothesis import given, settings
from hypothesis import strategies as st
from openvino_here import openvino_or_skip
from rtx_build import builds_on_rtx

from edgesmith.exporter.plugins.declaration import FusedOp
from edgesmith.exporter.plugins.kv.packing import (
    BITS,
    bytes_per_token,
    dequantize_k,
    dequantize_k_text,
    dequantize_v,
    dequantize_v_text,
    pack,
    pack_text,
    unpack,
    unpack_text,
    words,
)
from edgesmith.runtime.backends.openvino_library import openvino_core
from edgesmith.runtime.plugins.schema import Attribute, OpSchema, Tensor

SHAPES = st.tuples(st.integers(1, 2), st.integers(1, 3), st.integers(1, 9), st.sampled_from((16, 32, 48, 64, 80, 128)))
WIDTH = (Attribute("bits_k", "int"),)  # not "bits": an op with two widths names its attributes itself
CODES, ROWS = Tensor("codes", "float32", ("B", "Hk", "N", "D")), Tensor("packed", "int32", ("B", "Hk", "N", "W"))


def op_of(name, inputs, output, body, reference, attributes=WIDTH):
    return FusedOp(OpSchema(name, inputs, (output,), attributes), "", "", "", body, reference)


PACK = op_of(
    "Pack", (CODES,), Tensor("packed", "int32", ("B", "Hk", "N", "D * bits_k // 32")),
    pack_text("codes", "packed", "bits_k"), lambda codes, bits_k: pack(codes, bits_k),
)  # fmt: skip
UNPACK = op_of(
    "Unpack", (ROWS,), Tensor("codes", "float32", ("B", "Hk", "N", "W * 32 // bits_k")),
    unpack_text("packed", "codes", "bits_k"), lambda packed, bits_k: unpack(packed, bits_k),
)  # fmt: skip


def random_codes(shape, bits, seed):
    return np.random.default_rng(seed).integers(0, 2**bits, shape)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(shape=SHAPES, bits=st.sampled_from(BITS), seed=st.integers(0, 999))
def test_every_byte_holds_one_code_of_every_plane(shape, bits, seed):
    codes = random_codes(shape, bits, seed)
    packed = pack(codes, bits)
    assert packed.dtype == np.int32 and packed.shape == (*shape[:3], words(bits, shape[3]))
    row, width = codes[-1, -1, -1], shape[3] * bits // 8
    for j in range(width):
        byte = sum(int(row[i * width + j]) << (bits * i) for i in range(8 // bits))
        assert (int(packed[-1, -1, -1, j // 4]) >> (8 * (j % 4))) & 255 == byte
    assert np.array_equal(unpack(packed, bits), codes)


def test_rows_in_another_memory_order_pack_the_same():
    codes = random_codes((2, 3, 4, 32), 4, 0)
    turned = np.ascontiguousarray(codes.transpose(3, 0, 1, 2)).transpose(1, 2, 3, 0)
    assert np.array_equal(pack(turned, 4), pack(codes, 4))
    assert np.array_equal(unpack(pack(codes, 4)[:, ::2, ::-1], 4), codes[:, ::2, ::-1])


@settings(max_examples=15, deadline=None, derandomize=True)
@given(shape=SHAPES, bits=st.sampled_from(BITS), seed=st.integers(0, 999), open_axes=st.booleans())
def test_bodies_pack_and_unpack_exactly(shape, bits, seed, open_axes):
    codes = random_codes(shape, bits, seed)
    codes[0, 0, 0, :], codes[-1, -1, -1, :] = 2**bits - 1, 0  # words of all ones and of all zeros
    arrays = [codes.astype(np.float32)]
    (packed,) = on_onnxruntime(PACK, arrays, {"bits_k": bits}, open_axes=open_axes)
    assert np.array_equal(packed, pack(codes, bits))
    (again,) = on_onnxruntime(UNPACK, [packed], {"bits_k": bits}, open_axes=open_axes)
    assert np.array_equal(again, codes)


def on_openvino(op, arrays, bits):
    openvino_or_skip()
    core = openvino_core()
    plain = onnx.inliner.inline_local_functions(model_of(op, arrays, {"bits_k": bits}))
    model = core.read_model(plain.SerializeToString())
    return core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(arrays)[0]


@pytest.mark.parametrize("bits", BITS)
def test_bodies_are_exact_where_whole_numbers_are_computed_in_float32(bits):
    """OpenVINO's Mod, Div and sums along an axis are, of int32 too."""
    codes = random_codes((1, 2, 40, 64), bits, bits)
    assert np.array_equal(on_openvino(PACK, [codes.astype(np.float32)], bits), pack(codes, bits))
    packed = np.concatenate([pack(codes, bits), borders(pack(codes, bits).shape)], axis=2)
    assert np.array_equal(on_openvino(UNPACK, [packed], bits), unpack(packed, bits))
    assert np.array_equal(on_onnxruntime(UNPACK, [packed], {"bits_k": bits})[0], unpack(packed, bits))


def borders(shape):
    """Words whose lower half is within 64 of the next upper half: as float32 they are rounded to it."""
    rng = np.random.default_rng(0)
    high = rng.choice([-32768, -1, 0, 1, 32767, 12345, -12345], shape).astype(np.int64)
    low = rng.choice([0, 1, 63, 64, 65471, 65472, 65473, 65535], shape)
    return (high * 65536 + low).astype(np.int32)


@pytest.mark.parametrize("bits", BITS)
def test_bodies_build_on_rtx(bits):
    codes = random_codes((1, 2, 5, 64), bits, 0)
    assert builds_on_rtx(model_of(PACK, [codes.astype(np.float32)], {"bits_k": bits})) > 1
    assert builds_on_rtx(model_of(UNPACK, [pack(codes, bits)], {"bits_k": bits})) > 1


@pytest.mark.parametrize("bits", BITS)
def test_keys_and_values_with_two_widths_in_one_body(bits):
    """As in an attention over a packed prefix: both sets of lines in one function, attributes of their own names."""
    rng = np.random.default_rng(bits)
    k_codes, v_codes = pack(random_codes((1, 2, 70, 32), bits, 1), bits), pack(random_codes((1, 2, 70, 32), 8, 2), 8)
    k_meta = rng.standard_normal((1, 2, 3, 2, 32)).astype(np.float16)  # groups of 32 tokens, the last with 6
    v_meta = rng.standard_normal((1, 2, 70, 1, 2)).astype(np.float16)
    inputs = (
        Tensor("kc", "int32", ("B", "Hk", "N", "D * bits_k // 32")),
        Tensor("km", "float16", ("B", "Hk", "cdiv(N, tokens)", "2", "D")),
        Tensor("vc", "int32", ("B", "Hk", "N", "D * bits_v // 32")),
        Tensor("vm", "float16", ("B", "Hk", "N", "8 // bits_v", "2")),
    )
    body = f"""{dequantize_k_text("kc", "km", "keys", "bits_k")}{dequantize_v_text("vc", "vm", "values", "bits_v")}
  y = Sub (keys, values)
"""
    attributes = (Attribute("bits_k", "int"), Attribute("bits_v", "int"), Attribute("tokens", "int"))
    op = op_of("Both", inputs, Tensor("y", "float32", ("B", "Hk", "N", "D")), body, None, attributes)
    given_ = {"bits_k": bits, "bits_v": 8, "tokens": 32}
    (y,) = on_onnxruntime(op, [k_codes, k_meta, v_codes, v_meta], given_)
    wanted = dequantize_k(k_codes, k_meta, bits, 32) - dequantize_v(v_codes, v_meta, 8)
    assert np.abs(y - wanted).max() <= 1e-6 * np.abs(wanted).max()


@pytest.mark.parametrize(("bits", "head_dim"), [(3, 128), (16, 128), (2, 24), (4, 12), (8, 6)])
def test_rows_that_are_not_whole_words_are_refused(bits, head_dim):
    with pytest.raises(ValueError, match=f"rows of {head_dim} codes of {bits} bits"):
        words(bits, head_dim)


@pytest.mark.parametrize(("bits", "key", "value"), [(16, 256, 256), (8, 136, 132), (4, 72, 72), (2, 40, 48)])
def test_bytes_of_a_token_are_what_the_tensors_hold(bits, key, value):
    assert bytes_per_token(bits, 128) == (key, value)
    if bits != 16:
        tokens, planes = 640, 8 // bits
        rows = pack(random_codes((1, 1, tokens, 128), bits, 0), bits).nbytes
        assert (rows + np.empty((tokens // 64, 2, 128), np.float16).nbytes) / tokens == key
        assert (rows + np.empty((tokens, planes, 2), np.float16).nbytes) / tokens == value


def test_smaller_key_groups_weigh_more():
    assert bytes_per_token(2, 128, tokens=32) == (48, 48)
