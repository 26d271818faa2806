"""Powers of two that keep the factors of a product inside float16; a part of kernels, no kernel itself."""

import triton
import triton.language as tl

SMALLEST = tl.constexpr(2.0**-24)  # of float16; what is smaller needs no larger factor
ROOM = tl.constexpr(2.0**13)  # a factor below 2 times this, times another below 2, is still below float16's 65504


@triton.jit
def power_of_two(x):
    """The largest power of two <= x (float32, at least SMALLEST) and its inverse: x times it is below 2."""
    bits = tl.maximum(x, SMALLEST).to(tl.int32, bitcast=True) & 0x7F800000
    return bits.to(tl.float32, bitcast=True), (0x7F000000 - bits).to(tl.float32, bitcast=True)
