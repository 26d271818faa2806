"""Non-maximum suppression by class: of boxes that show the same thing, the best one stays.

    boxes (n, 4), scores (n,), classes (n,)  ->  indices of those that stay, best first

Defined as a loop: take the best box left, drop every box of its class that overlaps it by more than ``iou``, repeat. The
arithmetic is float32 and that of ONNX Runtime's NonMaxSuppression (corner boxes), so the two agree to the bit. Without
the loop: boxes sorted by class and left edge meet only those few that begin near them, which gives the list of pairs that
overlap; a box stays when no box that stays precedes it in a pair, and repeating that rule from "all stay" settles on the
loop's answer, the best boxes first (the k-th best is settled after k steps, in practice all are after a handful).
"""

from __future__ import annotations

import numpy as np

BLOCK = (
    2048  # boxes a round, best first: bounds the pairs held at once, and most callers want 500 boxes of the first round
)


def nms(boxes: np.ndarray, scores: np.ndarray, classes: np.ndarray, iou: float, limit: int | None = None) -> np.ndarray:
    """Indices of the boxes that stay, best first; equal scores in the order given. ``limit``: only the best so many."""
    order = np.argsort(-scores, kind="stable")
    boxes, classes = boxes[order].astype(np.float32, copy=False), classes[order]
    low, high = np.minimum(boxes[:, :2], boxes[:, 2:]), np.maximum(boxes[:, :2], boxes[:, 2:])
    kept = order[:0]
    for start in range(0, len(order), BLOCK):
        tried = np.concatenate([kept, np.arange(start, min(start + BLOCK, len(order)))])  # those kept stay kept
        kept = tried[_stay(low[tried], high[tried], classes[tried], iou)]
        if limit is not None and len(kept) >= limit:
            break
    return order[kept[:limit]]


def _stay(low: np.ndarray, high: np.ndarray, classes: np.ndarray, iou: float) -> np.ndarray:
    """(n,) bool of boxes in the order of their rank."""
    better, worse = _overlapping(low, high, classes, iou)
    stay = np.ones(len(low), bool)
    while True:
        fallen = worse[stay[better]]
        settled = np.ones(len(low), bool)
        settled[fallen] = False
        if np.array_equal(settled, stay):
            return stay
        stay = settled


def _overlapping(low: np.ndarray, high: np.ndarray, classes: np.ndarray, iou: float) -> tuple[np.ndarray, np.ndarray]:
    """All pairs (better, worse) of one class that overlap by more than ``iou``, as two arrays of ranks."""
    left, width = low[:, 0].astype(np.float64), high[:, 0].astype(np.float64) - low[:, 0]
    # an overlap above iou needs a common width of iou times the wider box, so the right one of a pair begins before
    # left + (1 - iou) width of the left one; the margin covers the rounding of the ratio in float32
    reach = left + (1 - iou + 1e-6) * width
    span = max(float(reach.max(initial=0) - left.min(initial=0)), 1.0) * 2
    key = classes * span + left
    by_key = np.argsort(key, kind="stable")
    key = key[by_key]
    last = np.searchsorted(key, (classes * span + reach)[by_key], side="right")
    position = np.arange(len(low))
    count = last - position - 1
    first = np.repeat(position, count)
    second = np.arange(len(first)) - np.repeat(np.cumsum(count) - count, count) + first + 1
    a, b = by_key[first], by_key[second]
    common = np.minimum(high[a], high[b]) - np.maximum(low[a], low[b])
    meet = (common > 0).all(axis=1) & (classes[a] == classes[b])
    a, b, common = a[meet], b[meet], common[meet]
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):  # areas that no float32 holds
        area = (high[:, 0] - low[:, 0]) * (high[:, 1] - low[:, 1])
        shared = common[:, 0] * common[:, 1]
        above = shared / (area[a] + area[b] - shared) > np.float32(iou)
    a, b = a[above], b[above]
    return np.minimum(a, b), np.maximum(a, b)
