"""The part of ``bench`` that belongs to detectors: photographs to run on, boxes that match, and the way from picture to boxes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from ..runtime.detection import DetectionRule, keep, kept_rows
from ..runtime.matching import match
from . import verify
from .pictures import packaged_pictures

if TYPE_CHECKING:
    from ..runtime.boxes import Kept
    from ..runtime.bundle import Bundle

SLACK = 1e-3  # of a score, at the threshold: float32 engines differ by less, and a larger error shall show
ROUNDS, WARMUP = 10, 2
STEPS = ("preprocess_ms", "infer_ms", "postprocess_ms")


def images(bundle: Bundle, shape: tuple[int, ...]) -> np.ndarray:
    """Photographs, as many as the batch: how long suppression takes depends on what there is to suppress."""
    from ..runtime.preprocess import preprocess

    paths = [picture.path for picture in packaged_pictures()]
    if not paths or shape[2:] != bundle.contract.size:
        return verify.seeded(shape, bundle.contract)
    return preprocess([paths[index % len(paths)] for index in range(shape[0])], bundle.contract)


def kept(rule: DetectionRule, answer: np.ndarray, suppressed: bool) -> list[Kept]:
    """The detections of each picture of an answer; ``suppressed``: NMS was inside the graph that gave it."""
    return [(kept_rows if suppressed else keep)(one, rule) for one in answer]


def agreement(rule: DetectionRule, judge: tuple[np.ndarray, bool], other: tuple[np.ndarray, bool]) -> dict[str, float]:
    """Two (answer, suppressed): ``max_abs`` of the scores, ``box_px`` of matched boxes, smallest share that matches.

    Scores are compared cell by cell, or pair by pair where one of the two hands out detections.
    """
    both = zip(kept(rule, *judge), kept(rule, *other), strict=True)
    found = [match(one, two, SLACK, threshold=rule.score) for one, two in both]
    worst = max(one.score_abs for one in found)
    if not (judge[1] or other[1]):
        worst = float(np.abs(other[0][..., 4:] - judge[0][..., 4:]).max())
    matched = min(one.share for one in found) / 100
    return {"max_abs": worst, "box_px": max(one.box_px for one in found), "matched": matched}


def end_to_end(session: Any) -> dict[str, Any]:
    """Median wall times of one picture from its pixels to its boxes, in this process; empty without photographs."""
    from ..runtime.image_file import read_image

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
