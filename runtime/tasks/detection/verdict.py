"""The detections of one network computed twice -> how far they are apart, and whether that is near enough.

    judge (n, N, 4 + K) and other (n, M, 4 + K) or, with NMS in its graph, (n, D, 6)  --compare-->  figures
    precision, figures  --verdict-->  the limit in words, holds or not

The judge is PyTorch eager float32, all cells. The other may hold fewer candidates or the detections only, so both are
brought to detections first, and two questions are asked of those:

- are they what the judge computes? Each is held against the judge's nearest candidate of its class, in units of the
  float32 limits: the same cell, whether the judge kept it or not. These are the differences of boxes and scores.
- are they the same choice? The two lists are matched (matching.py). Suppression is chaotic under rounding: boxes that
  overlap by almost ``iou``, or whose scores are almost equal, swap roles, and then a third appears that the loser had
  suppressed. The geometry tells: a box left without a partner overlaps, by almost ``iou`` or more, a box of its class
  that the other side kept. That is a flip, neither missing nor extra: the thing is still found, by a neighbouring cell.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ...ground.limits import BF16, DEVICE_ERROR, FP16, quantised
from ...ground.numbers import smallest_cosine
from ..selftest import SelfTestRow
from .boxes import Kept, overlaps
from .detection import DetectionRule, keep, kept_rows
from .matching import paired

Figures = dict[str, Any]

PAIR_IOU = 0.5  # two boxes of one class are the same thing from here on, as in the mildest of COCO's ten thresholds
FLIP_IOU = (
    0.05  # below the rule's: how far rounding can move an overlap; half a pixel moves that of 20 pixel boxes so far
)
SLACK = (1e-3, 0.05)  # near the threshold is within what the scores differ by, but within these bounds
FEW = 100  # best candidates that stand in where the judge finds nothing: flat scores must not pass unseen

# float32: what the authors' goldens ask for (scores after sigmoid, pixels of the network's input); percent of the
# detections of both sides without a partner, and as many flips
FP32 = {"score_abs": 1e-3, "box_px": 0.5, "lonely": 1.0}
# 16 bits: about twice what the reference weights of tiny and nano_small lose at 256 to 640 pixels with all layers rounded
# (they amplify more than trained ones): fp16 0 % and 1 - cosine 1.2e-3, bf16 5.6 % and 0.05
ROUNDED = {FP16: {"lonely": 2.0, "cosine": 0.9975}, BF16: {"lonely": 10.0, "cosine": 0.9}}
# a quantised graph that loses or invents every second thing is broken; how good it has to be is the budget of the export,
# and on the device what was measured when it was made: twice the share without a partner, and this many points
BROKEN, POINTS = 50.0, 5.0


def compare(judge: np.ndarray, other: np.ndarray, rule: DetectionRule, other_in_graph: bool) -> Figures:
    """The figures of n pictures together; an empty dict when ``other`` holds NaN or infinity or another batch.

    score, detections            the threshold, and what the judge finds above it
    matched                      percent of the detections of both sides that have a partner, flips left out
    missing, extra, flips        those without one
    box_px, score_abs            largest difference between a detection and the judge's nearest candidate
    cosine                       of the scores of all cells, the smallest of all pictures; None where the shapes differ
    cell_box_px, cell_score_abs  largest difference of all cells; None where the shapes differ
    """
    if len(judge) != len(other) or not np.isfinite(other).all():
        return {}
    if not other_in_graph and not (judge[..., 4:] > rule.score).any():
        best = np.sort(judge[..., 4:].reshape(len(judge), -1), axis=1)[:, -FEW:]
        rule = replace(rule, score=float(np.clip(best.min(initial=rule.score), 0.0, rule.score)))
    counts = np.zeros(5, int)  # detections, pairs, missing, extra, flips
    box_px = score_abs = 0.0
    lists = []
    for expected_row, other_row in zip(judge, other, strict=True):
        expected = keep(expected_row, rule)
        found = kept_rows(other_row, rule) if other_in_graph else keep(other_row, rule)
        boxes, scores = _off(expected_row, found, rule)
        box_px, score_abs = max(box_px, boxes), max(score_abs, scores)
        lists.append((expected, found))
    for expected, found in lists:
        pairs = paired(expected, found, PAIR_IOU)
        lonely = _lonely(expected, found, pairs, rule, float(np.clip(score_abs, *SLACK)))
        counts += [len(expected.scores), len(pairs), *lonely]
    detections, both, missing, extra, flips = (int(count) for count in counts * [1, 2, 1, 1, 1])
    return {
        "score": rule.score,
        "detections": detections,
        "matched": 100.0 * both / (both + missing + extra) if missing or extra else 100.0,
        "missing": missing,
        "extra": extra,
        "flips": flips,
        "box_px": box_px,
        "score_abs": score_abs,
        **_cells(judge, other, other_in_graph),
    }


def _off(answer: np.ndarray, found: Kept, rule: DetectionRule) -> tuple[float, float]:
    """Largest differences (box, score) between detections and the candidates of the judge's ``answer`` (N, 4 + K)."""
    box_px = score_abs = 0.0
    for label in np.unique(found.classes):
        if label >= answer.shape[1] - 4:
            continue  # a class that the judge does not have: without a partner
        own = found.classes == label
        cells = answer[answer[:, 4 + label] > rule.score / 2]  # half: also those that rounding lifts over the threshold
        if not len(cells):
            continue  # then it has no partner either and counts as extra
        cells = cells.astype(np.float64)  # a difference of two float32 may be none
        boxes = np.abs(found.boxes[own][:, None] - cells[None, :, :4]).max(axis=2)  # (detections, candidates)
        scores = np.abs(found.scores[own][:, None] - cells[None, :, 4 + label])
        nearest = np.maximum(boxes / FP32["box_px"], scores / FP32["score_abs"]).argmin(axis=1)[:, None]
        box_px = max(box_px, float(np.take_along_axis(boxes, nearest, axis=1).max()))
        score_abs = max(score_abs, float(np.take_along_axis(scores, nearest, axis=1).max()))
    return box_px, score_abs


