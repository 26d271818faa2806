"""Keys and values to codes of 2, 4 or 8 bits; kv_packing.py says how they lie in memory.

    QuantizeK   keys after RoPE, each channel over groups of tokens (KIVI, arXiv:2402.02750): an outlier channel moves the
                scale and minimum of its own channel and nothing else
    QuantizeV   values, each token by itself; ``rotate`` transforms every row first (QuaRot, arXiv:2404.00456)

A key bias (|b| of several hundred in Qwen2.5) is an offset of its channel only where RoPE turns slowly; in channels that go
round within a group it becomes their range. It need not be stored: RoPE is linear, so quantise R(k') without the bias and
add R(b) to what DequantizeK gives. benchmarks/kv_schemes.md has figures for both, on synthetic keys.

Scale and minimum are rounded to float16 first and the codes are computed against what is stored, in float32 and in one
defined order of operations: reference, body and kernel agree in every code, not up to a tolerance. What the rounding
costs: a float32 minimum of magnitude m may be off by m / 2048; keys that come as float16 or bfloat16 have minima that
float16 holds exactly. Beyond +-65504 scale and minimum saturate, and values outside take the nearest code.
"""

from __future__ import annotations

import numpy as np

from ....runtime.plugins.schema import TYPES, Attribute, OpSchema, Tensor
from ..declaration import FusedOp, Kernel, Variant
from .hadamard import fwht, fwht_text
from .packing import (
    BITS,
    FLOAT16_LARGEST,
    SMALLEST_SCALE,
    TOKENS,
    codes_of,
    key_rows_text,
    pack,
    pack_text,
    powers_text,
    scale_and_minimum,
)

BITS_ATTRIBUTE = Attribute("bits", "int", 4, "bits of a code: 8, 4 or 2")
TOKENS_ATTRIBUTE = Attribute("tokens", "int", TOKENS, "tokens that share the scale and minimum of a channel")
ROTATE_ATTRIBUTE = Attribute("rotate", "int", 0, "1: rows are stored after a Walsh-Hadamard transform")
LARGEST_ROTATION = 256  # channels of a head in a body; kernels have their own sizes
LARGEST_GROUP = 64  # tokens in the K kernel's tile
WHOLE_WORDS = "D * bits // 32 * 32 == D * bits"

K_SCHEMA = OpSchema(
    "QuantizeK",
    inputs=(Tensor("k", "T", ("B", "Hk", "N", "D")),),
    outputs=(
        Tensor("codes", "int32", ("B", "Hk", "N", "D * bits // 32")),
        Tensor("meta", "float16", ("B", "Hk", "cdiv(N, tokens)", "2", "D")),
    ),
    attributes=(BITS_ATTRIBUTE, TOKENS_ATTRIBUTE),
)
V_SCHEMA = OpSchema(
    "QuantizeV",
    inputs=(Tensor("v", "T", ("B", "Hk", "N", "D")),),
    outputs=(
        Tensor("codes", "int32", ("B", "Hk", "N", "D * bits // 32")),
        Tensor("meta", "float16", ("B", "Hk", "N", "8 // bits", "2")),
    ),
    attributes=(BITS_ATTRIBUTE, ROTATE_ATTRIBUTE),
)


def _quantize_text(x: str, axis: int, scale: str, minimum: str, meta_rows: str) -> str:
    """Body lines: low, high -> scale16, low16, then ``meta_rows`` as given, then ``x`` against ``scale`` -> codes.

    The float32 operations of ``scale_and_minimum`` and ``codes_of``, one by one.
    """
    return f"""{powers_text("of", "bits")}
  one_f = Constant <value_float = 1.0> ()
  largest = Sub (of_levels, one_f)
  span = Sub (high, low)
  scale_exact = Div (span, largest)
  smallest = Constant <value_float = {SMALLEST_SCALE:.7f}> ()
  scale_some = Max (scale_exact, smallest)
  most = Constant <value_float = {FLOAT16_LARGEST}> ()
  least = Constant <value_float = {-FLOAT16_LARGEST}> ()
  scale_finite = Min (scale_some, most)
  low_above = Max (low, least)
  low_finite = Min (low_above, most)
  scale16 = Cast <to = 10> (scale_finite)
  low16 = Cast <to = 10> (low_finite)
  meta = Concat <axis = {axis}> (scale16, low16)
{meta_rows}
  above = Sub ({x}, {minimum})
  steps = Div (above, {scale})
  half = Constant <value_float = 0.5> ()
  steps_half = Add (steps, half)
  whole = Floor (steps_half)
  zero_f = Constant <value_float = 0.0> ()
  not_below = Max (whole, zero_f)
  within = Min (not_below, largest)
  flat = Constant <value_ints = [0, 0, 0, -1]> ()
  rows = Reshape (within, flat)
{pack_text("rows", "codes")}
"""


