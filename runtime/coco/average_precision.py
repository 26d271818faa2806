"""Detections and annotations -> average precision and recall as COCO defines them, per class, per size, and how sure.

    kept boxes + Truth, both in pixels of the picture  --match-->  Matched  --average_precisions-->  AP at 10 thresholds
                                                                            --average_recalls-->  AR at 10 thresholds

pycocotools decides which detection meets which annotation, once.  The figures are added up here, because an interval
needs them for 400 draws of the pictures: a picture that is drawn w times counts w times in the sums, which is what w
copies of it would add.  On the set itself the result is that of ``COCOeval.accumulate`` and ``summarize``.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ..errors import UserMistake
from .categories import distinct
from .intervals import bootstrap_95, times_drawn
from .precision_recall import precision_recall

if TYPE_CHECKING:
    from .annotations import Truth

# both ends of a range belong to it, as in COCO's own code: an area of exactly 1024 is small and medium
AREAS = {"all": (0.0, 1e10), "small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}
IOUS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0.0, 1.0, 101)
MAX_DETECTIONS = 100  # of a class in a picture, by score
RECALL_AT = (1, 10, MAX_DETECTIONS)  # of a class in a picture: what COCO calls AR@1, AR@10 and AR@100
AT_ONCE = 64  # draws: with 150,000 detections of one class 40 MB an array


class Kept(Protocol):
    """What is found in one picture, best first, in its pixels."""

    @property
    def boxes(self) -> np.ndarray: ...  # (n, 4) float32 x1 y1 x2 y2
    @property
    def scores(self) -> np.ndarray: ...  # (n,) float32
    @property
    def classes(self) -> np.ndarray: ...  # (n,) int64, from 0


@dataclass(frozen=True, eq=False)
class Group:
    """One class in one range of areas: its detections in all pictures, best first, and its annotations."""

    picture: np.ndarray  # (d,) int32: of each detection
    rank: np.ndarray  # (d,) int32: its place among the detections of this class in its picture, from 0
    hit: np.ndarray  # (10, d) bool: it meets an annotation at this overlap
    ignored: np.ndarray  # (10, d) bool: counts neither way (met a crowd, or an annotation of another size)
    expected: np.ndarray  # (pictures,) int32: annotations that should be found


@dataclass(frozen=True, eq=False)
class Matched:
    """Every detection judged, by range of areas and class."""

    pictures: int
    groups: dict[str, list[Group | None]]  # area -> one a class; None where no picture has either


def match_boxes(
    found: Sequence[Kept], truths: Sequence[Truth], classes: int, areas: Sequence[str] = tuple(AREAS)
) -> Matched:
    """Detections of each picture against its annotations; ``areas`` leaves ranges out that nobody asks for."""
    api, evaluator = pycocotools()
    images = [{"id": number} for number in range(len(truths))]
    categories = [{"id": number} for number in range(classes)]
    wanted: list[dict[str, Any]] = []
    given: list[dict[str, Any]] = []
    for number, (truth, kept) in enumerate(zip(truths, found, strict=True)):
        for box, index, crowd, area in zip(truth.boxes.tolist(), truth.classes, truth.crowd, truth.area, strict=True):
            wanted.append(_entry(len(wanted), number, box, int(index)) | {"iscrowd": int(crowd), "area": float(area)})
        real = np.isfinite(kept.boxes).all(axis=1) & np.isfinite(kept.scores)
        for box, score, index in zip(
            kept.boxes[real].tolist(), kept.scores[real].tolist(), kept.classes[real], strict=True
        ):
            given.append(_entry(len(given), number, box, int(index)) | {"iscrowd": 0, "score": score})
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its progress
        expected, answers = api(), api()
        for side, annotations in ((expected, wanted), (answers, given)):
            side.dataset = {"images": images, "categories": categories, "annotations": annotations}
            side.createIndex()
        judge = evaluator(expected, answers, "bbox")
        judge.params.areaRng = [list(AREAS[name]) for name in areas]
        judge.params.areaRngLbl = list(areas)
        judge.params.maxDets = [MAX_DETECTIONS]
        judge.evaluate()
    each = iter(judge.evalImgs)  # by class, then area, then picture
    groups: dict[str, list[Group | None]] = {name: [] for name in areas}
    for _ in range(classes):
        for name in areas:
            groups[name].append(_group([next(each) for _ in images]))
    return Matched(len(truths), groups)


def _entry(number: int, image: int, box: Sequence[float], index: int) -> dict[str, Any]:
    x1, y1, x2, y2 = box
    # numbers from 1: pycocotools takes an annotation with the number 0 for "none"
    return {
        "id": number + 1,
        "image_id": image,
        "category_id": index,
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "area": (x2 - x1) * (y2 - y1),
    }


def pycocotools() -> tuple[Any, Any]:
    """COCO's own classes; UserMistake where they are not installed."""
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError:
        raise UserMistake(
            "average precision needs pycocotools",
            found="no module pycocotools",
            because="which detection meets which annotation is decided by COCO's own code",
            attempt="pip install 'edgesmith[eval]'",
        ) from None
    return COCO, COCOeval