def _lonely(expected: Kept, found: Kept, pairs: np.ndarray, rule: DetectionRule, slack: float) -> tuple[int, int, int]:
    """(missing, extra, flips) of one picture."""
    full = [kept.scores.min() for kept in (expected, found) if len(kept.scores) == rule.max_detections]
    least = max([rule.score, *full]) + slack  # a full list ends at its own lowest score
    lonely, flips = [], 0
    for side, (kept, others) in enumerate(((expected, found), (found, expected))):
        alone = np.setdiff1d(np.flatnonzero(kept.scores > least), pairs[:, side])
        if rule.nms != "none":
            overlap = overlaps(kept.boxes[alone], others.boxes)
            same = kept.classes[alone][:, None] == others.classes[None]
            flipped = ((overlap > rule.iou - FLIP_IOU) & same).any(axis=1)
            flips += int(flipped.sum())
            alone = alone[~flipped]
        lonely.append(len(alone))
    return lonely[0], lonely[1], flips


def _cells(judge: np.ndarray, other: np.ndarray, other_in_graph: bool) -> Figures:
    if other_in_graph or judge.shape != other.shape or _chosen(other):
        return {"cosine": None, "cell_box_px": None, "cell_score_abs": None}
    a, b = (scores[..., 4:].astype(np.float64).reshape(len(judge), -1) for scores in (judge, other))
    return {
        "cosine": min(smallest_cosine(a, b), 1.0),
        "cell_box_px": float(np.abs(judge[..., :4].astype(np.float64) - other[..., :4]).max(initial=0.0)),
        "cell_score_abs": float(np.abs(a - b).max(initial=0.0)),
    }


