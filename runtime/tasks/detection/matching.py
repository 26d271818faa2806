"""Two lists of detections of one picture -> which of them are the same: by class and overlap, never by rank.

Neighbours in rank are closer in score than rounding moves them, so ranks say nothing. Boxes pair up best overlap first.
A detection without a partner is not counted when its score is so near the threshold that rounding decides whether it is
listed at all.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .boxes import Kept, overlaps


class Matching(NamedTuple):
    """How well two lists agree."""

    pairs: np.ndarray  # (m, 2) int64: index in the expected list, index in the found list
    missing: int  # expected, not found, and not near the threshold
    extra: int  # found, not expected, and not near the threshold
    share: float  # percent: of the detections of both lists, but for those near the threshold, the paired ones
    box_px: float  # largest difference of a coordinate in a pair
    score_abs: float  # largest difference of the scores of a pair


def match(expected: Kept, found: Kept, score_slack: float, iou: float = 0.5, threshold: float = 0.0) -> Matching:
    """Pair up detections of the same class that overlap by ``iou`` or more.

    ``threshold`` is the score above which the lists were made; without a partner, scores up to ``threshold`` +
    ``score_slack`` are not counted.
    """
    pairs = paired(expected, found, iou)
    missing, extra = (
        int((np.delete(kept.scores, pairs[:, side]) > threshold + score_slack).sum())
        for side, kept in enumerate((expected, found))
    )
    a, b = pairs.T
    both = 2 * len(pairs)
    return Matching(
        pairs,
        missing,
        extra,
        100.0 * both / (both + missing + extra) if both + missing + extra else 100.0,
        float(np.abs(expected.boxes[a] - found.boxes[b]).max(initial=0.0)),
        float(np.abs(expected.scores[a] - found.scores[b]).max(initial=0.0)),
    )


def paired(expected: Kept, found: Kept, iou: float) -> np.ndarray:
    """(m, 2) indices, in the order of the expected list; each detection is in one pair at most."""
    overlap = overlaps(expected.boxes, found.boxes)  # (n, k)
    overlap[expected.classes[:, None] != found.classes[None]] = -1
    rows, columns = np.nonzero(overlap >= max(iou, 1e-9))
    apart = np.abs(expected.scores[rows] - found.scores[columns])
    order = np.lexsort((columns, rows, apart, -overlap[rows, columns]))  # equal overlaps: the nearest score first
    free_row, free_column = np.ones(len(expected.scores), bool), np.ones(len(found.scores), bool)
    pairs = []
    for row, column in zip(rows[order].tolist(), columns[order].tolist(), strict=True):
        if free_row[row] and free_column[column]:
            free_row[row] = free_column[column] = False
            pairs.append((row, column))
    return np.array(sorted(pairs), np.int64).reshape(-1, 2)
