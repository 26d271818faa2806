"""RotateKV's keys, from packed codes to what attention reads: order, rotation, bias, RoPE and sinks in one pass."""

import triton
import triton.language as tl

from .hadamard import butterflies


@triton.jit
def dequantize_rotated_k_kernel(codes_ptr, meta_ptr, place_ptr, bias_ptr, cos_ptr, sin_ptr, slot_ptr, sinks_ptr,
                                n, kv_heads, words, bits, kept, k_ptr,
                                D: tl.constexpr, HEADS: tl.constexpr, ROWS: tl.constexpr):  # fmt: skip
    # codes: (B, Hk, n, words); meta: (B, Hk, n, 8 / bits, 2); place: (Hk * D); bias: (Hk, D); cos, sin: (n, D / 2)
    # slot: (B, n); sinks: (B, Hk, kept, D); k: (B, Hk, n, D). One program: ROWS tokens of HEADS heads rotated together
    CHANNELS: tl.constexpr = HEADS * D
    HALF: tl.constexpr = D // 2
    width = words * 4
    planes = 8 // bits
    first = tl.program_id(1) * HEADS  # kv head
    b = tl.program_id(2).to(tl.int64)
    j = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    live = j < n
    # where the channels of these heads lie: any head, any plane
    place = tl.load(place_ptr + first * D + tl.arange(0, CHANNELS))
    channel = place % D
    plane = channel // width
    row = (b * kv_heads + place // D)[None, :] * n + j[:, None]  # (ROWS, CHANNELS)
    bytes_ptr = codes_ptr.to(tl.pointer_type(tl.uint8))
    byte = tl.load(bytes_ptr + row * width + (channel % width)[None, :], mask=live[:, None], other=0).to(tl.int32)
    code = ((byte >> (plane * bits)[None, :]) & ((1 << bits) - 1)).to(tl.float32)
    meta = meta_ptr + (row * planes + plane[None, :]) * 2
    scale = tl.load(meta, mask=live[:, None], other=0.0).to(tl.float32)
    y = code * scale + tl.load(meta + 1, mask=live[:, None], other=0.0).to(tl.float32)
    y = butterflies(y, ROWS, CHANNELS) * (1.0 / CHANNELS**0.5)
    y += tl.load(bias_ptr + first * D + tl.arange(0, CHANNELS))[None, :]
    y1, y2 = tl.split(tl.permute(tl.reshape(y, (ROWS, HEADS, 2, HALF)), (0, 1, 3, 2)))  # (ROWS, HEADS, HALF) each
    c = tl.arange(0, HALF)
    turn = j[:, None].to(tl.int64) * HALF + c[None, :]
    cos = tl.load(cos_ptr + turn, mask=live[:, None], other=0.0)[:, None, :]
    sin = tl.load(sin_ptr + turn, mask=live[:, None], other=0.0)[:, None, :]
    slot = tl.load(slot_ptr + b * n + j, mask=live, other=-1)
    sink = (slot >= 0)[:, None, None] & (c < HALF)[None, None, :]
    head = b * kv_heads + first + tl.arange(0, HEADS)
    raw = sinks_ptr + ((head[None, :] * kept + slot[:, None]) * D)[:, :, None] + c[None, None, :]
    k1 = tl.where(sink, tl.load(raw, mask=sink, other=0.0).to(tl.float32), y1 * cos - y2 * sin)
    k2 = tl.where(sink, tl.load(raw + HALF, mask=sink, other=0.0).to(tl.float32), y2 * cos + y1 * sin)
    out = k_ptr + ((head[None, :] * n + j[:, None]) * D)[:, :, None] + c[None, None, :]
    here = live[:, None, None] & (c < HALF)[None, None, :]
    tl.store(out, k1.to(k_ptr.dtype.element_ty), mask=here)
    tl.store(out + HALF, k2.to(k_ptr.dtype.element_ty), mask=here)
