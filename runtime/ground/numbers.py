"""How far two answers are apart, counted in one way wherever a graph is judged."""

from __future__ import annotations

import numpy as np

from ..errors import UserMistake


def relative_error(reference: np.ndarray, found: np.ndarray) -> float:
    """The norm of the difference by that of the reference; infinite when ``found`` is not finite."""
    left, right = (np.asarray(array, dtype=np.float64) for array in (reference, found))
    if not np.isfinite(right).all():
        return float("inf")
    return float(np.linalg.norm(left - right)) / max(float(np.linalg.norm(left)), 1e-12)


def class_logits(outputs: np.ndarray) -> np.ndarray:
    """(n, ...) -> (n, C), a logit for each class; a lone logit z becomes those of two classes, 0 and z.

    The softmax of (0, z) is (1 - sigmoid(z), sigmoid(z)) and its larger entry is z's sign, so that a classifier with one
    output is one of two classes wherever classes are ranked. At z = 0 it is class 0.
    """
    rows = np.asarray(outputs).reshape(len(outputs), -1)
    return np.concatenate([np.zeros_like(rows), rows], axis=1) if rows.shape[1] == 1 else rows


def smallest_cosine(reference: np.ndarray, found: np.ndarray) -> float:
    """The smallest cosine of a picture's outputs, (n, ...) twice; -1 when ``found`` is not finite.

    One number a picture has no direction: its cosine would be 1 however far off it is. It gets the cosine that two vectors
    of one length would have so far apart, 1 - error^2 / (2 length^2). That length is the root mean square over the pictures,
    at least 1: a logit of 1 is 73 %, and an error is not to be large because a picture lies near the border.
    """
    left, right = (np.asarray(array, dtype=np.float64).reshape(len(array), -1) for array in (reference, found))
    if not np.isfinite(right).all():
        return -1.0
    if left.shape[1] == 1:
        square = max(float(np.square(left).mean()), 1.0)
        return max(1.0 - float(np.square(left - right).max()) / (2 * square), -1.0)
    norms = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    return float(((left * right).sum(axis=1) / np.maximum(norms, 1e-30)).min())


def check_finite(values: np.ndarray, what: str) -> None:
    """UserMistake where some of what a graph returned, called ``what``, are no numbers."""
    if not (finite := np.isfinite(values)).all():
        raise UserMistake(
            "the model returned values that are no numbers",
            found=f"{int((~finite).sum())} of {values.size} {what} are NaN or infinite",
            because="a layer overflowed, usually in fp16",
            attempt="export with --precision fp32 or bf16",
        )
