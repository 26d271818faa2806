"""Scores of the patches -> the regions that stand out, and in each the point to click.

    scores (h, w)  ->  scores > 0.3 x the largest  ->  4-connected regions, best first

The score of a region is the LARGEST of its patches. Its point is the mean of their centres ((x + 0.5) / w, (y + 0.5) / h),
weighted with their scores. GUI-AIMA (arXiv 2511.00810) clicks at the point of the best region.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...errors import UserMistake

THRESHOLD = 0.3  # of the largest score


@dataclass(frozen=True)
class Region:
    """Neighbouring patches that stand out. Places are shares of the picture's width and height, 0 to 1."""

    point: tuple[float, float]  # x, y
    score: float
    box: tuple[float, float, float, float]  # left, top, right, bottom of its patches
    patches: int


def regions(scores: np.ndarray, threshold: float = THRESHOLD) -> tuple[Region, ...]:
    """(h, w) scores -> its regions, the best first; of two with one score the one that begins higher up, further left.

    Raises:
        UserMistake: scores that are no numbers, or of which none is above 0.
    """
    scores = np.asarray(scores, np.float64)
    most = scores.max(initial=0.0) if np.isfinite(scores).all() else np.nan
    if scores.ndim != 2 or not most > 0:
        raise UserMistake(
            "the model returned scores that point nowhere",
            found=f"shape {scores.shape}, {int((~np.isfinite(scores)).sum())} values NaN or infinite, largest {most:g}",
            expected="one finite score a patch, and some above 0",
            because="a layer overflowed, usually in fp16",
            attempt="export with --precision fp32 or bf16",
        )
    import cv2

    kept = (scores > threshold * most).astype(np.uint8)
    count, labels = cv2.connectedComponents(kept, connectivity=4)
    found = [_region(scores, labels == label) for label in range(1, count)]
    firsts = [int(np.flatnonzero(labels.ravel() == label)[0]) for label in range(1, count)]
    order = sorted(range(len(found)), key=lambda at: (-found[at].score, firsts[at]))
    return tuple(found[at] for at in order)


def _region(scores: np.ndarray, mask: np.ndarray) -> Region:
    height, width = scores.shape
    rows, columns = np.nonzero(mask)
    weights = scores[rows, columns]
    x = float((weights * (columns + 0.5)).sum() / weights.sum() / width)
    y = float((weights * (rows + 0.5)).sum() / weights.sum() / height)
    box = (
        float(columns.min() / width),
        float(rows.min() / height),
        float((columns.max() + 1) / width),
        float((rows.max() + 1) / height),
    )
    return Region((x, y), float(weights.max()), box, len(rows))
