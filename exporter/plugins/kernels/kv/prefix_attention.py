"""Attention of new tokens over a packed, static prefix and causally over each other, without dequantising an element.

    K, group g of tokens:  q . k_n = sum_c (q_c scale[g, c]) code[n, c] + sum_c q_c minimum[g, c]
    V, plane i of token n: o_i = sum_n (p_n scale[n, i]) code[n, i] + sum_n p_n minimum[n, i]

Float16 holds neither every q * scale nor every p * scale: keys with a bias reach scales in the hundreds (65504 overflows),
small values have scales of 1e-5 (subnormal). Factors are divided by powers of two first, which is exact, so that the
largest product comes to lie just below 65504, and the powers go back in where numbers are float32.
"""

import triton
import triton.language as tl

from .key_bias import bias_scores, turned_query
from .powers import ROOM, SMALLEST, power_of_two

LOG2E = tl.constexpr(1.4426950408889634)


@triton.jit
def centred_codes(packed, plane: tl.constexpr, BITS: tl.constexpr, dtype: tl.constexpr):
    """Codes of one plane minus half the largest one, exact in float16 and bfloat16."""
    LARGEST: tl.constexpr = (1 << BITS) - 1
    return ((packed >> (plane * BITS)) & LARGEST).to(dtype) - LARGEST * 0.5


@triton.jit
def appended(planes, plane):
    """A tuple of planes with one more; each is a variable of its own, because a tensor cannot be indexed by one."""
    return planes + (plane,)


@triton.jit
def load_query(q_ptr, row, inside, D: tl.constexpr):
    """Rows of q (R, D), each divided by its own power of two, and these powers (R,)."""
    at = q_ptr + row[:, None] * D + tl.arange(0, D)[None, :]
    q = tl.load(at, mask=inside[:, None], other=0.0).to(tl.float32)
    up, down = power_of_two(tl.max(tl.abs(q), 1))
    return (q * (down * ROOM)[:, None]).to(q_ptr.dtype.element_ty), up / ROOM


