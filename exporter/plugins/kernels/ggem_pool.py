"""GGeM pooling: one program a batch item and block of channels walks over the tokens once."""

import triton
import triton.language as tl


@triton.jit
def ggem_pool_kernel(x_ptr, p_ptr, n, channels, groups, eps_bits, interleaved, y_ptr,
                     BLOCK_N: tl.constexpr, BLOCK_C: tl.constexpr, ALIGNED: tl.constexpr):  # fmt: skip
    # x: (B, n, channels); p: (groups, 1) float32; y: (B, channels). ALIGNED: channels is a multiple of it
    channels = channels // ALIGNED * ALIGNED  # the same number, and the compiler may read ALIGNED channels at once
    b = tl.program_id(1).to(tl.int64)
    c = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)
    inside = c < channels
    group = tl.where(interleaved == 1, c % groups, c // (channels // groups))
    p = tl.load(p_ptr + group, mask=inside, other=1.0)
    eps = eps_bits.to(tl.float32, bitcast=True)
    item = x_ptr + b * n * channels
    total = tl.zeros((BLOCK_N, BLOCK_C), tl.float32)
    for start in range(0, n, BLOCK_N):
        j = start + tl.arange(0, BLOCK_N)
        here = (j < n)[:, None] & inside[None, :]
        x = tl.load(item + (j[:, None] * channels + c[None, :]), mask=here, other=0.0).to(tl.float32)
        powers = tl.exp2(p[None, :] * tl.log2(tl.maximum(x, eps)))
        total += tl.where(here, powers, 0.0)
    mean = tl.where(inside, tl.div_rn(tl.sum(total, 0), n.to(tl.float32)), 1.0)
    y = tl.exp2(tl.log2(mean) / p)
    tl.store(y_ptr + b * channels + c, y.to(y_ptr.dtype.element_ty), mask=inside)
