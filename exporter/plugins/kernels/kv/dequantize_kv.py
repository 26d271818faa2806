"""Packed codes -> keys and values. Words are read as the bytes they are made of: one shift and one mask a code."""

import triton
import triton.language as tl

from .hadamard import butterflies


@triton.jit
def dequantize_k_kernel(codes_ptr, meta_ptr, like_ptr, n, words, tokens, groups, k_ptr,
                        BITS: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_W: tl.constexpr):  # fmt: skip
    # codes: (B * Hk, n, words); meta: (B * Hk, groups, 2, D) = scales, minima; k: (B * Hk, n, D); like says the type only
    # one program: a group of at most BLOCK_T tokens, whose scales are read once, and BLOCK_W bytes of a row
    PLANES: tl.constexpr = 8 // BITS
    MASK: tl.constexpr = (1 << BITS) - 1
    width = words * 4
    dim = width * PLANES
    g = tl.program_id(0)
    bh = tl.program_id(1).to(tl.int64)
    t = tl.arange(0, BLOCK_T)
    j = g * tokens + t
    w = tl.program_id(2) * BLOCK_W + tl.arange(0, BLOCK_W)
    known = w < width
    here = ((t < tokens) & (j < n))[:, None] & known[None, :]
    bytes_ptr = codes_ptr.to(tl.pointer_type(tl.uint8))
    row = tl.load(bytes_ptr + (bh * n + j)[:, None] * width + w[None, :], mask=here, other=0).to(tl.int32)
    for i in tl.static_range(PLANES):
        code = ((row >> (i * BITS)) & MASK).to(tl.float32)
        meta = meta_ptr + (bh * groups + g) * (2 * dim) + i * width + w
        scale = tl.load(meta, mask=known, other=0.0).to(tl.float32)
        minimum = tl.load(meta + dim, mask=known, other=0.0).to(tl.float32)
        out = k_ptr + (bh * n + j)[:, None] * dim + (i * width + w)[None, :]
        tl.store(out, (code * scale[None, :] + minimum[None, :]).to(k_ptr.dtype.element_ty), mask=here)


@triton.jit
def dequantize_v_kernel(codes_ptr, meta_ptr, like_ptr, rows, rotate, v_ptr,
                        BITS: tl.constexpr, D: tl.constexpr, ROWS: tl.constexpr):  # fmt: skip
    # codes: (rows, D * BITS / 32); meta: (rows, 8 / BITS, 2) = scale, minimum; v: (rows, D)
    PLANES: tl.constexpr = 8 // BITS
    MASK: tl.constexpr = (1 << BITS) - 1
    WIDTH: tl.constexpr = D // PLANES
    r = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    c = tl.arange(0, D)
    live = (r < rows)[:, None]
    bytes_ptr = codes_ptr.to(tl.pointer_type(tl.uint8))
    # every byte is read once a plane, from the cache: channels then are in order, as the transform needs them
    row = tl.load(bytes_ptr + r[:, None] * WIDTH + (c % WIDTH)[None, :], mask=live, other=0).to(tl.int32)
    code = ((row >> ((c // WIDTH) * BITS)[None, :]) & MASK).to(tl.float32)
    meta = meta_ptr + r[:, None] * (PLANES * 2) + (tl.arange(0, PLANES) * 2)[None, :]
    scale = tl.load(meta, mask=live, other=0.0).to(tl.float32)[:, :, None]
    minimum = tl.load(meta + 1, mask=live, other=0.0).to(tl.float32)[:, :, None]
    x = tl.reshape(tl.reshape(code, (ROWS, PLANES, WIDTH)) * scale + minimum, (ROWS, D))
    if rotate == 1:
        x = butterflies(x, ROWS, D) * (1.0 / D**0.5)
    tl.store(v_ptr + r[:, None] * D + c[None, :], x.to(v_ptr.dtype.element_ty), mask=live)
