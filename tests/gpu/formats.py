"""Number formats between numpy and the device: bfloat16 as its bits, codes out of packed words, errors of results.

numpy has no bfloat16, so such a tensor is a float32 array of values that bfloat16 can hold, and uint16 on the device.
"""

from __future__ import annotations

import numpy as np

ON_DEVICE = {"float32": "float32", "float16": "float16", "bfloat16": "uint16", "int32": "int32"}
WORD_BITS = 32


def rounded(array: np.ndarray, t: str) -> np.ndarray:
    """The array as type ``t`` holds it, in the numpy type that a reference takes: float16, or float32 for the others."""
    if t == "bfloat16":
        return from_bits(to_bits(array))
    return array.astype(t)


def to_bits(array: np.ndarray) -> np.ndarray:
    """float -> bfloat16 bits, rounded to nearest even."""
    bits = np.ascontiguousarray(array, np.float32).view(np.uint32)
    return ((bits + (0x7FFF + ((bits >> 16) & 1))) >> 16).astype(np.uint16)


def from_bits(bits: np.ndarray) -> np.ndarray:
    """bfloat16 bits -> float32."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def for_device(array: np.ndarray, type_: str) -> np.ndarray:
    """The bytes that the device gets for a tensor of ``type_``."""
    if type_ == "bfloat16":
        return to_bits(array)
    return np.ascontiguousarray(array, ON_DEVICE[type_])


def from_device(array: np.ndarray, type_: str) -> np.ndarray:
    return from_bits(array) if type_ == "bfloat16" else array


def relative_error(got: np.ndarray, wanted: np.ndarray) -> float:
    """Largest difference over the largest wanted magnitude; infinite where ``got`` is not finite.

    Raises:
        ValueError: the shapes differ.
    """
    if got.shape != wanted.shape:
        raise ValueError(f"a result of shape {got.shape}, expected {wanted.shape}")
    difference = np.abs(got.astype(np.float64) - wanted.astype(np.float64))
    if not np.isfinite(difference).all():
        return float("inf")
    return float(difference.max(initial=0.0) / max(np.abs(wanted.astype(np.float64)).max(initial=0.0), 1e-30))


def codes(words: np.ndarray, bits: int) -> np.ndarray:
    """int32 words -> the codes of ``bits`` bits in them, along a new last axis."""
    shifts = np.arange(0, WORD_BITS, bits, dtype=np.uint32)
    return (np.ascontiguousarray(words).view(np.uint32)[..., None] >> shifts) & np.uint32(2**bits - 1)


def equal_share(got: np.ndarray, wanted: np.ndarray) -> float:
    return float((got == wanted).mean()) if got.size else 1.0
