"""Channel-group attention: sums over the tokens of products of two roles, then their softmax applied to the third role.

Both kernels read the packed (B, n, 3, groups, D) that the qkv layer gives: q, k and v of one group of one token are D
neighbours each, so nothing is permuted. Roles are numbered q 0, k 1, v 2.
"""

import triton
import triton.language as tl


@triton.jit
def channel_gram_kernel(qkv_ptr, n, groups, splits, share, version, partials_ptr,
                        D: tl.constexpr, BLOCK_N: tl.constexpr):  # fmt: skip
    # partials: (B, groups, splits, D, D) float32; this program sums one share of the tokens
    split = tl.program_id(0)
    g = tl.program_id(1)
    b = tl.program_id(2).to(tl.int64)
    c = tl.arange(0, D)
    rows_at = ((2 - version) * groups + g) * D  # k, or q in version 2; the columns are the next role
    token = 3 * groups * D
    first = split * share
    last = tl.minimum(first + share, n)
    total = tl.zeros((D, D), tl.float32)
    j = tl.arange(0, BLOCK_N)
    tile = j[:, None] * token + c[None, :]
    for start in range(first, last, BLOCK_N):
        here = (start + j < last)[:, None]
        at = qkv_ptr + (b * n + start) * token + rows_at
        rows = tl.load(at + tile, mask=here, other=0.0)
        columns = tl.load(at + groups * D + tile, mask=here, other=0.0)
        total = tl.dot(tl.trans(rows), columns, total, input_precision="ieee")
    out = partials_ptr + ((b * groups + g) * splits + split) * D * D
    tl.store(out + c[:, None] * D + c[None, :], total)


@triton.jit
def channel_apply_kernel(qkv_ptr, partials_ptr, n, groups, splits, scale_bits, version, y_ptr,
                         D: tl.constexpr, BLOCK_N: tl.constexpr):  # fmt: skip
    # y: (B, n, groups * D); the D x D softmax is small, so every program makes its own
    g = tl.program_id(1)
    b = tl.program_id(2).to(tl.int64)
    c = tl.arange(0, D)
    at = partials_ptr + (b * groups + g) * splits * D * D + c[:, None] * D + c[None, :]
    total = tl.zeros((D, D), tl.float32)
    for _ in tl.range(0, splits, loop_unroll_factor=4):  # four loads under way at once
        total += tl.load(at)
        at += D * D
    scale = scale_bits.to(tl.float32, bitcast=True)
    scale = tl.where(scale == 0.0, 1.0 / tl.sqrt(n.to(tl.float32)), scale)
    total = total * scale
    powers = tl.exp(total - tl.max(total, 1)[:, None])
    start = tl.program_id(0) * BLOCK_N
    j = tl.arange(0, BLOCK_N)
    here = (start + j < n)[:, None]
    applied = (2 * version - 2) * groups + g  # q, or v in version 2
    at = qkv_ptr + ((b * n + start) * 3 * groups + applied) * D
    x = tl.load(at + (j[:, None] * 3 * groups * D + c[None, :]), mask=here, other=0.0)
    # divided after the product: the largest power is exactly 1 in 16 bits too
    y = tl.dot(x, tl.trans(powers.to(x.dtype)), input_precision="ieee") / tl.sum(powers, 1)[None, :]
    out = y_ptr + ((b * n + start) * groups + g) * D
    tl.store(out + (j[:, None] * groups * D + c[None, :]), y.to(y_ptr.dtype.element_ty), mask=here)