def _group(pictures: Sequence[dict[str, Any] | None]) -> Group | None:
    """What pycocotools found in each picture -> one list, best first; ties stay in the order of the pictures."""
    some = [(number, one) for number, one in enumerate(pictures) if one is not None]
    if not some:
        return None
    scores = np.concatenate([one["dtScores"] for _, one in some]).astype(np.float64)
    order = np.argsort(-scores, kind="stable")
    counts = [len(one["dtScores"]) for _, one in some]
    expected = np.zeros(len(pictures), np.int32)
    for number, one in some:
        expected[number] = np.count_nonzero(np.asarray(one["gtIgnore"]) == 0)
    return Group(
        np.repeat([number for number, _ in some], counts).astype(np.int32)[order],
        np.concatenate([np.arange(count) for count in counts]).astype(np.int32)[order],
        np.concatenate([one["dtMatches"] for _, one in some], axis=1)[:, order] > 0,
        np.concatenate([one["dtIgnore"] for _, one in some], axis=1)[:, order].astype(bool),
        expected,
    )


def average_precisions(matched: Matched, times: np.ndarray | None = None, area: str = "all") -> np.ndarray:
    """(R, pictures) how often each picture counts -> (R, 10, K) AP by overlap and class; NaN where nothing is annotated.

    Without ``times`` every picture counts once, R = 1.
    """
    times = np.ones((1, matched.pictures), np.int32) if times is None else times
    groups = matched.groups[area]
    found = np.full((len(times), len(IOUS), len(groups)), np.nan)
    for index, group in enumerate(groups):
        if group is not None and group.expected.any():
            found[:, :, index] = _precisions(group, times)
    return found


def _precisions(group: Group, times: np.ndarray) -> np.ndarray:
    """(R, 10): the mean over 101 recalls of the best precision that is reached at that recall or a higher one.

    Precision only has to be looked at where a detection is right: a wrong one lowers it and leaves the recall as it is.
    """
    if len(times) > AT_ONCE:
        return np.concatenate([_precisions(group, times[at : at + AT_ONCE]) for at in range(0, len(times), AT_ONCE)])
    expected = times @ group.expected  # (R,) annotations that should be found
    counts = times[:, group.picture]  # (R, d)
    listed = np.cumsum(counts, axis=1, dtype=np.int32)
    found = np.full((len(times), len(IOUS)), np.nan)
    some = expected > 0
    for row, (hit, ignored) in enumerate(zip(group.hit, group.ignored, strict=True)):
        right = np.flatnonzero(hit & ~ignored)
        hits = np.cumsum(counts[:, right], axis=1)  # (R, h)
        judged = listed if not ignored.any() else np.cumsum(np.where(ignored, 0, counts), axis=1)
        precision = hits / np.maximum(judged[:, right], 1)
        best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        reached = np.searchsorted(RECALLS, hits / np.maximum(expected, 1)[:, None], side="right")  # recalls up to here
        steps = np.diff(np.where(hits > 0, reached, 0), axis=1, prepend=0)
        found[some, row] = ((best * steps).sum(axis=1) / len(RECALLS))[some]
    return found