# a partial last group is filled with its last token, which changes neither minimum nor maximum
K_BODY = f"""
  xf = Cast <to = 1> (k)
  count1 = Shape <start = 2, end = 3> (k)
  count = Squeeze (count1)
  tokens = Constant <value_int: int = @tokens> ()
  zero = Constant <value_int = 0> ()
  one = Constant <value_int = 1> ()
  last = Sub (count, one)
  up = Add (last, tokens)
  groups = Div (up, tokens)
  padded = Mul (groups, tokens)
  slot = Range (zero, padded, one)
  source = Min (slot, last)
  filled = Gather <axis = 2> (xf, source)
  head = Constant <value_ints = [0, 0, -1]> ()
  axis0 = Constant <value_ints = [0]> ()
  tokens1 = Unsqueeze (tokens, axis0)
  size1 = Shape <start = 3, end = 4> (k)
  by_group = Concat <axis = 0> (head, tokens1, size1)
  grouped = Reshape (filled, by_group)
  axis3 = Constant <value_ints = [3]> ()
  high = ReduceMax <keepdims = 1> (grouped, axis3)
  low = ReduceMin <keepdims = 1> (grouped, axis3)
{_quantize_text("xf", 3, "row_scale", "row_minimum", key_rows_text("meta", "k", "row"))}
"""
VALUE_ROWS = """
  scale = Cast <to = 1> (scale16)
  minimum = Cast <to = 1> (low16)
"""
ROTATED_OR_NOT = f"""
  xf = Cast <to = 1> (v)
{fwht_text("xf", "turned", LARGEST_ROTATION)}
  rotate_i = Constant <value_int: int = @rotate> ()
  rotate_b = Cast <to = 9> (rotate_i)
  x = Where (rotate_b, turned, xf)
"""
NOT_ROTATED = """
  x = Cast <to = 1> (v)
"""
V_BODY = f"""
  bits_i = Constant <value_int: int = @bits> ()
  eight = Constant <value_int = 8> ()
  planes = Div (eight, bits_i)
  axis0 = Constant <value_ints = [0]> ()
  planes1 = Unsqueeze (planes, axis0)
  head = Constant <value_ints = [0, 0, 0]> ()
  rest = Constant <value_ints = [-1]> ()
  by_plane = Concat <axis = 0> (head, planes1, rest)
  grouped = Reshape (x, by_plane)
  axis4 = Constant <value_ints = [4]> ()
  high = ReduceMax <keepdims = 1> (grouped, axis4)
  low = ReduceMin <keepdims = 1> (grouped, axis4)
{_quantize_text("grouped", 4, "scale", "minimum", VALUE_ROWS)}
"""


def reference_k(k: np.ndarray, *, bits: int = 4, tokens: int = TOKENS) -> tuple[np.ndarray, np.ndarray]:
    """(B, Hk, N, D) -> codes int32 (B, Hk, N, D * bits // 32), meta float16 (B, Hk, cdiv(N, tokens), 2, D).

    Raises:
        ValueError: ``bits`` is not 8, 4 or 2, or a row of codes is not whole words.
    """
    x = k.astype(np.float32)
    starts = np.arange(0, x.shape[2], tokens)
    low, high = np.minimum.reduceat(x, starts, axis=2), np.maximum.reduceat(x, starts, axis=2)  # (B, Hk, groups, D)
    scale, minimum = scale_and_minimum(low, high, bits)
    group = np.arange(x.shape[2]) // tokens
    codes = codes_of(x, scale[:, :, group], minimum[:, :, group], bits)
    return pack(codes, bits), np.stack([scale, minimum], axis=3)


