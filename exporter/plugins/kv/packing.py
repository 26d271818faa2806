"""How quantised keys and values lie in memory, once for all ops that write or read them; numpy and body text.

Planar packing of a row of D codes of 2, 4 or 8 bits, with P = 8 / bits planes of W = D / P codes:

    byte j = sum_i code[i * W + j] << (bits * i)        four bytes are one INT32 word, the first is the lowest

Plane i of a row of bytes IS the channels [i * W, (i + 1) * W), so a kernel unpacks with one shift and one mask and a group
of channels never crosses a plane. Words and not bytes, because TensorRT refuses UINT8 between layers.

    key    scale and minimum a channel, over a group of ``tokens`` tokens    meta float16 (B, Hk, cdiv(N, tokens), 2, D)
    value  scale and minimum a token and plane, over W channels              meta float16 (B, Hk, N, P, 2)

In both, value = code * scale + minimum; keys follow KIVI (Liu et al., arXiv:2402.02750, section 3).

The ``*_text`` functions give lines of an op's body: operators that TensorRT's parser has, so no bit operators; every
number on the way is an integer below 2^24 in float32, or an int32 that is only added, subtracted and multiplied, since
OpenVINO computes Mod, Div and sums along an axis of int32 in float32. So the result is exact. Names of lines begin with
``out``, which therefore must be unlike any other name in the body.
"""

from __future__ import annotations

import numpy as np

from ....runtime.tasks.grounding.screens.kv_bytes import CODES, GROUP, CacheLayout, bytes_of

BITS = CODES
TOKENS = GROUP
FLOAT16_LARGEST = 65504.0
SMALLEST_SCALE = 1e-6  # of a group whose values are all the same


def words(bits: int, head_dim: int) -> int:
    """INT32 words of one row of ``head_dim`` codes.

    Raises:
        ValueError: no width of ours, or the planes of a row are not whole words.
    """
    if bits not in BITS or head_dim * bits % 32:
        raise ValueError(
            f"rows of {head_dim} codes of {bits} bits: bits must be 2, 4 or 8, and a row whole 32-bit words"
        )
    return head_dim * bits // 32


