"""The curve behind average precision: precision at COCO's 101 recalls, the mean over the classes that are annotated.

The mean of a curve is its average precision; so the curve of IoU 0.50 has map50 as its mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

CURVES = {"0.50": slice(1), "0.75": slice(5, 6), "0.50 to 0.95": slice(10)}  # of COCO's ten overlaps


Judged = tuple[np.ndarray, np.ndarray, int]  # (10, d) hit, (10, d) ignored, and how many annotations should be found


def precision_recall(classes: Sequence[Judged], recalls: np.ndarray) -> dict[str, Any]:
    """Detections of each class, best first, and ``recalls`` (101,) -> {"recall": those, "0.50": as many precisions, "0.75": ...}.

    All from 0 to 1; empty where nothing is annotated.
    """
    if not classes:
        return {}
    curves = np.mean([_of_class(*one, recalls) for one in classes], axis=0)  # (10, 101)
    return {"recall": recalls.tolist(), **{name: curves[rows].mean(axis=0).tolist() for name, rows in CURVES.items()}}


def _of_class(hit: np.ndarray, ignored: np.ndarray, expected: int, recalls: np.ndarray) -> np.ndarray:
    """(10, 101): the best precision that is reached at each recall or a higher one, 0 where it is never reached."""
    found = np.zeros((len(hit), len(recalls)))
    for row, (met, left_out) in enumerate(zip(hit, ignored, strict=True)):
        right = np.flatnonzero(met & ~left_out)
        hits = np.arange(1, len(right) + 1)
        precision = hits / np.cumsum(~left_out)[right]
        best = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
        found[row] = best[np.searchsorted(hits / expected, recalls, side="left")]
    return found