def average_recalls(matched: Matched, most: int = MAX_DETECTIONS, area: str = "all") -> np.ndarray:
    """(1, 10, K): the share of the annotations that is found by the ``most`` surest detections of a class and picture.

    NaN where nothing is annotated.
    """
    groups = matched.groups[area]
    found = np.full((1, len(IOUS), len(groups)), np.nan)
    for index, group in enumerate(groups):
        if group is not None and group.expected.any():
            right = group.hit & ~group.ignored & (group.rank < most)
            found[0, :, index] = right.sum(axis=1) / group.expected.sum()
    return found


def mean_precision(precisions: np.ndarray) -> np.ndarray:
    """(R, 10, K) precisions or recalls -> (R,) in percent, over everything that is annotated; NaN where nothing is."""
    flat = precisions.reshape(len(precisions), -1)
    known = np.isfinite(flat)
    total, count = np.where(known, flat, 0).sum(axis=1), known.sum(axis=1)
    return np.where(count > 0, 100 * total / np.maximum(count, 1), np.nan)


def evaluate_boxes(
    found: Sequence[Kept], truths: Sequence[Truth], labels: Sequence[str], interval: bool = True
) -> dict[str, Any]:
    """COCO's figures in percent; None where nothing of that size or class is annotated.

    ``map`` (0.50 to 0.95), ``map50``, ``map75``, ``small``, ``medium``, ``large``, the average recall ``ar1``, ``ar10``,
    ``ar100`` (with so many boxes of a class and picture) and ``ar_small``, ``ar_medium``, ``ar_large``, ``low`` and ``high`` (the 95 % interval of
    ``map``, by drawing the pictures again), ``pictures``, ``boxes``, ``per_class``: label -> map, map50, boxes
    (of two classes of one name with their numbers), and ``precision_recall``, the curves.
    """
    matched = match_boxes(found, truths, len(labels))
    times = times_drawn(len(truths)) if interval and truths else None
    whole = average_precisions(matched, times)  # the first row is the set itself
    draws, itself = mean_precision(whole), whole[:1]
    told: dict[str, Any] = {
        "map": _number(draws[0]),
        "map50": _number(mean_precision(itself[:, [0]])[0]),
        "map75": _number(mean_precision(itself[:, [5]])[0]),
    }
    for name in ("small", "medium", "large"):
        told[name] = _number(mean_precision(average_precisions(matched, area=name))[0])
    for most in RECALL_AT:
        told[f"ar{most}"] = _number(mean_precision(average_recalls(matched, most))[0])
    for name in ("small", "medium", "large"):
        told[f"ar_{name}"] = _number(mean_precision(average_recalls(matched, area=name))[0])
    low, high = np.clip(bootstrap_95(draws[0], draws[1:]), 0, 100)
    told |= {
        "low": _number(low),
        "high": _number(high),
        "pictures": len(truths),
        "boxes": sum(int((~t.crowd).sum()) for t in truths),
    }
    boxes = np.bincount(
        np.concatenate([t.classes[~t.crowd] for t in truths] or [[]]).astype(int), minlength=len(labels)
    )
    told["per_class"] = {
        label: {
            "map": _number(mean_precision(itself[:, :, [index]])[0]),
            "map50": _number(mean_precision(itself[:, [0]][:, :, [index]])[0]),
            "boxes": int(boxes[index]),
        }
        for index, label in enumerate(distinct(labels))
    }
    annotated = [group for group in matched.groups["all"] if group is not None and group.expected.any()]
    told["precision_recall"] = precision_recall(
        [(group.hit, group.ignored, int(group.expected.sum())) for group in annotated], RECALLS
    )
    return told


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