def pack(codes: np.ndarray, bits: int) -> np.ndarray:
    """Integers 0 ... 2^bits - 1 (..., D) -> int32 (..., D * bits // 32); ValueError as ``words``."""
    width = words(bits, codes.shape[-1]) * 4
    planes = codes.reshape(*codes.shape[:-1], 8 // bits, width).astype(np.uint8)  # (..., P, W)
    shifts = (bits * np.arange(8 // bits, dtype=np.uint8))[:, None]
    row = np.ascontiguousarray(np.bitwise_or.reduce(planes << shifts, axis=-2))  # (..., W) bytes
    return row.view("<i4").astype(np.int32, copy=False)


def unpack(packed: np.ndarray, bits: int) -> np.ndarray:
    """int32 (..., D * bits // 32) -> int32 codes (..., D)."""
    row = np.ascontiguousarray(packed, "<i4").view(np.uint8)  # (..., W)
    planes = [(row >> (bits * plane)) & (2**bits - 1) for plane in range(8 // bits)]
    return np.concatenate(planes, axis=-1).astype(np.int32)


def scale_and_minimum(low: np.ndarray, high: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Range of a group (float32) -> its scale and minimum as they are stored, float16.

    Beyond float16 the two saturate at 65504 instead of becoming infinite: values outside then take the nearest code.
    """
    scale = np.maximum((high - low) / np.float32(2**bits - 1), np.float32(SMALLEST_SCALE))
    return (
        np.minimum(scale, np.float32(FLOAT16_LARGEST)).astype(np.float16),
        np.clip(low, -FLOAT16_LARGEST, FLOAT16_LARGEST).astype(np.float16),
    )


def codes_of(x: np.ndarray, scale: np.ndarray, minimum: np.ndarray, bits: int) -> np.ndarray:
    """x float32, scale and minimum float16 -> int32 codes; float32 throughout, so that kernels can agree bit for bit."""
    steps = (x - minimum.astype(np.float32)) / scale.astype(np.float32)
    return np.clip(np.floor(steps + np.float32(0.5)), 0, 2**bits - 1).astype(np.int32)


def dequantize_k(codes: np.ndarray, meta: np.ndarray, bits: int, tokens: int = TOKENS) -> np.ndarray:
    """Packed keys (B, Hk, N, D * bits // 32), meta (B, Hk, cdiv(N, tokens), 2, D) -> float64 (B, Hk, N, D)."""
    rows = meta.astype(np.float64)[:, :, np.arange(codes.shape[2]) // tokens]  # (B, Hk, N, 2, D)
    return np.asarray(unpack(codes, bits) * rows[..., 0, :] + rows[..., 1, :])


def dequantize_v(codes: np.ndarray, meta: np.ndarray, bits: int) -> np.ndarray:
    """Packed values (B, Hk, N, D * bits // 32), meta (B, Hk, N, P, 2) -> float64 (B, Hk, N, D)."""
    planes = unpack(codes, bits).reshape(*codes.shape[:-1], 8 // bits, -1)  # (B, Hk, N, P, W)
    pairs = meta.astype(np.float64)
    return np.asarray(planes * pairs[..., :1] + pairs[..., 1:]).reshape(*codes.shape[:-1], -1)


def bytes_per_token(bits: int, head_dim: int, tokens: int = TOKENS) -> tuple[float, float]:
    """Bytes of one token in one kv head, (key, value), scales and minima included; 16 bits means float16, unpacked.

    A key's scale and minimum are shared by the ``tokens`` tokens of its group, so its bytes need not be whole.
    """
    layout = CacheLayout(1, 1, head_dim, bits=bits, group=tokens)
    return bytes_of(layout.keys(tokens)) / tokens, bytes_of(layout.values(tokens)) / tokens


def powers_text(out: str, bits: str) -> str:
    """Powers of two that follow from the width: {out}_levels = 2^bits, {out}_weight (P,) = 2^(bits * i), and inverses.

    Taken out of tables, because nobody promises that Pow is exact.
    """
    return f"""
  {out}_bits = Constant <value_int: int = @{bits}> ()
  {out}_two = Constant <value_int = 2> ()
  {out}_step = Div ({out}_bits, {out}_two)
  {out}_at0 = Constant <value_ints = [0]> ()
  {out}_at4 = Constant <value_ints = [4]> ()
  {out}_steps = Unsqueeze ({out}_step, {out}_at0)
  {out}_powers = Constant <value = float[5] {{1, 4, 16, 64, 256}}> ()
  {out}_inverses = Constant <value = float[5] {{1, 0.25, 0.0625, 0.015625, 0.00390625}}> ()
  {out}_levels = Gather ({out}_powers, {out}_step)
  {out}_per_level = Gather ({out}_inverses, {out}_step)
  {out}_weight = Slice ({out}_powers, {out}_at0, {out}_at4, {out}_at0, {out}_steps)
  {out}_per_weight = Slice ({out}_inverses, {out}_at0, {out}_at4, {out}_at0, {out}_steps)
"""


def pack_text(codes: str, out: str, bits: str = "bits") -> str:
    """Body lines: ``codes`` float32 (B, Hk, N, D) of whole numbers -> ``out`` int32; ``bits`` names the attribute."""
    return f"""{powers_text(out, bits)}
  {out}_plane = Constant <value_ints = [1]> ()
  {out}_column = Unsqueeze ({out}_weight, {out}_plane)
  {out}_p1 = Shape ({out}_weight)
  {out}_rest = Constant <value_ints = [-1]> ()
  {out}_head = Constant <value_ints = [0, 0, 0]> ()
  {out}_shape = Concat <axis = 0> ({out}_head, {out}_p1, {out}_rest)
  {out}_planes = Reshape ({codes}, {out}_shape)
  {out}_placed = Mul ({out}_planes, {out}_column)
  {out}_axis3 = Constant <value_ints = [3]> ()
  {out}_row = ReduceSum <keepdims = 0> ({out}_placed, {out}_axis3)
  # two bytes are half a word, which a float32 holds; the upper half is signed, and words are put together as int32
  {out}_twos = Constant <value_ints = [0, 0, 0, -1, 2]> ()
  {out}_bytes = Reshape ({out}_row, {out}_twos)
  {out}_place = Constant <value = float[2] {{1, 256}}> ()
  {out}_moved = Mul ({out}_bytes, {out}_place)
  {out}_axis4 = Constant <value_ints = [4]> ()
  {out}_halves = ReduceSum <keepdims = 0> ({out}_moved, {out}_axis4)
  {out}_pairs = Reshape ({out}_halves, {out}_twos)
  {out}_first = Constant <value_int = 0> ()
  {out}_second = Constant <value_int = 1> ()
  {out}_low = Gather <axis = 4> ({out}_pairs, {out}_first)
  {out}_upper = Gather <axis = 4> ({out}_pairs, {out}_second)
  {out}_per_sign = Constant <value_float = 0.000030517578125> ()
  {out}_part = Mul ({out}_upper, {out}_per_sign)
  {out}_over = Floor ({out}_part)
  {out}_64k_f = Constant <value_float = 65536.0> ()
  {out}_less = Mul ({out}_over, {out}_64k_f)
  {out}_signed = Sub ({out}_upper, {out}_less)
  {out}_low_i = Cast <to = 6> ({out}_low)
  {out}_high_i = Cast <to = 6> ({out}_signed)
  {out}_64k = Constant <value = int32 {{65536}}> ()
  {out}_above = Mul ({out}_high_i, {out}_64k)
  {out} = Add ({out}_low_i, {out}_above)
"""


def unpack_text(packed: str, out: str, bits: str = "bits") -> str:
    """Body lines: ``packed`` int32 (B, Hk, N, D * bits / 32) -> ``out`` float32 codes (B, Hk, N, D)."""
    return f"""{powers_text(out, bits)}
  # a word does not fit a float32, its halves do. As a float32 it may be the next multiple of 65536: then one too much is taken
  # for the upper half, and the lower one says so by its sign
  {out}_about = Cast <to = 1> ({packed})
  {out}_per_64k = Constant <value_float = 0.0000152587890625> ()
  {out}_about_part = Mul ({out}_about, {out}_per_64k)
  {out}_about_high = Floor ({out}_about_part)
  {out}_highest = Constant <value_float = 32767.0> ()
  {out}_high_f = Min ({out}_about_high, {out}_highest)
  {out}_high_i = Cast <to = 6> ({out}_high_f)
  {out}_64k = Constant <value = int32 {{65536}}> ()
  {out}_above = Mul ({out}_high_i, {out}_64k)
  {out}_rest_i = Sub ({packed}, {out}_above)
  {out}_rest = Cast <to = 1> ({out}_rest_i)
  {out}_rest_part = Mul ({out}_rest, {out}_per_64k)
  {out}_back = Floor ({out}_rest_part)
  {out}_64k_f = Constant <value_float = 65536.0> ()
  {out}_rest_less = Mul ({out}_back, {out}_64k_f)
  {out}_low = Sub ({out}_rest, {out}_rest_less)
  {out}_high = Add ({out}_high_f, {out}_back)
  # bytes b0 ... b3, the highest from a signed half; one axis each time, because engines are slow on many short ones
  {out}_256 = Constant <value_float = 256.0> ()
  {out}_per_256 = Constant <value_float = 0.00390625> ()
  {out}_low_part = Mul ({out}_low, {out}_per_256)
  {out}_b1 = Floor ({out}_low_part)
  {out}_low_less = Mul ({out}_b1, {out}_256)
  {out}_b0 = Sub ({out}_low, {out}_low_less)
  {out}_high_part = Mul ({out}_high, {out}_per_256)
  {out}_signed = Floor ({out}_high_part)
  {out}_high_less = Mul ({out}_signed, {out}_256)
  {out}_b2 = Sub ({out}_high, {out}_high_less)
  {out}_sign_part = Mul ({out}_signed, {out}_per_256)
  {out}_sign = Floor ({out}_sign_part)
  {out}_sign_less = Mul ({out}_sign, {out}_256)
  {out}_b3 = Sub ({out}_signed, {out}_sign_less)
  {out}_axis4 = Constant <value_ints = [4]> ()
  {out}_c0 = Unsqueeze ({out}_b0, {out}_axis4)
  {out}_c1 = Unsqueeze ({out}_b1, {out}_axis4)
  {out}_c2 = Unsqueeze ({out}_b2, {out}_axis4)
  {out}_c3 = Unsqueeze ({out}_b3, {out}_axis4)
  {out}_by_word = Concat <axis = 4> ({out}_c0, {out}_c1, {out}_c2, {out}_c3)
  {out}_row = Constant <value_ints = [0, 0, 0, 1, -1]> ()
  {out}_bytes = Reshape ({out}_by_word, {out}_row)
  # (B, Hk, N, 1, W) times (P, 1): every plane of every byte, in the order of the channels
  {out}_plane = Constant <value_ints = [1]> ()
  {out}_column = Unsqueeze ({out}_per_weight, {out}_plane)
  {out}_moved = Mul ({out}_bytes, {out}_column)
  {out}_upper = Floor ({out}_moved)
  {out}_next = Mul ({out}_upper, {out}_per_level)
  {out}_more = Floor ({out}_next)
  {out}_extra = Mul ({out}_more, {out}_levels)
  {out}_codes = Sub ({out}_upper, {out}_extra)
  {out}_flat = Constant <value_ints = [0, 0, 0, -1]> ()
  {out} = Reshape ({out}_codes, {out}_flat)
"""


def key_rows_text(meta: str, like: str, out: str, tokens: str = "tokens") -> str:
    """Body lines: meta of keys -> {out}_scale and {out}_minimum, float32 (B, Hk, N, D), N the tokens of ``like``."""
    return f"""
  {out}_count1 = Shape <start = 2, end = 3> ({like})
  {out}_count = Squeeze ({out}_count1)
  {out}_first = Constant <value_int = 0> ()
  {out}_one = Constant <value_int = 1> ()
  {out}_token = Range ({out}_first, {out}_count, {out}_one)
  {out}_tokens = Constant <value_int: int = @{tokens}> ()
  {out}_group = Div ({out}_token, {out}_tokens)
  {out}_meta = Cast <to = 1> ({meta})
  {out}_scale5, {out}_minimum5 = Split <axis = 3, num_outputs = 2> ({out}_meta)
  {out}_axis = Constant <value_ints = [3]> ()
  {out}_scales = Squeeze ({out}_scale5, {out}_axis)
  {out}_minima = Squeeze ({out}_minimum5, {out}_axis)
  {out}_scale = Gather <axis = 2> ({out}_scales, {out}_group)
  {out}_minimum = Gather <axis = 2> ({out}_minima, {out}_group)
"""


def dequantize_k_text(codes: str, meta: str, out: str, bits: str = "bits", tokens: str = "tokens") -> str:
    """Body lines: packed keys and their meta -> ``out`` float32 (B, Hk, N, D)."""
    return f"""{unpack_text(codes, f"{out}_q", bits)}{key_rows_text(meta, codes, f"{out}_m", tokens)}
  {out}_product = Mul ({out}_q, {out}_m_scale)
  {out} = Add ({out}_product, {out}_m_minimum)
"""


def dequantize_v_text(codes: str, meta: str, out: str, bits: str = "bits") -> str:
    """Body lines: packed values and their meta -> ``out`` float32 (B, Hk, N, D), still rotated if they were."""
    return f"""{unpack_text(codes, f"{out}_q", bits)}
  {out}_meta = Cast <to = 1> ({meta})
  {out}_scale, {out}_minimum = Split <axis = 4, num_outputs = 2> ({out}_meta)
  {out}_p1 = Shape ({out}_q_weight)
  {out}_head = Constant <value_ints = [0, 0, 0]> ()
  {out}_rest = Constant <value_ints = [-1]> ()
  {out}_by_plane = Concat <axis = 0> ({out}_head, {out}_p1, {out}_rest)
  {out}_planes = Reshape ({out}_q, {out}_by_plane)
  {out}_product = Mul ({out}_planes, {out}_scale)
  {out}_sum = Add ({out}_product, {out}_minimum)
  {out}_back = Constant <value_ints = [0, 0, 0, -1]> ()
  {out} = Reshape ({out}_sum, {out}_back)
"""
