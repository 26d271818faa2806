"""RotateKV: keys rotated before RoPE, channels sorted, sink tokens kept; the alternative to QuantizeK.

Paper: Su et al., RotateKV, arXiv:2501.16383. The keys k' of one layer, before RoPE and without the bias of the projection:

    y = FWHT of (k'_h, ..., k'_(h + heads - 1)) together       outlier channels spread over several kv heads
    z[i] = y[order[i]]                                         a quantisation group holds channels of similar size
    codes, meta = QuantizeV(z as (B, Hk, N, D), rotate=0)      scale and minimum a token and plane
    read: undo the order, undo the rotation, k = RoPE(k' + b)  DequantizeRotatedK

and the tokens with the largest |hidden| (``sink_tokens``) are kept as they are. Rotation and order are linear and stand
before RoPE, so at export they go into the projection (``fold``) and cost nothing. We leave the bias out of what is stored and add it
when reading: exact, since RoPE is linear, and what makes the scheme usable for Qwen2.5, whose key biases of several hundred
would take every scale otherwise. The paper rotates 4 kv heads together; Qwen2.5-VL-3B has 2, so ``heads`` is an attribute.
"""

from __future__ import annotations

import numpy as np

from ....runtime.plugins.schema import TYPES, Attribute, OpSchema, Tensor
from ....runtime.tasks.grounding.screens.kv_bytes import SINKS
from ..declaration import FusedOp, Kernel, Variant
from .hadamard import fwht, product_text
from .packing import dequantize_v, dequantize_v_text
from .quantise import BITS_ATTRIBUTE

SCHEMA = OpSchema(
    "DequantizeRotatedK",
    inputs=(
        Tensor("codes", "int32", ("B", "Hk", "N", "D * bits // 32")),
        Tensor("meta", "float16", ("B", "Hk", "N", "8 // bits", "2")),
        Tensor("place", "int32", ("Hk * D",)),
        Tensor("bias", "float32", ("Hk", "D")),
        Tensor("cos", "float32", ("N", "D // 2")),
        Tensor("sin", "float32", ("N", "D // 2")),
        Tensor("slot", "int32", ("B", "N")),
        Tensor("sinks", "T", ("B", "Hk", "S", "D")),
    ),
    outputs=(Tensor("k", "T", ("B", "Hk", "N", "D")),),
    attributes=(BITS_ATTRIBUTE, Attribute("heads", "int", 1, "kv heads rotated together; heads * D a power of two")),
)

BODY = f"""{dequantize_v_text("codes", "meta", "exact")}
  by_token = Transpose <perm = [0, 2, 1, 3]> (exact)
  zero_d = Constant <value_ints = [0]> ()
  rest_d = Constant <value_ints = [-1]> ()
  all_channels = Constant <value_ints = [0, 0, -1]> ()
  sorted = Reshape (by_token, all_channels)
  turned = Gather <axis = 2> (sorted, place)
  heads_i = Constant <value_int: int = @heads> ()
  heads_d = Unsqueeze (heads_i, zero_d)
  size_d = Shape <start = 1, end = 2> (bias)
  together = Mul (heads_d, size_d)
  two_zeros = Constant <value_ints = [0, 0]> ()
  by_rotation = Concat <axis = 0> (two_zeros, rest_d, together)
  rotated = Reshape (turned, by_rotation)
{product_text("rotated", "back")}
  by_head_shape = Concat <axis = 0> (two_zeros, rest_d, size_d)
  by_head_token = Reshape (back, by_head_shape)
  by_head = Transpose <perm = [0, 2, 1, 3]> (by_head_token)
  axis1 = Constant <value_ints = [1]> ()
  bias_3 = Unsqueeze (bias, axis1)
  biased = Add (by_head, bias_3)
  first, second = Split <axis = 3, num_outputs = 2> (biased)
  first_cos = Mul (first, cos)
  second_sin = Mul (second, sin)
  first_new = Sub (first_cos, second_sin)
  second_cos = Mul (second, cos)
  first_sin = Mul (first, sin)
  second_new = Add (second_cos, first_sin)
  placed = Concat <axis = 3> (first_new, second_new)
  # one row of ones and zeros a token picks its sink, if it has one
  count1 = Shape <start = 2, end = 3> (sinks)
  count64 = Squeeze (count1)
  zero_i = Constant <value_int = 0> ()
  one_i = Constant <value_int = 1> ()
  numbers64 = Range (zero_i, count64, one_i)
  numbers = Cast <to = 6> (numbers64)
  slot_axes = Constant <value_ints = [1, 3]> ()
  slot4 = Unsqueeze (slot, slot_axes)
  picked_b = Equal (slot4, numbers)
  picked = Cast <to = 1> (picked_b)
  sinks_f = Cast <to = 1> (sinks)
  kept = MatMul (picked, sinks_f)
  none = Constant <value = int32[1] {{-1}}> ()
  is_sink = Greater (slot4, none)
  wanted = Where (is_sink, kept, placed)
  k = CastLike (wanted, sinks)
"""