def _chosen(answers: np.ndarray) -> bool:
    """Whether the rows are candidates, best first: a graph with open sides gives as many as it has cells, in another order."""
    best = answers[..., 4:].max(axis=-1, initial=0.0)
    return bool((np.diff(best, axis=1) <= 1e-6).all())  # chosen by logits; a sigmoid may turn two of them round


def verdict(precision: str, figures: Figures, measured: Mapping[str, Any] | None = None) -> tuple[str, bool]:
    """The limit of a precision in words, and whether it holds. ``measured``: the figures where the bundle was made."""
    if not figures:
        return "finite numbers for as many pictures", False
    if quantised(precision):
        return _quantised(figures, measured or {})
    if precision in ROUNDED:
        share, cosine = ROUNDED[precision]["lonely"], ROUNDED[precision]["cosine"]
        holds = figures["matched"] >= 100 - share or figures["missing"] + figures["extra"] <= 1
        return _with_cosine(f"{100 - share:g} % matched, or all but one", holds, figures, cosine)
    both = 2 * figures["detections"]
    holds = figures["matched"] >= 100 - FP32["lonely"] and figures["flips"] <= max(both * FP32["lonely"] / 100, 2)
    for name in ("score_abs", "box_px"):
        cells = figures[f"cell_{name}"]
        holds &= figures[name] <= FP32[name] and (cells is None or cells <= FP32[name])
    return f"scores {FP32['score_abs']:g}, boxes {FP32['box_px']:g} px, {100 - FP32['lonely']:g} % matched", bool(holds)


def _quantised(figures: Figures, measured: Mapping[str, Any]) -> tuple[str, bool]:
    least, cosine = BROKEN, None
    if measured.get("matched") is not None:
        least = max(least, 100 - 2 * (100 - measured["matched"]) - POINTS)
    if measured.get("cosine") is not None:
        cosine = 1 - DEVICE_ERROR * (1 - measured["cosine"])
    return _with_cosine(f"{least:.4g} % matched", figures["matched"] >= least, figures, cosine)


def _with_cosine(limit: str, holds: bool, figures: Figures, cosine: float | None) -> tuple[str, bool]:
    if cosine is None or figures["cosine"] is None:
        return limit, bool(holds)
    return f"{limit}, cosine of scores >= {cosine:.6g}", bool(holds and figures["cosine"] >= cosine)


def figures_words(figures: Figures) -> str:
    """The figures in one line."""
    if not figures:
        return "no finite numbers, or not for as many pictures"
    text = (
        f"{figures['matched']:.4g} % of {figures['detections']} detections matched ({figures['missing']} missing, "
        f"{figures['extra']} extra, {figures['flips']} flips), boxes within {figures['box_px']:.2g} px, "
        f"scores within {figures['score_abs']:.1e}"
    )
    return text if figures["cosine"] is None else f"{text}, cosine of scores {figures['cosine']:.6f}"


def row(
    judge: np.ndarray, found: np.ndarray, rule: DetectionRule, precision: str, measured: Mapping[str, Any] | None = None
) -> SelfTestRow:
    """The judge's answer (n, N, 4 + K) and this device's, both as the task joins them, as one row of the self-test."""
    figures = compare(judge, found, rule, rule.nms == "graph")
    limit, passed = verdict(precision, figures, measured)
    told = figures_words(figures)
    if figures and not figures["detections"] and passed:  # two lists of nothing are alike, whatever the weights
        passed, limit = False, "a detection to compare"
        told = "not judged: PyTorch finds nothing in the golden pictures, so nothing was compared"
    if not figures:
        return SelfTestRow("detections", len(judge), float("inf"), -1.0, 0.0, limit, passed, figures, told)
    cosine = 1.0 if figures["cosine"] is None else figures["cosine"]
    share = figures["matched"] / 100
    return SelfTestRow("detections", len(judge), figures["score_abs"], cosine, share, limit, passed, figures, told)
