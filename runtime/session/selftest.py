"""Golden outputs against what this device computes: one row an output, with the limit it is held to.

A detector has one row for all its outputs, "detections", as what is judged is what comes out of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ..tasks.answers import joined
from ..tasks.detection import verdict as detections
from ..tasks.limits import COSINE, DEVICE_ERROR, FP32_MAX_ABS, least_cosine, quantised
from .checks import at_least

if TYPE_CHECKING:
    from ..bundle.bundle import Bundle
    from ..bundle.manifest import TensorSpec
    from ..tasks.detection.detection import DetectionRule


class Tested(Protocol):
    """What is asked of an open session."""

    bundle: Bundle
    precision: str
    outputs: tuple[TensorSpec, ...]

    def batch_sizes(self, count: int) -> tuple[int, int]: ...
    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]: ...


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
    output: str, expected: np.ndarray, found: np.ndarray, precision: str, measured: float | None = None
) -> SelfTestRow:
    """Compare (N, ...) with (N, ...); another shape, NaN or infinity fails the row. ``measured``: see ``verdict``."""
    cases = len(expected)
    if expected.shape != found.shape:
        return SelfTestRow(output, cases, float("inf"), -1.0, 0.0, f"shape {expected.shape}, not {found.shape}", False)
    if not np.isfinite(found).all():
        return SelfTestRow(output, cases, float("inf"), -1.0, 0.0, "finite numbers", False)
    a, b = (array.astype(np.float64).reshape(cases, -1) for array in (expected, found))
    max_abs = float(np.abs(a - b).max())
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    cosine = float(((a * b).sum(axis=1) / np.maximum(norms, 1e-30)).min())
    top1 = float((a.argmax(axis=1) == b.argmax(axis=1)).mean())
    limit, passed = verdict(precision, max_abs, float(np.abs(a).max()), cosine, measured)
    told = f"max abs {max_abs:.1e}, cosine {cosine:.6f}"
    return SelfTestRow(output, cases, max_abs, cosine, top1, limit, passed, told=told)


def verdict(
    precision: str, max_abs: float, largest: float, cosine: float, measured: float | None = None
) -> tuple[str, bool]:
    """The limit of a precision in words, and whether it holds; ``largest`` is the largest expected value.

    ``measured`` is the cosine that a quantised graph had on the same inputs where it was made.
    """
    if quantised(precision):
        limit = least_cosine(precision)
        if measured is not None:
            limit = max(limit, 1 - DEVICE_ERROR * (1 - measured))
        return f"cosine >= {limit:.6g}", cosine >= limit
    if precision in COSINE:
        return f"cosine >= {COSINE[precision]}", cosine >= COSINE[precision]
    bound = FP32_MAX_ABS * max(1.0, largest)
    return f"max abs <= {bound:.1e}", max_abs <= bound


def detections_row(
    judge: np.ndarray,
    found: np.ndarray,
    rule: DetectionRule,
    precision: str,
    measured: Mapping[str, Any] | None = None,
) -> SelfTestRow:
    """The judge's answer (n, N, 4 + K) and this device's, both as ``joined`` gives them, as one row."""
    figures = detections.compare(judge, found, rule, rule.nms == "graph")
    limit, passed = detections.verdict(precision, figures, measured)
    told = detections.tell(figures)
    if not figures:
        return SelfTestRow("detections", len(judge), float("inf"), -1.0, 0.0, limit, passed, figures, told)
    cosine = 1.0 if figures["cosine"] is None else figures["cosine"]
    share = figures["matched"] / 100
    return SelfTestRow("detections", len(judge), figures["score_abs"], cosine, share, limit, passed, figures, told)


def self_test(session: Tested) -> list[SelfTestRow]:
    """Run the golden inputs of an open session's bundle: one row an output, or one for all detections."""
    bundle = session.bundle
    golden = bundle.golden
    least, size = session.batch_sizes(golden.cases)
    parts: list[dict[str, np.ndarray]] = []
    for start in range(0, golden.cases, size):
        feeds = {name: array[start : start + size] for name, array in golden.inputs.items()}
        count = len(next(iter(feeds.values())))
        results = session.run({name: at_least(array, least) for name, array in feeds.items()})
        parts.append({name: array[:count] for name, array in results.items()})
    measured = bundle.manifest.get("precision_report", {})
    if bundle.task == "detection":
        found = np.concatenate([joined(part) for part in parts])
        known = measured.get("golden_detections")
        return [detections_row(joined(golden.outputs), found, bundle.detection, session.precision, known)]
    return [
        agreement(
            spec.name,
            golden.outputs[spec.name],
            np.concatenate([part[spec.name] for part in parts]),
            session.precision,
            measured.get("golden_cosine"),
        )
        for spec in session.outputs
    ]
