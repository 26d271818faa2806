"""One output of a graph beside what PyTorch made of the same inputs: how far apart, and whether that is near enough."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..ground.limits import COSINE, DEVICE_ERROR, FP32_MAX_ABS, FP32_MOST_ABS, OWN_ERRORS, least_cosine, quantised
from ..ground.numbers import class_logits, smallest_cosine


@dataclass(frozen=True)
class SelfTestRow:
    """How far one output is from PyTorch eager float32, over all golden cases."""

    output: str
    cases: int
    max_abs: float
    cosine: float  # the smallest of all cases
    top1: float  # share of cases with the same largest entry; of a detector, of detections with a partner
    limit: str
    passed: bool
    figures: dict[str, Any] | None = None  # of a detector: detection_verdict.compare
    told: str = ""  # what was measured, in words

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def agreement(
    output: str,
    expected: np.ndarray,
    found: np.ndarray,
    precision: str,
    measured: float | None = None,
    own_error: float = 0.0,
) -> SelfTestRow:
    """Compare (N, ...) with (N, ...); another shape, NaN or infinity on either side fails the row.

    ``measured``, ``own_error``: see ``verdict``.
    """
    cases = len(expected)
    if expected.shape != found.shape:
        return SelfTestRow(output, cases, float("inf"), -1.0, 0.0, f"shape {expected.shape}, not {found.shape}", False)
    if not expected.size or not np.isfinite(expected).all() or not np.isfinite(found).all():
        return SelfTestRow(output, cases, float("inf"), -1.0, 0.0, "finite numbers to compare", False)
    a, b = (array.astype(np.float64).reshape(cases, -1) for array in (expected, found))
    max_abs = float(np.abs(a - b).max())
    cosine = smallest_cosine(a, b)
    top1 = float((class_logits(a).argmax(axis=1) == class_logits(b).argmax(axis=1)).mean())
    limit, passed = verdict(precision, max_abs, float(np.abs(a).max()), cosine, measured, own_error)
    told = f"max abs {max_abs:.1e}, cosine {cosine:.6f}"
    return SelfTestRow(output, cases, max_abs, cosine, top1, limit, passed, told=told)


def verdict(
    precision: str,
    max_abs: float,
    largest: float,
    cosine: float,
    measured: float | None = None,
    own_error: float = 0.0,
) -> tuple[str, bool]:
    """The limit of a precision in words, and whether it holds; ``largest`` is the largest expected value.

    ``measured`` is the cosine that a quantised graph had on the same inputs where it was made; ``own_error`` how far PyTorch in
    float32 is from itself in float64 on them.
    """
    if quantised(precision):
        limit = least_cosine(precision)
        if measured is not None:
            limit = max(limit, 1 - DEVICE_ERROR * (1 - measured))
        return f"cosine >= {limit:.6g}", cosine >= limit
    if precision in COSINE:
        return f"cosine >= {COSINE[precision]}", cosine >= COSINE[precision]
    bound = FP32_MAX_ABS * max(1.0, largest)
    rounding = min(OWN_ERRORS * own_error, FP32_MOST_ABS * max(1.0, largest))
    if rounding > bound:
        return f"max abs <= {rounding:.1e} ({OWN_ERRORS} times what float32 costs PyTorch itself)", max_abs <= rounding
    return f"max abs <= {bound:.1e}", max_abs <= bound
