"""How far two answers are apart, counted in one way wherever a graph is judged."""

from __future__ import annotations

import numpy as np


def relative_error(reference: np.ndarray, found: np.ndarray) -> float:
    """The norm of the difference by that of the reference; infinite when ``found`` is not finite."""
    left, right = (np.asarray(array, dtype=np.float64) for array in (reference, found))
    if not np.isfinite(right).all():
        return float("inf")
    return float(np.linalg.norm(left - right)) / max(float(np.linalg.norm(left)), 1e-12)


def smallest_cosine(reference: np.ndarray, found: np.ndarray) -> float:
    """The smallest cosine of a picture's outputs, (n, ...) twice; -1 when ``found`` is not finite."""
    left, right = (np.asarray(array, dtype=np.float64).reshape(len(array), -1) for array in (reference, found))
    if not np.isfinite(right).all():
        return -1.0
    norms = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    return float(((left * right).sum(axis=1) / np.maximum(norms, 1e-30)).min())
