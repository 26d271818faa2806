"""Weights for tests and benchmarks where there is no checkpoint: each from its name and a seed, one at a time.

    Generator(PCG64(crc32("SEED:NAME"))) -> n, float32
    qkv.weight                0.5 n / sqrt(fan_in)
    self_attn.q_proj.weight   3 n / sqrt(fan_in), so that attention has something to choose
    other matrices            n / sqrt(fan_in)
    norms                     1 + 0.05 n
    biases                    0.05 n

3B is 3.75 billion values: no two tensors have to be in memory together.
"""

from __future__ import annotations

import math
import zlib

import numpy as np


def random_array(name: str, sides: tuple[int, ...], seed: int) -> np.ndarray:
    """Float32 of this shape; the same for the same name (5.x layout), shape and seed."""
    generator = np.random.Generator(np.random.PCG64(zlib.crc32(f"{seed}:{name}".encode())))
    found = generator.standard_normal(sides, dtype=np.float32)
    if len(sides) > 1:
        sharp = 0.5 if name.endswith("qkv.weight") else 3.0 if name.endswith("q_proj.weight") else 1.0
        found *= np.float32(sharp / math.sqrt(math.prod(sides[1:])))
        return found
    found *= np.float32(0.05)
    return found + np.float32(1) if name.endswith("weight") else found