def reference(
    codes: np.ndarray, meta: np.ndarray, place: np.ndarray, bias: np.ndarray, cos: np.ndarray, sin: np.ndarray,
    slot: np.ndarray, sinks: np.ndarray, *, bits: int = 4, heads: int = 1,
) -> np.ndarray:  # fmt: skip
    """Packed, sorted, rotated keys -> keys after RoPE (B, Hk, N, D) in the type of ``sinks``; float64 inside.

    place (Hk * D,): where the rotated channel c lies in the packed row; slot (B, N): the row of ``sinks`` that holds the
    token's key after RoPE, or -1.
    """
    batch, kv_heads, tokens, _ = codes.shape
    rows = dequantize_v(codes, meta, bits).swapaxes(1, 2).reshape(batch, tokens, -1)[..., place]  # (B, N, Hk * D)
    plain = fwht(rows.reshape(batch, tokens, kv_heads // heads, -1)).reshape(batch, tokens, kv_heads, -1)
    keys = rope(plain.swapaxes(1, 2) + bias[:, None], cos.astype(np.float64), sin.astype(np.float64))
    kept = np.take_along_axis(sinks.astype(np.float64), np.maximum(slot, 0)[:, None, :, None], axis=2)
    return np.where((slot >= 0)[:, None, :, None], kept, keys).astype(sinks.dtype)


def rope(k: np.ndarray, cos: np.ndarray, sin: np.ndarray) -> np.ndarray:
    """(..., N, D) turned by cos, sin (N, D / 2); channels c and c + D / 2 are a pair (rotate-half)."""
    first, second = np.split(k, 2, axis=-1)
    return np.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


def rotate(keys: np.ndarray, heads: int) -> np.ndarray:
    """Keys before RoPE (..., Hk, D) -> rotated (..., Hk, D), ``heads`` kv heads together; ValueError as ``fwht``."""
    *front, kv_heads, size = keys.shape
    return fwht(keys.reshape(*front, kv_heads // heads, heads * size)).reshape(keys.shape)


def channel_order(rotated: np.ndarray) -> np.ndarray:
    """Calibrated, rotated keys (tokens, Hk, D) -> int32 (Hk * D,): all channels by their sum over the tokens, ascending."""
    return np.argsort(rotated.reshape(len(rotated), -1).sum(axis=0, dtype=np.float64), kind="stable").astype(np.int32)


def places(order: np.ndarray) -> np.ndarray:
    """The input ``place`` of the op: the inverse of an order."""
    return np.argsort(order, kind="stable").astype(np.int32)


def fold(weight: np.ndarray, order: np.ndarray, kv_heads: int, heads: int) -> np.ndarray:
    """Weight of the key projection (Hk * D, inputs) -> the one that gives rotated, sorted keys; the bias stays outside."""
    columns = weight.T.reshape(weight.shape[1], kv_heads, -1)  # every input's column is a key
    return np.ascontiguousarray(rotate(columns, heads).reshape(weight.shape[1], -1)[:, order].T)


def sink_tokens(hidden: np.ndarray, count: int = SINKS) -> np.ndarray:
    """Hidden states (tokens, channels) -> slot int32 (tokens,): 0, 1 ... for the largest |hidden|, in order, -1 elsewhere."""
    largest = np.sort(np.argsort(-np.abs(hidden).max(axis=1), kind="stable")[:count])
    slot = np.full(len(hidden), -1, np.int32)
    slot[largest] = np.arange(len(largest))
    return slot


KERNEL = Kernel(
    "kv.rotate_kv:dequantize_rotated_k_kernel",
    grid=("cdiv(N, ROWS)", "Hk // heads", "B"),
    scalars={"n": "N", "kv_heads": "Hk", "words": "D * bits // 32", "bits": "bits", "kept": "S"},
    variants=tuple(
        Variant(type_, {"D": size, "HEADS": heads, "ROWS": 2048 // (size * heads)},
                f"D == {size} and heads == {heads} and Hk // heads * heads == Hk")
        for type_ in TYPES for size, heads in ((128, 2), (128, 4), (64, 2))
    ),
)  # fmt: skip
OP = FusedOp(
    SCHEMA,
    summary="Keys of RotateKV, packed by QuantizeV, back to T: order and rotation undone, bias added, RoPE applied.",
    equation="y[n, c] = code[n, p] s[n, i] + z[n, i],  p = place[c];  k = RoPE(FWHT(y) + b), or sinks[slot[n]] where slot[n] >= 0",
    source="Su et al., RotateKV, arXiv:2501.16383",
    body=BODY,
    reference=reference,
    kernel=KERNEL,
    wins="the plain graph is DequantizeV, a gather, a transform of log2(heads * D) steps and RoPE",
    notes=("The scheme is the alternative to QuantizeK; benchmarks/kv_schemes.md says when which holds.",),
)
