"""Gated positional attention: one program a head and block of query rows walks over the keys once, with two softmaxes.

The position scores are a quadratic in the offsets, computed in registers. Its largest value over a row of the grid is known
in closed form, so that this softmax needs no running maximum and its sum of values is never scaled again.
"""

import triton
import triton.language as tl


@triton.jit
def _largest(a, b, low, high):
    """max of a t + b t^2 over the integers low..high: an end, or the integer next to the top when b < 0."""
    top = tl.floor(tl.where(b < 0, -0.5 * a / b, 0.0) + 0.5)
    top = tl.minimum(tl.maximum(top, low), high)
    return tl.maximum(tl.maximum(a * low + b * low * low, a * high + b * high * high), a * top + b * top * top)


@triton.jit
def _place(j, side):
    """j -> its x and y on the grid, float32. The half keeps the quotient off whole numbers: exact below 2^21 patches."""
    y = tl.floor((j + 0.5) / side)
    return j - y * side, y


@triton.jit
def gated_positional_attention_kernel(q_ptr, k_ptr, v_ptr, pos_ptr, n, heads, side, scale_bits, out_ptr,
                                      D: tl.constexpr, WIDTH: tl.constexpr,
                                      BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr):  # fmt: skip
    # q, k, v, out: (B, heads, n, D); pos: (heads, 4) float32 = w0, w1, w2, gate. WIDTH: D up to a power of two
    LOG2E: tl.constexpr = 1.4426950408889634  # exp(x) = exp2(x LOG2E)
    bh = tl.program_id(1)
    pos = pos_ptr + bh % heads * 4
    w0 = tl.load(pos) * LOG2E
    w1 = tl.load(pos + 1) * LOG2E
    w2 = tl.load(pos + 2) * LOG2E
    gate = tl.load(pos + 3)
    scale = scale_bits.to(tl.float32, bitcast=True) * LOG2E
    base = bh.to(tl.int64) * n * D
    d = tl.arange(0, WIDTH)
    i = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    rows = (i < n)[:, None] & (d < D)[None, :]
    q = tl.load(q_ptr + base + i[:, None] * D + d[None, :], mask=rows, other=0.0)
    xi, yi = _place(i, side)
    # whole rows of the grid, then the keys of a last row that is not full
    full = n // side
    rest = n - full * side
    right = tl.minimum(side, n) - 1.0
    peak = _largest(w0, w2, -xi, right - xi) + _largest(w1, w2, -yi, full - 1.0 - yi)
    peak = tl.where(full > 0, peak, float("-inf"))
    last = _largest(w0, w2, -xi, rest - 1.0 - xi) + (w1 + w2 * (full - yi)) * (full - yi)
    peak = tl.where(rest > 0, tl.maximum(peak, last), peak)
    m = tl.full((BLOCK_M,), float("-inf"), tl.float32)
    content_sum = tl.zeros((BLOCK_M,), tl.float32)
    content = tl.zeros((BLOCK_M, WIDTH), tl.float32)
    place_sum = tl.zeros((BLOCK_M,), tl.float32)
    place = tl.zeros((BLOCK_M, WIDTH), tl.float32)
    for start in range(0, n, BLOCK_N):
        j = start + tl.arange(0, BLOCK_N)
        here = (j < n)[None, :]
        keys = (j < n)[:, None] & (d < D)[None, :]
        k = tl.load(k_ptr + base + j[:, None] * D + d[None, :], mask=keys, other=0.0)
        v = tl.load(v_ptr + base + j[:, None] * D + d[None, :], mask=keys, other=0.0)
        scores = tl.dot(q, tl.trans(k), input_precision="ieee") * scale
        scores = tl.where(here, scores, float("-inf"))
        m_new = tl.maximum(m, tl.max(scores, 1))
        p = tl.exp2(scores - m_new[:, None])
        shrink = tl.exp2(m - m_new)
        content_sum = content_sum * shrink + tl.sum(p, 1)
        content = tl.dot(p.to(v.dtype), v, content * shrink[:, None], input_precision="ieee")
        m = m_new
        x, y = _place(j, side)
        dx = x[None, :] - xi[:, None]
        dy = y[None, :] - yi[:, None]
        p = tl.exp2((w0 + w2 * dx) * dx + ((w1 + w2 * dy) * dy - peak[:, None]))
        p = tl.where(here, p, 0.0)
        place_sum += tl.sum(p, 1)
        place = tl.dot(p.to(v.dtype), v, place, input_precision="ieee")
    out = content * ((1.0 - gate) / content_sum)[:, None] + place * (gate / place_sum)[:, None]
    tl.store(out_ptr + base + i[:, None] * D + d[None, :], out.to(out_ptr.dtype.element_ty), mask=rows)
