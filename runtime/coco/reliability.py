"""Is a network as often right as it is sure? Accuracy by confidence, and the expected calibration error.

Guo et al., On Calibration of Modern Neural Networks, 2017, equation 3: ECE = sum over bins of (n_b / n) |accuracy_b - confidence_b|.
"""

from __future__ import annotations

from typing import Any

import numpy as np

BINS = 15  # of equal width, as in the paper


def reliability(confidence: np.ndarray, right: np.ndarray) -> dict[str, Any]:
    """(n,) float 0..1 of each answer, (n,) bool -> {"ece": percent, "bins": those with answers, from unsure to sure}.

    A bin holds what is above its lower end, up to its upper one. An answer that is no number is wrong with no confidence.
    """
    sure = np.nan_to_num(confidence.astype(np.float64))
    place = np.clip(np.ceil(sure * BINS).astype(int) - 1, 0, BINS - 1)
    bins, error = [], 0.0
    for at in np.unique(place):
        inside = place == at
        said, held = float(sure[inside].mean()), float(right[inside].mean())
        error += float(inside.mean()) * abs(held - said)
        bins.append({"confidence": 100 * said, "accuracy": 100 * held, "pictures": int(inside.sum())})
    return {"ece": 100 * error, "bins": bins}
