"""The golden picture through this device's preprocessing, beside what it became where the bundle was made.

    picture (H, W, 3) uint8, with alpha (H, W, 4)  --the bundle's input contract-->  (C, height, width), of which up to
    64 x 64 places are kept

The rest of the self-test begins behind preprocessing, so a contract with another scale would not be seen by it.
"""

from __future__ import annotations

import numpy as np

from ..pictures.contract import CHANNELS_LAST, ImageContract
from ..tasks.selftest import SelfTestRow

SAMPLES = 64  # places kept along each side
# in levels of 0..255. OpenCV's resizes differ by one level, seldom two, between x86 and Arm; of the golden picture, which is
# mostly flat, by 0.07 in the mean (tests/arm). Another kernel, crop or order of the colours moves the edges of its blocks by dozens
MEAN_LEVELS, MAX_LEVELS = 0.25, 3.0


def prepared(picture: np.ndarray, contract: ImageContract) -> np.ndarray:
    """(H, W, 3 or 4) uint8 -> (C, h, w) of the graph's type, h and w at most ``SAMPLES``."""
    from ..pictures.preprocess import preprocess

    tensor = preprocess([picture], contract)[0]
    tensor = tensor.transpose(2, 0, 1) if contract.layout == CHANNELS_LAST else tensor
    rows, columns = (-(-side // SAMPLES) for side in tensor.shape[1:])
    return np.ascontiguousarray(tensor[:, rows // 2 :: rows, columns // 2 :: columns])


def pixel_row(picture: np.ndarray, expected: np.ndarray, contract: ImageContract) -> SelfTestRow:
    """One row of the self-test, ``preprocessing``; ``expected`` is ``prepared`` of where the bundle was made."""
    limit = f"{MEAN_LEVELS:g} levels in the mean, {MAX_LEVELS:g} at most"
    found = prepared(picture, contract)
    if found.shape != expected.shape:
        told = f"{found.shape}, not {expected.shape}"
        return SelfTestRow("preprocessing", 1, float("inf"), -1.0, 0.0, limit, False, told=told)
    level = contract.scale / np.array(contract.std, np.float64)[:, None, None]
    apart = np.abs(found.astype(np.float64) - expected)
    levels = apart / level
    mean, most = float(levels.mean()), float(levels.max())
    passed = mean <= MEAN_LEVELS and most <= MAX_LEVELS
    told = f"{mean:.2g} of 255 levels off in the mean, {most:.2g} at most,"
    share = float((levels <= MAX_LEVELS).mean())
    return SelfTestRow("preprocessing", 1, float(apart.max()), 1.0, share, limit, passed, told=told)
