"""The part of ``bench`` that belongs to detectors: photographs to run on, boxes that match, and the way from picture to boxes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from ....runtime.tasks.detection.verdict import compare
from ...run.pictures import packaged_pictures
from ...run.runners import seeded

if TYPE_CHECKING:
    from ....runtime.bundle.bundle import Bundle
    from ....runtime.tasks.detection.detection import DetectionRule

ROUNDS, WARMUP = 10, 2
STEPS = ("preprocess_ms", "infer_ms", "postprocess_ms")


def images(bundle: Bundle, shape: tuple[int, ...]) -> np.ndarray:
    """Photographs, as many as the batch: how long suppression takes depends on what there is to suppress."""
    from ....runtime.pictures.preprocess import preprocess

    paths = [picture.path for picture in packaged_pictures()]
    if not paths or shape[2:] != bundle.contract.size:
        return seeded(shape, bundle.contract)
    return preprocess([paths[index % len(paths)] for index in range(shape[0])], bundle.contract)


def agreement(rule: DetectionRule, judge: np.ndarray, other: np.ndarray, other_suppressed: bool) -> dict[str, float]:
    """``max_abs`` of the scores, ``box_px`` of the boxes that match, and the share of detections that do.

    Scores are compared cell by cell where the two hand out the same cells, else pair by pair but for the worst hundredth.
    """
    found = compare(judge, other, rule, other_suppressed)
    if not found:  # NaN or infinity
        return {"max_abs": float("inf"), "box_px": float("inf"), "matched": 0.0}
    cells = found["cell_score_abs"]
    worst = found["score_abs"] if cells is None else cells
    return {"max_abs": worst, "box_px": found["box_px"], "matched": found["matched"] / 100}


def end_to_end(session: Any) -> dict[str, Any]:
    """Median wall times of one picture from its pixels to its boxes, in this process; empty without photographs."""
    from ....runtime.pictures.file import read_image

    (photograph, *_) = packaged_pictures() or (None,)
    if photograph is None:
        return {}
    pixels = read_image(photograph.path)
    for _ in range(WARMUP):
        session(pixels)
    times, answers = [], []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        answers.append(session(pixels))
        times.append((time.perf_counter() - started) * 1e3)
    steps = {key: float(np.median([getattr(answer, key) for answer in answers])) for key in STEPS}
    shown = f"{photograph.name}, {pixels.shape[1]}x{pixels.shape[0]}"
    return {"total_ms": float(np.median(times)), **steps, "boxes": len(answers[-1]), "picture": shown, "rounds": ROUNDS}
