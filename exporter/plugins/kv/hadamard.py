"""The fast Walsh-Hadamard transform: numpy, and lines of a body.

    y[c] = sum_d (-1)^popcount(c & d) x[d] / sqrt(D),  D a power of two; its own inverse

It spreads an outlier channel over all channels, which is what makes a row fit one scale (Ashkboos et al., QuaRot,
arXiv:2404.00456, section 4). Codes that are computed from the result must not depend on who transformed, so the order of
the sums is part of the definition: butterflies (x[c] + x[c + h], x[c] - x[c + h]) for h = 1, 2, 4 ..., then one division
by the square root of D; and a division, because a product would be contracted with the next subtraction on a GPU.
"""

from __future__ import annotations

import numpy as np


def fwht(x: np.ndarray) -> np.ndarray:
    """(..., D) -> (..., D), orthonormal, in the float type of ``x``; ValueError when D is no power of two."""
    size = x.shape[-1]
    if size & (size - 1) or not size:
        raise ValueError(f"a Walsh-Hadamard transform of {size} channels; it needs a power of two")
    y, h = x, 1
    while h < size:
        pairs = y.reshape(*x.shape[:-1], size // (2 * h), 2, h)
        first, second = pairs[..., 0, :], pairs[..., 1, :]
        y = np.stack([first + second, first - second], axis=-2).reshape(x.shape)
        h *= 2
    return np.asarray(y / np.sqrt(x.dtype.type(size)))


def fwht_text(x: str, out: str, largest: int) -> str:
    """Body lines: ``x`` float32 (A, B, C, D) -> ``out``, transformed over the last axis, 2 <= D <= ``largest``.

    A body does not know D, so steps beyond log2(D) stand there and keep what they are given; a D that is no power of two
    is not found out here.
    """
    lines = f"""
  {out}_size1 = Shape <start = 3, end = 4> ({x})
  {out}_size = Cast <to = 1> ({out}_size1)
  {out}_pairs = Constant <value_ints = [0, 0, 0, -1, 2]> ()
  {out}_column = Constant <value_ints = [0, 0, 0, -1, 1]> ()
  {out}_y0 = Reshape ({x}, {out}_column)
"""
    steps = (largest - 1).bit_length()
    for k in range(steps):
        # always the pairs (2i, 2i + 1), sums to the first half: turns the bits of the channel by one place a step
        y = f"{out}_y{k}"
        lines += f"""
  {y}_two = Reshape ({y}, {out}_pairs)
  {y}_a, {y}_b = Split <axis = 4, num_outputs = 2> ({y}_two)
  {y}_sum = Add ({y}_a, {y}_b)
  {y}_difference = Sub ({y}_a, {y}_b)
  {y}_done = Concat <axis = 3> ({y}_sum, {y}_difference)
  {y}_h = Constant <value_float = {float(2**k)}> ()
  {y}_within = Less ({y}_h, {out}_size)
  {out}_y{k + 1} = Where ({y}_within, {y}_done, {y})
"""
    return f"""{lines}
  {out}_flat = Constant <value_ints = [0, 0, 0, -1]> ()
  {out}_last = Reshape ({out}_y{steps}, {out}_flat)
  {out}_root = Sqrt ({out}_size)
  {out} = Div ({out}_last, {out}_root)
"""


def product_text(x: str, out: str) -> str:
    """Body lines: as ``fwht_text``, up to 1024 channels, as one product with a matrix that is made from the size.

    For results that no code is computed from: an engine sums such a product in its own order. Entry (c, d) is the parity of
    the bits that c and d have in common, which a product of their bits counts; with known sizes it is folded into a constant.
    """
    return f"""
  {out}_size1 = Shape <start = 3, end = 4> ({x})
  {out}_size = Squeeze ({out}_size1)
  {out}_zero = Constant <value_int = 0> ()
  {out}_one = Constant <value_int = 1> ()
  {out}_numbers = Range ({out}_zero, {out}_size, {out}_one)
  {out}_channel1 = Cast <to = 1> ({out}_numbers)
  {out}_axis1 = Constant <value_ints = [1]> ()
  {out}_channel = Unsqueeze ({out}_channel1, {out}_axis1)
  {out}_places = Constant <value = float[10] {{{", ".join(str(2.0**-k) for k in range(10))}}}> ()
  {out}_moved = Mul ({out}_channel, {out}_places)
  {out}_whole = Floor ({out}_moved)
  {out}_half = Constant <value_float = 0.5> ()
  {out}_two = Constant <value_float = 2.0> ()
  {out}_unit = Constant <value_float = 1.0> ()
  {out}_halved = Mul ({out}_whole, {out}_half)
  {out}_above = Floor ({out}_halved)
  {out}_twice = Mul ({out}_above, {out}_two)
  {out}_bits = Sub ({out}_whole, {out}_twice)
  {out}_bits_t = Transpose <perm = [1, 0]> ({out}_bits)
  {out}_common = MatMul ({out}_bits, {out}_bits_t)
  {out}_pairs_all = Mul ({out}_common, {out}_half)
  {out}_pairs = Floor ({out}_pairs_all)
  {out}_odd = Sub ({out}_pairs_all, {out}_pairs)
  {out}_four = Constant <value_float = 4.0> ()
  {out}_minus = Mul ({out}_odd, {out}_four)
  {out}_signs = Sub ({out}_unit, {out}_minus)
  {out}_size_f = Cast <to = 1> ({out}_size1)
  {out}_root = Sqrt ({out}_size_f)
  {out}_matrix = Div ({out}_signs, {out}_root)
  {out} = MatMul ({x}, {out}_matrix)
"""
