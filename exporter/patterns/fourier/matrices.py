"""The matrix of a discrete Fourier transform, as ONNX defines DFT: forwards, backwards, and between reals and half a spectrum.

    y_k = sum over t of exp(-2 pi i k t / L) x_t          backwards: exp(+2 pi i k t / L) / L

L is the length of the transform; an input that is shorter is padded with zeros, so its matrix has fewer columns.
"""

from __future__ import annotations

import numpy as np


def forwards(length: int, columns: int, rows: int) -> np.ndarray:
    """(rows, columns) complex128: the first ``rows`` frequencies of the first ``columns`` samples."""
    return np.exp(-1j * _angles(length, rows, columns))


def backwards(length: int, columns: int) -> np.ndarray:
    """(length, columns) complex128."""
    return np.exp(1j * _angles(length, length, columns)) / length


def backwards_to_reals(length: int, columns: int) -> np.ndarray:
    """(length, columns) complex128 whose real part of a product is the signal; the other half of the spectrum mirrors this one.

    A frequency that is its own mirror counts once: 0, and length / 2 where the length is even.
    """
    own_mirror = [frequency in (0, length / 2) for frequency in range(columns)]
    return backwards(length, columns) * np.where(own_mirror, 1.0, 2.0)


def _angles(length: int, rows: int, columns: int) -> np.ndarray:
    """2 pi k t / L, with k t taken modulo L as whole numbers: large products lose nothing."""
    return 2 * np.pi * (np.outer(np.arange(rows), np.arange(columns)) % length) / length
