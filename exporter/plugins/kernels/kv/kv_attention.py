"""Decoding over a packed cache, the tokens split over programs (split-K): one kernel a split, one that joins them."""

import triton
import triton.language as tl

from .key_bias import bias_scores, turned_query
from .powers import ROOM
from .prefix_attention import attend_packed, first_state


@triton.jit
def attend_split(q_ptr, k_codes_ptr, k_meta_ptr, v_codes_ptr, v_meta_ptr, length_ptr, key_bias_ptr, cos_ptr, sin_ptr,
                 n, heads, kv_heads, tokens, scale_bits, splits, partial_ptr, stats_ptr,
                 D: tl.constexpr, BITS_K: tl.constexpr, BITS_V: tl.constexpr,
                 BLOCK_R: tl.constexpr, BLOCK_N: tl.constexpr):  # fmt: skip
    # q: (B, heads, 1, D); codes, meta and key bias as in prefix_attention.py, n the capacity; length: (B,)
    # partial: (B, kv_heads, splits, heads / kv_heads, D) float32; stats: (..., 2) = maximum (base 2), sum; (0, 0) if empty
    PV: tl.constexpr = 8 // BITS_V
    k_bytes = k_codes_ptr.to(tl.pointer_type(tl.uint8), bitcast=True)
    v_bytes = v_codes_ptr.to(tl.pointer_type(tl.uint8), bitcast=True)
    split = tl.program_id(0)
    bh = tl.program_id(1).to(tl.int64)
    rows = heads // kv_heads
    r = tl.program_id(2) * BLOCK_R + tl.arange(0, BLOCK_R)
    inside = r < rows
    q, q_up, acc, top, total, v_up = first_state(q_ptr, bh * rows + r, inside, scale_bits, D, PV)
    length = tl.minimum(tl.maximum(tl.load(length_ptr + bh // kv_heads), 0), n)
    share = (
        tl.cdiv(tl.cdiv(length, splits), tokens) * tokens
    )  # whole groups: a split never shares one with its neighbour
    stop = tl.minimum((split + 1) * share, length)
    groups = tl.cdiv(n, tokens)
    EXACT: tl.constexpr = q_ptr.dtype.element_ty == tl.float32
    if key_bias_ptr is not None:
        with_cos, with_sin, bias_up = turned_query(q, key_bias_ptr + bh % kv_heads * D, D)
    for start in range(split * share, stop, BLOCK_N):
        j = start + tl.arange(0, BLOCK_N)
        meta = k_meta_ptr + (bh * groups + start // tokens) * (2 * D)
        if key_bias_ptr is not None:
            extra = bias_scores(with_cos, with_sin, bias_up, cos_ptr, sin_ptr, j, j < stop, D, EXACT)
        else:
            extra = None
        acc, top, total, v_up = attend_packed(q, q_up, acc, top, total, v_up, k_bytes, meta, v_bytes, v_meta_ptr,
                                              bh * n + j, j < stop, extra, D, BITS_K, BITS_V)  # fmt: skip
    row = (bh * splits + split) * rows + r
    w = tl.arange(0, D // PV)
    for i in tl.static_range(PV):
        at = partial_ptr + row[:, None] * D + i * (D // PV) + w[None, :]
        tl.store(at, acc[i] * (v_up / ROOM), mask=inside[:, None])
    tl.store(stats_ptr + row * 2, tl.where(total > 0, top, 0.0), mask=inside)
    tl.store(stats_ptr + row * 2 + 1, total, mask=inside)


@triton.jit
def kv_attention_partial_kernel(q_ptr, k_codes_ptr, k_meta_ptr, v_codes_ptr, v_meta_ptr, length_ptr,
                                n, heads, kv_heads, tokens, scale_bits, splits, partial_ptr, stats_ptr,
                                D: tl.constexpr, BITS_K: tl.constexpr, BITS_V: tl.constexpr,
                                BLOCK_R: tl.constexpr, BLOCK_N: tl.constexpr):  # fmt: skip
    attend_split(q_ptr, k_codes_ptr, k_meta_ptr, v_codes_ptr, v_meta_ptr, length_ptr, None, None, None,
                 n, heads, kv_heads, tokens, scale_bits, splits, partial_ptr, stats_ptr,
                 D, BITS_K, BITS_V, BLOCK_R, BLOCK_N)  # fmt: skip


@triton.jit
def kv_attention_partial_biased_kernel(q_ptr, k_codes_ptr, k_meta_ptr, v_codes_ptr, v_meta_ptr, length_ptr,
                                       key_bias_ptr, cos_ptr, sin_ptr,
                                       n, heads, kv_heads, tokens, scale_bits, splits, partial_ptr, stats_ptr,
                                       D: tl.constexpr, BITS_K: tl.constexpr, BITS_V: tl.constexpr,
                                       BLOCK_R: tl.constexpr, BLOCK_N: tl.constexpr):  # fmt: skip
    attend_split(q_ptr, k_codes_ptr, k_meta_ptr, v_codes_ptr, v_meta_ptr, length_ptr, key_bias_ptr, cos_ptr, sin_ptr,
                 n, heads, kv_heads, tokens, scale_bits, splits, partial_ptr, stats_ptr,
                 D, BITS_K, BITS_V, BLOCK_R, BLOCK_N)  # fmt: skip


@triton.jit
def kv_attention_combine_kernel(partial_ptr, stats_ptr, q_ptr, splits, rows, y_ptr,
                                D: tl.constexpr, BLOCK_S: tl.constexpr):  # fmt: skip
    # one program a query head; q gives the type of out, (B, kv_heads * rows, 1, D), and is not read
    h = tl.program_id(0).to(tl.int64)
    first = h // rows * splits * rows + h % rows
    d = tl.arange(0, D)
    top = tl.full((), float("-inf"), tl.float32)
    total = tl.full((), 0.0, tl.float32)
    acc = tl.zeros((D,), tl.float32)
    for start in range(0, splits, BLOCK_S):
        s = start + tl.arange(0, BLOCK_S)
        row = first + s * rows
        amount = tl.load(stats_ptr + row * 2 + 1, mask=s < splits, other=0.0)
        full = amount > 0  # an empty split has no say in the maximum either
        maximum = tl.load(stats_ptr + row * 2, mask=full, other=float("-inf"))
        new_top = tl.maximum(top, tl.max(maximum, 0))
        weight = tl.where(full, tl.exp2(maximum - new_top), 0.0)
        shrink = tl.where(total > 0, tl.exp2(top - new_top), 0.0)
        parts = tl.load(partial_ptr + row[:, None] * D + d[None, :], mask=full[:, None], other=0.0)
        acc = acc * shrink + tl.sum(parts * weight[:, None], 0)
        total = total * shrink + tl.sum(amount * weight, 0)
        top = new_top
    y = tl.where(total > 0, acc / tl.where(total > 0, total, 1.0), 0.0)
    tl.store(y_ptr + h * D + d, y.to(y_ptr.dtype.element_ty))
