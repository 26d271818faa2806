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
