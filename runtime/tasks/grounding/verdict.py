"""Patch scores of a device beside those of PyTorch, for the self-test.

A bundle's golden.npz holds one small screen and a few instructions as ids, so that a test needs no tokenizer:

    edgesmith.picture   uint8 (h, w, 3) RGB          edgesmith.prepared   float32 (3, ...), samples of its pixels
    tokens, lengths     int64 (C, M) and (C,)        instructions as ``words.batch`` fills them up
    scores              float32 (C, V)               PyTorch eager float32, V of the first bucket of the manifest

The picture goes the whole way in the first bucket: resize, vision, prefix, instruction. Scores sum to 1, so they are compared in
units of the largest; the points of the clicks in patches.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...errors import BundleRefused, UserMistake
from ...ground.limits import COSINE, DEVICE_ERROR, FP16, FP32, least_cosine, quantised
from ...ground.numbers import smallest_cosine
from ..selftest import SelfTestRow
from .facts import Facts
from .regions import regions

SCORES = "scores"
INPUTS = ("tokens", "lengths")
# of the largest score: float32 sums in other orders over all layers; fp16 keeps 10 fraction bits
SHARE = {FP32: 1e-4, FP16: 1e-2}


def compare(expected: np.ndarray, found: np.ndarray, grid: tuple[int, int], threshold: float) -> dict[str, Any]:
    """(C, V) of PyTorch and of a device -> figures.

    share       largest difference, in units of a case's largest score
    cosine      the smallest of all cases
    same_patch  share of the cases with the same largest patch
    patches     largest distance of two click points, in patches
    """
    apart = np.abs(expected.astype(np.float64) - found).max(axis=1) / expected.max(axis=1)
    points = [_points(row, grid, threshold) for row in (expected, found)]
    far = max(math.dist(one, other) for one, other in zip(*points, strict=True))
    return {
        "share": float(apart.max()),
        "cosine": smallest_cosine(expected.astype(np.float64), found.astype(np.float64)),
        "same_patch": float((expected.argmax(axis=1) == found.argmax(axis=1)).mean()),
        "patches": far,
    }


def _points(scores: np.ndarray, grid: tuple[int, int], threshold: float) -> list[tuple[float, float]]:
    rows, columns = grid
    points = [regions(row.reshape(grid), threshold)[0].point for row in scores]
    return [(x * columns, y * rows) for x, y in points]


def verdict(
    precision: str, kv_bits: int, figures: Mapping[str, Any], measured: float | None = None
) -> tuple[str, bool]:
    """The limit in words, and whether it holds. Stored keys and values of few bits count as quantised.

    ``measured`` is the cosine that the bundle had on the same inputs where it was made. Where bfloat16 itself costs a checkpoint
    more than the usual limit, the exporter let it go by what PyTorch loses in that type, and the device goes by what was measured.
    """
    if quantised(precision) or kv_bits < 16:
        limit = least_cosine(precision) if measured is None else 1 - DEVICE_ERROR * (1 - measured)
        return f"cosine >= {limit:.6g}", figures["cosine"] >= limit
    if precision == FP32 and kv_bits == 16:
        precision = FP16
    if precision in SHARE:
        return f"{SHARE[precision]:g} of the largest score", figures["share"] <= SHARE[precision]
    limit = COSINE[precision] if measured is None else min(COSINE[precision], 1 - DEVICE_ERROR * (1 - measured))
    return f"cosine >= {limit:.6g}", figures["cosine"] >= limit


def row(
    expected: np.ndarray, parts: Sequence[np.ndarray], facts: Facts, precision: str, measured: float | None
) -> SelfTestRow:
    """The one row of the self-test."""
    found, bucket = np.concatenate(parts), facts.buckets[0]
    cases = len(expected)
    if expected.shape != (cases, bucket.tokens):
        raise BundleRefused(
            "the golden file does not fit the graph",
            found=f"{SCORES} {expected.shape}",
            expected=f"{(cases, bucket.tokens)}, a score a patch of {bucket.words}",
        )
    broken = SelfTestRow(SCORES, cases, float("inf"), -1.0, 0.0, "finite scores to compare", False)
    if found.shape != expected.shape or not np.isfinite(found).all():
        return broken
    try:
        figures = compare(expected, found, bucket.grid, facts.threshold)
    except UserMistake:  # of one side all scores are 0
        return broken
    limit, passed = verdict(precision, facts.kv_bits, figures, measured)
    told = (
        f"scores within {figures['share']:.1e} of the largest, cosine {figures['cosine']:.6f}, the same patch in "
        f"{figures['same_patch']:.0%}, points within {figures['patches']:.2g} patches"
    )
    largest = float(np.abs(expected.astype(np.float64) - found).max())
    return SelfTestRow(SCORES, cases, largest, figures["cosine"], figures["same_patch"], limit, passed, figures, told)
