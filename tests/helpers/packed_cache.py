"""Small packed caches and the attention they stand for, written out token by token: what the packed ops are judged by."""

from __future__ import annotations

import numpy as np

from edgesmith.exporter.plugins.kv.packing import dequantize_k, dequantize_v
from edgesmith.exporter.plugins.kv.quantise import reference_k, reference_v

Packed = list[np.ndarray]  # k_codes, k_meta, v_codes, v_meta


def packed(k: np.ndarray, v: np.ndarray, bits_k: int, bits_v: int, tokens: int = 64) -> Packed:
    """Keys and values (B, Hk, N, D) as the four tensors of a cache."""
    return [*reference_k(k, bits=bits_k, tokens=tokens), *reference_v(v, bits=bits_v)]


def unpacked(cache: Packed, bits_k: int, bits_v: int, tokens: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """The keys and values that a cache holds, float64 (B, Hk, N, D)."""
    k_codes, k_meta, v_codes, v_meta = cache
    return dequantize_k(k_codes, k_meta, bits_k, tokens), dequantize_v(v_codes, v_meta, bits_v)


def plain_attention(q: np.ndarray, k: np.ndarray, v: np.ndarray, scale: float, seen: list[int]) -> np.ndarray:
    """One sequence: q (Hq, M, D), k and v (Hk, N, D) -> float64 (Hq, M, D); query m sees the first seen[m] tokens."""
    y = np.zeros(q.shape)
    for head in range(q.shape[0]):
        shared = head // (q.shape[0] // k.shape[0])
        for m, count in enumerate(seen):
            scores = [scale * float(q[head, m].astype(np.float64) @ k[shared, n]) for n in range(count)]
            weights = np.exp(np.array(scores) - max(scores))
            y[head, m] = weights @ v[shared, :count] / weights.sum()
    return y