def reference_v(v: np.ndarray, *, bits: int = 4, rotate: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(B, Hk, N, D) -> codes int32 (B, Hk, N, D * bits // 32), meta float16 (B, Hk, N, 8 // bits, 2).

    Raises:
        ValueError: as ``reference_k``, or ``rotate`` and D is no power of two.
    """
    x = v.astype(np.float32)
    if rotate:
        x = fwht(x)
    planes = x.reshape(*x.shape[:-1], 8 // bits, -1)  # (B, Hk, N, P, W)
    scale, minimum = scale_and_minimum(planes.min(axis=-1), planes.max(axis=-1), bits)
    codes = codes_of(planes, scale[..., None], minimum[..., None], bits)
    return pack(codes.reshape(x.shape), bits), np.stack([scale, minimum], axis=-1)


K_KERNEL = Kernel(
    "kv.quantize_kv:quantize_k_kernel",
    grid=("cdiv(N, tokens)", "B * Hk", "cdiv(D * bits // 8, BLOCK_W)"),
    scalars={"n": "N", "words": "D * bits // 32", "tokens": "tokens", "groups": "cdiv(N, tokens)"},
    variants=tuple(
        Variant(type_, {"BITS": bits, "BLOCK_T": LARGEST_GROUP, "BLOCK_W": 4 * bits},
                f"bits == {bits} and tokens < {LARGEST_GROUP + 1} and {WHOLE_WORDS}")
        for type_ in TYPES for bits in BITS
    ),
)  # fmt: skip
V_KERNEL = Kernel(
    "kv.quantize_kv:quantize_v_kernel",
    grid=("cdiv(B * Hk * N, ROWS)", "1", "1"),
    scalars={"rows": "B * Hk * N", "rotate": "rotate"},
    variants=tuple(
        Variant(type_, {"BITS": bits, "D": size, "ROWS": 2048 // size}, f"D == {size} and bits == {bits}")
        for type_ in TYPES for size in (128, 64) for bits in BITS
    ),
)  # fmt: skip
K_OP = FusedOp(
    K_SCHEMA,
    summary="Keys to packed codes, a scale and minimum for each channel and group of tokens.",
    equation="code[n, c] = clip(floor((k[n, c] - z[g, c]) / s[g, c] + 1/2), 0, 2^bits - 1),  g = n // tokens;  "
    "z = min_n k, s = max((max_n k - min_n k) / (2^bits - 1), 1e-6) over the group, both rounded to float16",
    source="Liu et al., KIVI, arXiv:2402.02750, section 3",
    body=K_BODY,
    reference=reference_k,
    kernel=K_KERNEL,
    wins="the plain graph makes two dozen passes over keys that are read once here",
    notes=(
        "A group of tokens larger than 64 has no kernel, only the body.",
        "Leave a large key bias out of k and add R(b) after DequantizeK: benchmarks/kv_schemes.md.",
    ),
)
V_OP = FusedOp(
    V_SCHEMA,
    summary="Values to packed codes, a scale and minimum for each token and plane of channels; optionally rotated first.",
    equation="x = v or FWHT(v);  code[n, c] = clip(floor((x[n, c] - z[n, i]) / s[n, i] + 1/2), 0, 2^bits - 1),  "
    "i = c // W;  z = min_c x, s = max((max_c x - min_c x) / (2^bits - 1), 1e-6) over the plane, rounded to float16",
    source="Liu et al., KIVI, arXiv:2402.02750, section 3; rotation: Ashkboos et al., QuaRot, arXiv:2404.00456",
    body=ROTATED_OR_NOT + V_BODY,
    body_at={("rotate", 0): NOT_ROTATED + V_BODY},
    reference=reference_v,
    kernel=V_KERNEL,
    wins="as QuantizeK, and the transform costs no pass of its own",
    notes=("Kernels for heads of 64 and 128 channels; the body rotates up to 256.",),
)
