"""Anchor attention: probabilities of a few query rows over all keys, in one launch.

The rows of all query heads that share a key head lie side by side and are read against each key once. A program finds the
maximum and the sum over all keys, then writes the probabilities of its chunk of them; the scores are computed again there,
from keys that the cache still holds, instead of being kept.
"""

import triton
import triton.language as tl


@triton.jit
def anchor_attention_kernel(q_rows_ptr, k_ptr, rows, n, scale_bits, probs_ptr,
                            D: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_N: tl.constexpr, CHUNK: tl.constexpr):  # fmt: skip
    # q_rows: (B Hk, rows, D), rows = Hq / Hk * R; k: (B Hk, n, D); probs: (B Hk, rows, n)
    LOG2E: tl.constexpr = 1.4426950408889634  # exp(x) = exp2(x LOG2E)
    scale = scale_bits.to(tl.float32, bitcast=True) * LOG2E
    bh = tl.program_id(2).to(tl.int64)
    r = tl.program_id(1) * BLOCK_R + tl.arange(0, BLOCK_R)
    d = tl.arange(0, D)
    keys = k_ptr + bh * n * D
    row = bh * rows + r
    q = tl.load(q_rows_ptr + row[:, None] * D + d[None, :], mask=(r < rows)[:, None], other=0.0)
    m = tl.full((BLOCK_R,), float("-inf"), tl.float32)
    total = tl.zeros((BLOCK_R,), tl.float32)
    for start in range(0, n, BLOCK_N):
        j = start + tl.arange(0, BLOCK_N)
        k = tl.load(keys + j[:, None] * D + d[None, :], mask=(j < n)[:, None], other=0.0)
        scores = tl.dot(q, tl.trans(k), input_precision="ieee") * scale
        scores = tl.where((j < n)[None, :], scores, float("-inf"))
        m_new = tl.maximum(m, tl.max(scores, 1))
        total = total * tl.exp2(m - m_new) + tl.sum(tl.exp2(scores - m_new[:, None]), 1)
        m = m_new
    share = 1.0 / total
    first = tl.program_id(0) * CHUNK
    for start in range(first, tl.minimum(first + CHUNK, n), BLOCK_N):
        j = start + tl.arange(0, BLOCK_N)
        k = tl.load(keys + j[:, None] * D + d[None, :], mask=(j < n)[:, None], other=0.0)
        scores = tl.dot(q, tl.trans(k), input_precision="ieee") * scale
        probs = tl.exp2(scores - m[:, None]) * share[:, None]
        inside = (r < rows)[:, None] & (j < n)[None, :]
        tl.store(probs_ptr + row[:, None] * n + j[None, :], probs.to(probs_ptr.dtype.element_ty), mask=inside)
