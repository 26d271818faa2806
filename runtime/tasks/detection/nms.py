"""Non-maximum suppression by class: of boxes that show the same thing, the best one stays.

    boxes (n, 4), scores (n,), classes (n,)  ->  indices of those that stay, best first

Across classes it is the same with one class for all.

Defined as a loop: take the best box left, drop every box of its class that overlaps it by more than ``iou``, repeat. The
arithmetic is float32 and that of ONNX Runtime's NonMaxSuppression (corner boxes), so the two agree to the bit. Without
the loop: boxes sorted by class and left edge meet only those few that begin near them, which gives the list of pairs that
overlap; a box stays when no box that stays precedes it in a pair, and repeating that rule from "all stay" settles on the
loop's answer, the best boxes first (the k-th best is settled after k steps, in practice all are after a handful).
"""

from __future__ import annotations

import numpy as np

BLOCK = 512  # boxes a round, best first, and as many as stay so far: few pairs at once, and 500 are often had in one


def nms(boxes: np.ndarray, scores: np.ndarray, classes: np.ndarray, iou: float, limit: int | None = None) -> np.ndarray:
    """Indices of the boxes that stay, best first; equal scores in the order given. ``limit``: only the best so many."""
    order = np.argsort(-scores, kind="stable")
    x1, y1, x2, y2 = boxes[order].astype(np.float32, copy=False).T
    sides = np.stack([np.minimum(x1, x2), np.minimum(y1, y2), np.maximum(x1, x2), np.maximum(y1, y2)])
    classes = classes[order]
    kept, start = order[:0], 0
    while start < len(order) and (limit is None or len(kept) < limit):
        end = min(start + max(BLOCK, len(kept)), len(order))
        tried = np.concatenate([kept, np.arange(start, end)])  # those that stay so far do so again
        kept, start = tried[_stay(sides[:, tried], classes[tried], iou)], end
    return order[kept[:limit]]


def _stay(sides: np.ndarray, classes: np.ndarray, iou: float) -> np.ndarray:
    """(4, n) x1 y1 x2 y2 in the order of their rank -> (n,) bool."""
    better, worse = _overlapping(sides, classes, iou)
    stay = np.ones(len(classes), bool)
    while True:
        settled = np.ones(len(classes), bool)
        settled[worse[stay[better]]] = False
        if np.array_equal(settled, stay):
            return stay
        stay = settled


@np.errstate(invalid="ignore", divide="ignore", over="ignore")  # areas that no float32 holds
def _overlapping(sides: np.ndarray, classes: np.ndarray, iou: float) -> tuple[np.ndarray, np.ndarray]:
    """All pairs (better, worse) of one class that overlap by more than ``iou``, as two arrays of ranks."""
    left, right = sides[0].astype(np.float64), sides[2].astype(np.float64)
    # an overlap above iou needs a common width of iou times the wider box, so the right one of a pair begins before
    # left + (1 - iou) width of the left one; the margin covers the rounding of the ratio in float32
    reach = left + (1 - iou + 1e-6) * (right - left)
    span = max(float(reach.max(initial=0) - left.min(initial=0)), 1.0) * 2  # keeps the classes apart on one axis
    key = classes * span + left
    by_key = np.argsort(key, kind="stable")
    last = np.searchsorted(key[by_key], (classes * span + reach)[by_key], side="right")
    position = np.arange(len(by_key))
    count = last - position - 1
    first = np.repeat(position, count)
    second = np.arange(len(first)) - np.repeat(np.cumsum(count) - count - position - 1, count)
    x1, y1, x2, y2 = sides[:, by_key]
    height = np.minimum(y2[first], y2[second]) - np.maximum(y1[first], y1[second])
    near = np.flatnonzero(height > 0)  # most pairs end here
    first, second, height = first[near], second[near], height[near]
    width = np.minimum(x2[first], x2[second]) - np.maximum(x1[first], x1[second])
    area = (x2 - x1) * (y2 - y1)
    common = width * height
    above = common / (area[first] + area[second] - common) > np.float32(iou)
    above &= width > 0
    a, b = by_key[first[above]], by_key[second[above]]
    return np.minimum(a, b), np.maximum(a, b)
