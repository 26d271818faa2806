"""The key bias that a packed cache leaves out, added where scores are float32; a part of kernels, no kernel itself.

    q . R(n) b = sum_c (q1 b1 + q2 b2)[c] cos[n, c] + (q2 b1 - q1 b2)[c] sin[n, c],  1 and 2 the halves of a head

So the query is turned against the bias once, and a block of tokens costs one more product with its rotary tables. A bias of
hundreds times a cosine of 11 bits would be off by a tenth: both sides are split into two float16, high + low, and three of
the four products summed, which keeps 22 bits.
"""

import triton
import triton.language as tl

from .powers import ROOM, power_of_two


@triton.jit
def high_and_low(x):
    """float32 -> two float16 whose sum has 22 bits of it; |x| below float16's largest."""
    high = x.to(tl.float16)
    return high, (x - high.to(tl.float32)).to(tl.float16)


@triton.jit
def turned_query(q, bias_ptr, D: tl.constexpr):
    """Rows of q (R, D) -> their factors of cosine and sine (R, D / 2), each row divided by the last, (R,), a power of two."""
    HALF: tl.constexpr = D // 2
    R: tl.constexpr = q.shape[0]
    q1, q2 = tl.split(tl.permute(tl.reshape(q.to(tl.float32), (R, 2, HALF)), (0, 2, 1)))
    c = tl.arange(0, HALF)
    b1 = tl.load(bias_ptr + c)[None, :]
    b2 = tl.load(bias_ptr + HALF + c)[None, :]
    with_cos = q1 * b1 + q2 * b2
    with_sin = q2 * b1 - q1 * b2
    up, down = power_of_two(tl.maximum(tl.max(tl.abs(with_cos), 1), tl.max(tl.abs(with_sin), 1)))
    down *= ROOM
    return with_cos * down[:, None], with_sin * down[:, None], up / ROOM


@triton.jit
def times_table(turned, table_ptr, token, ok, D: tl.constexpr, EXACT: tl.constexpr):
    """(R, D / 2) times the rows of a rotary table (N, D / 2) -> (R, N) float32."""
    HALF: tl.constexpr = D // 2
    at = table_ptr + token[:, None] * HALF + tl.arange(0, HALF)[None, :]
    table = tl.trans(tl.load(at, mask=ok[:, None], other=0.0))
    if EXACT:  # T is float32: no tensor cores anyway
        return tl.dot(turned, table, input_precision="ieee")
    high, low = high_and_low(turned)
    table_high, table_low = high_and_low(table)
    return tl.dot(high, table_high, tl.dot(high, table_low, tl.dot(low, table_high)))


@triton.jit
def bias_scores(with_cos, with_sin, up, cos_ptr, sin_ptr, token, ok, D: tl.constexpr, EXACT: tl.constexpr):
    """What the bias adds to q . k of a block of tokens, (R, N) float32; ``up`` (R,) puts the powers back."""
    by_cos = times_table(with_cos, cos_ptr, token, ok, D, EXACT)
    return (by_cos + times_table(with_sin, sin_ptr, token, ok, D, EXACT)) * up[:, None]