@triton.jit
def first_state(q_ptr, row, inside, scale_bits, D: tl.constexpr, PV: tl.constexpr):
    """The query and its powers, and what ``attend_packed`` carries on: output in PV planes, maximum, sum, power of V."""
    q, q_up = load_query(q_ptr, row, inside, D)
    q_up *= scale_bits.to(tl.float32, bitcast=True) * LOG2E
    R: tl.constexpr = row.shape[0]
    acc = ()
    for i in tl.static_range(PV):
        acc = appended(acc, tl.zeros((R, D // PV), tl.float32))
    return q, q_up, acc, tl.full((R,), float("-inf"), tl.float32), tl.zeros((R,), tl.float32), SMALLEST


@triton.jit
def softmax_step(score, top, total):
    """Online softmax in base 2: probabilities against the new maximum, maximum, sum, and what earlier sums shrink by."""
    new_top = tl.maximum(top, tl.max(score, 1))
    p = tl.exp2(score - new_top[:, None])
    shrink = tl.exp2(top - new_top)
    return p, new_top, total * shrink + tl.sum(p, 1), shrink


@triton.jit
def attend_packed(q, q_up, acc, top, total, v_up, k_codes_ptr, k_meta_ptr, v_codes_ptr, v_meta_ptr, row, ok, extra,
                  D: tl.constexpr, BITS_K: tl.constexpr, BITS_V: tl.constexpr):  # fmt: skip
    """One block of packed tokens of one group: ``row`` (N,) their rows, ``k_meta_ptr`` the group's scales and minima.

    ``acc`` holds the planes of the output, divided by ``v_up / ROOM``; ``v_up`` is the power of two of the largest V
    scale so far. ``extra`` (R, N) is added to q . k, None adds nothing.
    """
    PK: tl.constexpr = 8 // BITS_K
    WK: tl.constexpr = D // PK
    PV: tl.constexpr = 8 // BITS_V
    WV: tl.constexpr = D // PV
    HALF_K: tl.constexpr = ((1 << BITS_K) - 1) * 0.5
    HALF_V: tl.constexpr = ((1 << BITS_V) - 1) * 0.5
    dtype: tl.constexpr = q.dtype
    N: tl.constexpr = row.shape[0]
    c = tl.arange(0, D)
    scale = tl.load(k_meta_ptr + c).to(tl.float32)
    middle = tl.load(k_meta_ptr + D + c).to(tl.float32) + scale * HALF_K
    up, down = power_of_two(tl.max(scale, 0))
    packed = tl.load(k_codes_ptr + row[:, None] * WK + tl.arange(0, WK)[None, :], mask=ok[:, None], other=0)
    shifts = tl.arange(0, PK) * BITS_K
    codes = (packed[:, None, :] >> shifts[None, :, None].to(tl.uint8)) & ((1 << BITS_K) - 1)
    codes = tl.reshape(codes, (N, D)).to(dtype) - HALF_K
    wide = q.to(tl.float32)
    offset = tl.sum(wide * middle[None, :], 1)
    score = tl.dot((wide * (scale * down)[None, :]).to(dtype), tl.trans(codes), input_precision="ieee")
    score = score * up + offset[:, None]
    if extra is not None:
        score += extra
    score *= q_up[:, None]
    p, top, total, shrink = softmax_step(tl.where(ok[None, :], score, float("-inf")), top, total)

    pairs = v_meta_ptr + row * (2 * PV)
    planes = tl.arange(0, PV)
    scales = tl.load(pairs[:, None] + 2 * planes[None, :], mask=ok[:, None], other=0.0).to(tl.float32)
    new_up, down = power_of_two(tl.maximum(v_up, tl.max(tl.max(scales, 1), 0)))
    shrink *= v_up * down
    down *= ROOM
    w = tl.arange(0, WV)
    packed = tl.load(v_codes_ptr + row[:, None] * WV + w[None, :], mask=ok[:, None], other=0)
    out = ()
    for i in tl.static_range(PV):
        scale = tl.load(pairs + 2 * i, mask=ok, other=0.0).to(tl.float32) * down
        middle = tl.load(pairs + 2 * i + 1, mask=ok, other=0.0).to(tl.float32) * down + scale * HALF_V
        codes = centred_codes(packed, i, BITS_V, dtype)
        start = acc[i] * shrink[:, None] + tl.sum(p * middle[None, :], 1)[:, None]
        out = appended(out, tl.dot((p * scale[None, :]).to(dtype), codes, start, input_precision="ieee"))
    return out, top, total, new_up


@triton.jit
def attend_prefix(q_ptr, k_codes_ptr, k_meta_ptr, v_codes_ptr, v_meta_ptr, k_new_ptr, v_new_ptr,
                  key_bias_ptr, cos_ptr, sin_ptr, n, m, heads, kv_heads, tokens, scale_bits, y_ptr,
                  D: tl.constexpr, BITS_K: tl.constexpr, BITS_V: tl.constexpr,
                  BLOCK_R: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_T: tl.constexpr):  # fmt: skip
    # q, y: (B, heads, m, D); k_new, v_new: (B, kv_heads, m, D); codes as bytes: (B, kv_heads, n, D * BITS / 8)
    # k_meta: (B, kv_heads, groups, 2, D) float16; v_meta: (B, kv_heads, n, 8 / BITS_V, 2) float16
    # key_bias: (kv_heads, D) float32, cos and sin: (n, D / 2) float32; None, all three, where keys are stored with it
    # a program has BLOCK_R of the heads / kv_heads * m query rows of one kv head, which lie one after the other
    PV: tl.constexpr = 8 // BITS_V
    dtype = q_ptr.dtype.element_ty
    bh = tl.program_id(1).to(tl.int64)
    rows = heads // kv_heads * m
    r = tl.program_id(0) * BLOCK_R + tl.arange(0, BLOCK_R)
    inside = r < rows
    q, q_up, acc, top, total, v_up = first_state(q_ptr, bh * rows + r, inside, scale_bits, D, PV)
    k_bytes = k_codes_ptr.to(tl.pointer_type(tl.uint8), bitcast=True)
    v_bytes = v_codes_ptr.to(tl.pointer_type(tl.uint8), bitcast=True)
    groups = tl.cdiv(n, tokens)
    if key_bias_ptr is not None:
        with_cos, with_sin, bias_up = turned_query(q, key_bias_ptr + bh % kv_heads * D, D)
    for start in range(0, n, BLOCK_N):
        j = start + tl.arange(0, BLOCK_N)
        meta = k_meta_ptr + (bh * groups + start // tokens) * (2 * D)
        if key_bias_ptr is not None:
            extra = bias_scores(with_cos, with_sin, bias_up, cos_ptr, sin_ptr, j, j < n, D, dtype == tl.float32)
        else:
            extra = None
        acc, top, total, v_up = attend_packed(q, q_up, acc, top, total, v_up, k_bytes, meta, v_bytes, v_meta_ptr,
                                              bh * n + j, j < n, extra, D, BITS_K, BITS_V)  # fmt: skip

    # the new tokens: values of scale 1
    new_up, down = power_of_two(tl.maximum(v_up, 1.0))
    c = tl.arange(0, D)
    wv = tl.arange(0, D // PV)
    for start in range(0, m, BLOCK_T):
        j = start + tl.arange(0, BLOCK_T)
        ok = (j < m)[:, None]
        row = (bh * m + j)[:, None] * D
        k = tl.load(k_new_ptr + row + c[None, :], mask=ok, other=0.0)
        score = tl.dot(q, tl.trans(k), input_precision="ieee")
        seen = (j < m)[None, :] & (j[None, :] <= (r % m)[:, None])
        p, top, total, shrink = softmax_step(tl.where(seen, score * q_up[:, None], float("-inf")), top, total)
        shrink *= v_up * down
        p = (p * (down * ROOM)).to(dtype)
        v_up = new_up
        out = ()
        for i in tl.static_range(PV):
            v = tl.load(v_new_ptr + row + i * (D // PV) + wv[None, :], mask=ok, other=0.0)
            out = appended(out, tl.dot(p, v, acc[i] * shrink[:, None], input_precision="ieee"))
        acc = out
    for i in tl.static_range(PV):
        y = acc[i] * (v_up / ROOM / total)[:, None]
        at = y_ptr + (bh * rows + r)[:, None] * D + i * (D // PV) + wv[None, :]
        tl.store(at, y.to(y_ptr.dtype.element_ty), mask=inside[:, None])


@triton.jit
def prefix_attention_kernel(q_ptr, k_codes_ptr, k_meta_ptr, v_codes_ptr, v_meta_ptr, k_new_ptr, v_new_ptr,
                            n, m, heads, kv_heads, tokens, scale_bits, y_ptr,
                            D: tl.constexpr, BITS_K: tl.constexpr, BITS_V: tl.constexpr,
                            BLOCK_R: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_T: tl.constexpr):  # fmt: skip
    attend_prefix(q_ptr, k_codes_ptr, k_meta_ptr, v_codes_ptr, v_meta_ptr, k_new_ptr, v_new_ptr, None, None, None,
                  n, m, heads, kv_heads, tokens, scale_bits, y_ptr,
                  D, BITS_K, BITS_V, BLOCK_R, BLOCK_N, BLOCK_T)  # fmt: skip


@triton.jit
def prefix_attention_biased_kernel(q_ptr, k_codes_ptr, k_meta_ptr, v_codes_ptr, v_meta_ptr, k_new_ptr, v_new_ptr,
                                   key_bias_ptr, cos_ptr, sin_ptr, n, m, heads, kv_heads, tokens, scale_bits, y_ptr,
                                   D: tl.constexpr, BITS_K: tl.constexpr, BITS_V: tl.constexpr,
                                   BLOCK_R: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_T: tl.constexpr):  # fmt: skip
    attend_prefix(q_ptr, k_codes_ptr, k_meta_ptr, v_codes_ptr, v_meta_ptr, k_new_ptr, v_new_ptr,
                  key_bias_ptr, cos_ptr, sin_ptr, n, m, heads, kv_heads, tokens, scale_bits, y_ptr,
                  D, BITS_K, BITS_V, BLOCK_R, BLOCK_N, BLOCK_T)  # fmt: skip
