"""Window attention: one program a tile of queries of one window and head; it finds their tokens in the map."""

import triton
import triton.language as tl


@triton.jit
def window_attention_kernel(qkv_ptr, rows, columns, heads, window, scale_bits, y_ptr,
                            D: tl.constexpr, BLOCK: tl.constexpr):  # fmt: skip
    # qkv: (B, rows, columns, 3, heads, D); y: (B, rows, columns, heads * D)
    h = tl.program_id(1)
    b = tl.program_id(2).to(tl.int64)
    count = window * window  # tokens of a window
    tiles = tl.cdiv(count, BLOCK)
    place = tl.program_id(0) // tiles
    across = columns // window
    corner = (place // across) * window * columns + (place % across) * window
    first = b * rows * columns + corner  # token in the upper left of the window; offsets inside it fit int32
    d = tl.arange(0, D)
    role = heads * D
    i = (tl.program_id(0) % tiles) * BLOCK + tl.arange(0, BLOCK)
    query = ((i // window) * columns + i % window)[:, None]
    qkv_ptr += first * 3 * role + h * D
    q = tl.load(qkv_ptr + (query * 3 * role + d[None, :]), mask=(i < count)[:, None], other=0.0)
    # exp(x) is computed as 2^(x log2 e)
    scale = scale_bits.to(tl.float32, bitcast=True) * 1.4426950408889634
    largest = tl.full((BLOCK,), float("-inf"), tl.float32)
    total = tl.zeros((BLOCK,), tl.float32)
    y = tl.zeros((BLOCK, D), tl.float32)
    for start in range(0, count, BLOCK):  # once for windows up to 8 x 8
        j = start + tl.arange(0, BLOCK)
        here = j < count
        key = ((j // window) * columns + j % window)[:, None] * 3 * role + d[None, :]
        k = tl.load(qkv_ptr + role + key, mask=here[:, None], other=0.0)
        v = tl.load(qkv_ptr + 2 * role + key, mask=here[:, None], other=0.0)
        scores = tl.dot(q, tl.trans(k), input_precision="ieee") * scale
        scores = tl.where(here[None, :], scores, float("-inf"))
        larger = tl.maximum(largest, tl.max(scores, 1))
        powers = tl.exp2(scores - larger[:, None])
        shrink = tl.exp2(largest - larger)
        total = total * shrink + tl.sum(powers, 1)
        y = tl.dot(powers.to(v.dtype), v, y * shrink[:, None], input_precision="ieee")
        largest = larger
    y = y / total[:, None]
    out = y_ptr + first * role + h * D
    tl.store(out + (query * role + d[None, :]), y.to(y_ptr.dtype.element_ty), mask=(i < count)[:, None])
