"""The fast Walsh-Hadamard transform of rows that lie in registers; a part of kernels, no kernel itself."""

import triton
import triton.language as tl


@triton.jit
def butterflies(x, ROWS: tl.constexpr, D: tl.constexpr):
    """Transform (ROWS, D) over its last axis, a power of two up to 1024, without the factor 1 / sqrt(D).

    The pairs are (c, c + h) for h = 1, 2, 4 ..., as in the reference: the same sums in the same order, bit for bit.
    """
    STEPS: tl.constexpr = (D > 1) + (D > 2) + (D > 4) + (D > 8) + (D > 16) + (D > 32) + (D > 64) + (D > 128) + (D > 256) + (D > 512)  # fmt: skip
    y = x
    for _ in tl.static_range(STEPS):
        # always the pairs (2i, 2i + 1): sums go to the first half and differences to the second, which turns the bits of
        # the channel by one place; after all steps they are back where they were
        a, b = tl.split(tl.reshape(y, (ROWS, D // 2, 2)))
        y = tl.reshape(tl.permute(tl.join(a + b, a - b), (0, 2, 1)), (ROWS, D))
    return y
