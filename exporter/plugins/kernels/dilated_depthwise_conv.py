"""Dilated depthwise convolution, NCHW: a thread holds ROWS outputs that lie one dilation apart, one below the other.

Rows with the same remainder by the dilation are a dense convolution of their own, so that a value once loaded serves up to K
of these outputs: ROWS + K - 1 loads a column of the filter instead of ROWS K. Neighbouring threads hold neighbouring x.
"""

import triton
import triton.language as tl


@triton.jit
def dilated_depthwise_conv_kernel(x_ptr, w_ptr, b_ptr, channels, height, width, dilation, out_ptr,
                                  K: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr):  # fmt: skip
    # x, out: (B, channels, height, width); w: (channels, 1, K, K); b: (channels,)
    bands = tl.cdiv(tl.cdiv(height, dilation), ROWS) * dilation  # of a channel; a band: ROWS rows, one dilation apart
    lane = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x = lane % width
    band = lane // width % bands
    c = lane // width // bands
    inside = c < channels
    y = band % dilation + band // dilation * ROWS * dilation
    plane = (tl.program_id(1).to(tl.int64) * channels + c) * height * width
    total = (tl.load(b_ptr + c, mask=inside, other=0.0).to(tl.float32),) * ROWS
    for kx in tl.static_range(K):
        column = x + (kx - K // 2) * dilation
        readable = inside & (column >= 0) & (column < width)
        weights: tl.tuple = ()
        for ky in tl.static_range(K):
            weight = tl.load(w_ptr + c * (K * K) + (ky * K + kx), mask=inside, other=0.0).to(tl.float32)
            weights = weights + (weight,)
        for t in tl.static_range(ROWS + K - 1):
            row = y + (t - K // 2) * dilation
            here = readable & (row >= 0) & (row < height)
            value = tl.load(x_ptr + plane + (row * width + column), mask=here, other=0.0).to(tl.float32)
            for i in tl.static_range(ROWS):
                if t >= i and t - i < K:
                    total = total[:i] + (total[i] + value * weights[t - i],) + total[i + 1 :]
    for i in tl.static_range(ROWS):
        row = y + i * dilation
        out = total[i].to(out_ptr.dtype.element_ty)
        tl.store(out_ptr + plane + (row * width + x), out, mask=inside & (row < height))
