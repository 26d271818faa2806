"""Keys and values -> packed codes; scales and minima as float16 beside them."""

import triton
import triton.language as tl

from .hadamard import butterflies


@triton.jit
def stored_scale(low, high, LEVELS: tl.constexpr):
    """Scale and minimum of a range as they are stored; saturated, because float16 would become infinite."""
    scale = tl.maximum(tl.div_rn(high - low, tl.full(low.shape, LEVELS, tl.float32)), 1e-6)
    return tl.minimum(scale, 65504.0).to(tl.float16), tl.minimum(tl.maximum(low, -65504.0), 65504.0).to(tl.float16)


@triton.jit
def code(x, scale, minimum, LEVELS: tl.constexpr):
    """Codes against the stored values; no product feeds a sum, so contraction on a GPU cannot change a code."""
    steps = tl.div_rn(x - minimum, tl.broadcast_to(scale, x.shape))
    return tl.minimum(tl.maximum(tl.floor(steps + 0.5), 0.0), LEVELS * 1.0).to(tl.int32)


@triton.jit
def packed_words(codes, ROWS: tl.constexpr, WIDTH: tl.constexpr, BITS: tl.constexpr):
    """Codes (ROWS, P, WIDTH) -> words (ROWS, WIDTH / 4)."""
    row = tl.sum(codes << (tl.arange(0, 8 // BITS) * BITS)[None, :, None], 1)
    return tl.sum(tl.reshape(row, (ROWS, WIDTH // 4, 4)) << (tl.arange(0, 4) * 8)[None, None, :], 2)


@triton.jit
def quantize_k_kernel(k_ptr, n, words, tokens, groups, codes_ptr, meta_ptr,
                      BITS: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_W: tl.constexpr):  # fmt: skip
    # k: (B * Hk, n, D); codes: (B * Hk, n, words); meta: (B * Hk, groups, 2, D) = scales, minima
    # one program: a group of at most BLOCK_T tokens and BLOCK_W bytes of a row, so 8 / BITS stripes of channels
    PLANES: tl.constexpr = 8 // BITS
    LEVELS: tl.constexpr = (1 << BITS) - 1
    width = words * 4
    dim = width * PLANES
    g = tl.program_id(0)
    bh = tl.program_id(1).to(tl.int64)
    t = tl.arange(0, BLOCK_T)
    j = g * tokens + t
    live = (t < tokens) & (j < n)
    w = tl.program_id(2) * BLOCK_W + tl.arange(0, BLOCK_W)
    channel = (tl.arange(0, PLANES) * width)[:, None] + w[None, :]  # (P, BLOCK_W)
    known = (w < width)[None, :]
    here = live[:, None, None] & known[None, :, :]
    x = tl.load(k_ptr + (bh * n + j)[:, None, None] * dim + channel[None, :, :], mask=here, other=0.0).to(tl.float32)
    high = tl.max(tl.where(here, x, float("-inf")), 0)
    low = tl.min(tl.where(here, x, float("inf")), 0)
    # stripes past the row have no range; zero keeps them finite
    scale16, low16 = stored_scale(tl.where(known, low, 0.0), tl.where(known, high, 0.0), LEVELS)
    codes = code(x, scale16.to(tl.float32)[None, :, :], low16.to(tl.float32)[None, :, :], LEVELS)
    v = tl.program_id(2) * (BLOCK_W // 4) + tl.arange(0, BLOCK_W // 4)
    out = codes_ptr + (bh * n + j)[:, None] * words + v[None, :]
    tl.store(out, packed_words(codes, BLOCK_T, BLOCK_W, BITS), mask=live[:, None] & (v < words)[None, :])
    meta = meta_ptr + (bh * groups + g) * (2 * dim) + channel
    tl.store(meta, scale16, mask=known)
    tl.store(meta + dim, low16, mask=known)


@triton.jit
def quantize_v_kernel(v_ptr, rows, rotate, codes_ptr, meta_ptr,
                      BITS: tl.constexpr, D: tl.constexpr, ROWS: tl.constexpr):  # fmt: skip
    # v: (rows, D); codes: (rows, D * BITS / 32); meta: (rows, 8 / BITS, 2) = scale, minimum
    PLANES: tl.constexpr = 8 // BITS
    LEVELS: tl.constexpr = (1 << BITS) - 1
    WIDTH: tl.constexpr = D // PLANES
    WORDS: tl.constexpr = WIDTH // 4
    r = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    live = (r < rows)[:, None]
    x = tl.load(v_ptr + r[:, None] * D + tl.arange(0, D)[None, :], mask=live, other=0.0).to(tl.float32)
    if rotate == 1:
        root = tl.sqrt_rn(tl.full((ROWS, D), D, tl.float32))
        x = tl.div_rn(butterflies(x, ROWS, D), root)  # a product here could be contracted with the subtraction to come
    x = tl.reshape(x, (ROWS, PLANES, WIDTH))
    scale16, low16 = stored_scale(tl.min(x, 2), tl.max(x, 2), LEVELS)
    codes = code(x, scale16.to(tl.float32)[:, :, None], low16.to(tl.float32)[:, :, None], LEVELS)
    words = packed_words(codes, ROWS, WIDTH, BITS)
    tl.store(codes_ptr + r[:, None] * WORDS + tl.arange(0, WORDS)[None, :], words, mask=live)
    meta = meta_ptr + r[:, None] * (PLANES * 2) + (tl.arange(0, PLANES) * 2)[None, :]
    tl.store(meta, scale16, mask=live)
    tl.store(meta + 1, low16, mask=live)
