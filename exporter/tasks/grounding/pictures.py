"""The golden screen of a bundle with its clicks drawn on it, and PyTorch's points beside them: what the report shows.

scores of both (n, V) -> clicks -> one drawn picture, and its entry in ``grounding_report`` (runtime/tasks/grounding/report.py)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ....runtime.tasks.grounding.answer import Click, Clicks, click_of
from ....runtime.tasks.grounding.draw import draw
from ....runtime.tasks.grounding.regions import THRESHOLD
from ....runtime.tasks.grounding.report import REPORT
from .plan import Bucket

FILE = "pictures/golden.jpg"
QUALITY = 90  # of the JPEG: lines and letters stay clean
LEAST_SIDE_PX = 640  # a small screen is drawn enlarged, else words hide it


def clicked(
    picture: np.ndarray, texts: Sequence[str], judge: np.ndarray, bundle: np.ndarray, bucket: Bucket
) -> tuple[dict[str, bytes], dict[str, Any]]:
    """(files of the bundle, entries of its manifest) for one screen uint8 (h, w, 3) RGB and scores (n, V) of both."""
    import cv2

    larger = -(-LEAST_SIDE_PX // picture.shape[1])
    shown = picture.repeat(larger, axis=0).repeat(larger, axis=1)
    size = shown.shape[0], shown.shape[1]

    def clicks(scores: np.ndarray) -> tuple[Click, ...]:
        grids = scores.reshape(len(texts), *bucket.grid)
        return tuple(click_of(text, grid, THRESHOLD, size) for text, grid in zip(texts, grids, strict=True))

    theirs, ours = clicks(judge), clicks(bundle)
    drawn = draw(shown, Clicks(ours, size, bucket.size, (), 0.0, 0.0, 0.0))
    _, data = cv2.imencode(".jpg", np.ascontiguousarray(drawn[:, :, ::-1]), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    rows = [
        {
            "instruction": mine.instruction,
            "judge": _place(other, larger),
            "bundle": _place(mine, larger),
            "apart_px": math.dist(_place(mine, larger), _place(other, larger)),
            "score": float(mine.score),
        }
        for mine, other in zip(ours, theirs, strict=True)
    ]
    told = {"name": "golden screen", "file": FILE, "size": [size[1], size[0]], "rows": rows}
    return {FILE: data.tobytes()}, {REPORT: {"pictures": [told]}}


def drawable(scores: np.ndarray) -> bool:
    """Whether there is a place to click at: of a graph that gives NaN, which --no-check may publish, there is none."""
    return bool(np.isfinite(scores).all() and (scores.max(axis=1) > 0).all())


def _place(click: Click, larger: int) -> list[float]:
    """The point in pixels of the picture as it is in the golden file."""
    height, width = click.image_size
    return [click.point[0] * width / larger, click.point[1] * height / larger]
