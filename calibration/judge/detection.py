"""A detector's answers -> what judges a quantised one: mAP with its paired drop, boxes found again, and noise that ranks layers.

    answers (n, N, 4 + K), pixels of the network's input  --keep-->  Kept a picture, in pixels of the picture

Of 1000 pictures the raw answers are gigabytes, so only the kept boxes stay, and the whole answers of the first ``SAMPLED``.

Raw answers cannot rank layers: their energy is that of box coordinates, hundreds of pixels, beside which scores of 0 to 1
vanish.  ``sqnr_db`` here takes two parts as equals: what the scores say above the floor (in logits, where quantisation noise
is as large for a weak score as for a strong one), and how far the surest cells' boxes are from the reference's (1 - IoU).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ...graph.run import Runner
from ...runtime.coco.annotations import Truth
from ...runtime.coco.average_precision import MAX_DETECTIONS, average_precisions, match_boxes, mean_precision
from ...runtime.ground.numbers import smallest_cosine
from ...runtime.tasks.detection.boxes import Kept, overlaps
from ...runtime.tasks.detection.detection import DetectionRule, in_image, keep
from ...runtime.tasks.detection.matching import match
from ..pictures.coco import open_coco
from .accuracy import Metric
from .evaluation import Evaluation, NothingFound, Pictures
from .task import TaskJudge

if TYPE_CHECKING:
    from ...runtime.pictures.preprocess import ImageContract
    from ..pictures.images import ImageSet

OWN = "mAP of own boxes"
OWN_SCORE = (
    0.3  # a box that somebody would act on; far enough above the threshold that rounding does not drop it out of sight
)
SLACK = 0.1  # a score so near to OWN_SCORE may fall on either side of it: such boxes do not count in the agreement
SAMPLED = 32  # pictures: 90 MB of whole answers at 8,400 cells and 80 classes
FLOOR = 0.01  # scores below it say "nothing here", however far below
CELLS = 100  # of a picture: those whose best score is highest, weighted by it
FEW = 100  # pictures below which an interval of mAP spans points


def mean_ap(rule: DetectionRule, contract: ImageContract) -> Metric:
    """COCO's mAP (0.50 to 0.95) of answers (n, N, 4 + K), or of what ``Boxes.keep`` made of them, against a list of Truth."""

    def drawn(outputs: Any, truth: Sequence[Truth], times: np.ndarray) -> np.ndarray:
        found = _kept(outputs, truth, rule, contract)
        highest = max(
            int(classes.max(initial=-1)) for classes in [one.classes for one in found] + [one.classes for one in truth]
        )
        matched = match_boxes(found, truth, highest + 1, ("all",))
        return mean_precision(average_precisions(matched, times))

    return Metric("mAP", drawn=drawn)


def own_boxes(
    answers: np.ndarray,
    rule: DetectionRule,
    contract: ImageContract,
    image_sizes: Sequence[tuple[int, int]] | None = None,
) -> list[Truth]:
    """The reference's own detections above ``OWN_SCORE`` as the truth, where there are no annotations.

    ``image_sizes`` None: boxes as in pictures of the network's size, which overlap as much as in any other.
    """
    sizes = image_sizes or [contract.size] * len(answers)
    return own_truth(
        [in_image(keep(one, rule), size, contract) for one, size in zip(answers, sizes, strict=True)], sizes
    )


def own_truth(kept: Sequence[Kept], image_sizes: Sequence[tuple[int, int]]) -> list[Truth]:
    """``own_boxes`` of detections; at most as many a picture as COCO's code looks at, so that the reference itself has 100."""
    truths = []
    for one, size in zip(kept, image_sizes, strict=True):
        area = (one.boxes[:, 2:] - one.boxes[:, :2]).astype(np.float64).prod(axis=1)
        rows = np.flatnonzero((one.scores > OWN_SCORE) & (area > 0))[:MAX_DETECTIONS]
        truths.append(
            Truth(one.boxes[rows].astype(np.float64), one.classes[rows], np.zeros(len(rows), bool), area[rows], size)
        )
    return truths


def _kept(outputs: Any, truth: Sequence[Truth], rule: DetectionRule, contract: ImageContract) -> Sequence[Kept]:
    if not isinstance(outputs, np.ndarray):
        return list(outputs)
    return [in_image(keep(_finite(one), rule), t.image_size, contract) for one, t in zip(outputs, truth, strict=True)]


def _finite(answer: np.ndarray) -> np.ndarray:
    """The answer with cells that are not finite saying nothing: a broken graph is a row of the table, not an error."""
    bad = ~np.isfinite(answer).all(axis=1)
    return np.where(bad[:, None], np.float32(0), answer) if bad.any() else answer


class Boxes:
    """The View of a detector.

    ``truth`` is that of the pictures in their order, None where they are not annotated.
    """

    sampled: int | None = SAMPLED

    def __init__(self, rule: DetectionRule, contract: ImageContract, truth: Sequence[Truth] | None = None) -> None:
        self.rule, self.contract = rule, contract
        self.sizes = None if truth is None else [one.image_size for one in truth]

    def keep(self, answers: np.ndarray, start: int) -> list[Kept]:
        """Detections in pixels of each picture, or of the network's input where nothing depends on its size."""
        some = []
        for number, answer in enumerate(answers, start):
            found = keep(_finite(answer), self.rule)
            some.append(in_image(found, self.sizes[number] if self.sizes else self.contract.size, self.contract))
        return some

    def metric(self, kept: Sequence[Kept], truth: Any) -> tuple[Metric, Any]:
        """mAP against the annotations, or against the reference's own boxes; NothingFound where there is no box at all."""
        found = mean_ap(self.rule, self.contract)
        if truth is not None:
            if not any((~one.crowd).any() for one in truth):
                raise NothingFound(
                    "The held-out pictures have no annotated box",
                    found=f"{len(truth)} pictures",
                    because="average precision is a share of the annotated boxes",
                    attempt="more pictures, or a folder of pictures without annotations",
                )
            return found, truth
        own = own_truth(kept, self.sizes or [self.contract.size] * len(kept))
        if not any(len(one) for one in own):
            raise NothingFound(
                "The float32 graph finds nothing in the held-out pictures",
                found=f"no score above {OWN_SCORE:g} in {len(kept)} pictures",
                expected="pictures that show what the model was trained for, and trained weights",
                because="without annotations the quantised graph is judged by the float32 graph's own boxes",
                attempt="--data with a COCO-style annotation file, or other pictures",
            )
        return Metric(OWN, drawn=found.drawn), own

    def agreement(self, reference: Sequence[Kept], found: Sequence[Kept]) -> float:
        """Percent of the boxes of both graphs above ``OWN_SCORE`` that are in pairs: same class, IoU 0.5 or more."""
        pairs = alone = 0
        for left, right in zip(reference, found, strict=True):
            matching = match(_above(left), _above(right), SLACK, threshold=OWN_SCORE)
            pairs += len(matching.pairs)
            alone += matching.missing + matching.extra
        return 100.0 * 2 * pairs / (2 * pairs + alone) if pairs or alone else 100.0

    def sqnr_db(self, reference: np.ndarray, found: np.ndarray) -> float:
        return sqnr_db(reference, found)

    def cosine(self, reference: np.ndarray, found: np.ndarray) -> float:
        """Of the scores: box coordinates are alike in any two answers; NaN where the graphs hand out other cells."""
        return math.nan if reference.shape != found.shape else smallest_cosine(reference[..., 4:], found[..., 4:])

    def notes(self, evaluation: Evaluation, max_drop: float | None) -> list[str]:
        count, boxes = len(evaluation), sum(int((~one.crowd).sum()) for one in evaluation.truth)
        notes = []
        if evaluation.metric.name == OWN:
            notes.append(
                f"no annotations: a point of drop is a point of mAP against the float32 graph's own {boxes} boxes above "
                f"{OWN_SCORE:g}, not against what the pictures show"
            )
        elif evaluation.expected.value < 1:
            notes.append(
                f"the float32 graph itself has an mAP of {evaluation.expected.value:.1f}: are the categories those of its "
                "classes, and the weights trained?"
            )
        if count < FEW:
            notes.append(
                f"{count} pictures with {boxes} boxes: few for an mAP; some hundred pictures tell tenths of a point"
            )
        return notes


def sqnr_db(reference: np.ndarray, found: np.ndarray) -> float:
    """(n, N, 4 + K) twice -> dB: scores as logits above the floor, and the surest cells' boxes, as equal parts.

    inf when equal, -inf when ``found`` is not finite, NaN where the graphs hand out other cells.
    """
    if reference.shape != found.shape:
        return math.nan
    if not np.isfinite(found).all():
        return -math.inf
    signal, noise = np.zeros(2), np.zeros(2)
    for expected, got in zip(reference, found, strict=True):
        left, right = (_evidence(one[:, 4:]) for one in (expected, got))
        best = expected[:, 4:].max(axis=1).astype(np.float64)
        cells = np.argsort(-best, kind="stable")[:CELLS]
        apart = 1 - overlaps(expected[cells, :4], got[cells, :4]).diagonal()
        signal += np.square(left).sum(), np.square(best[cells]).sum()
        noise += np.square(left - right).sum(), np.square(best[cells] * apart).sum()
    if not signal[0]:  # nothing above the floor, as in a network that is not trained: the scores as they are
        signal[0] = np.square(reference[..., 4:], dtype=np.float64).sum()
        noise[0] = np.square(reference[..., 4:].astype(np.float64) - found[..., 4:]).sum()
    return _decibels(signal, noise)


def cells_of_rows(rows: np.ndarray, classes: int) -> np.ndarray:
    """(n, D, 6) of a graph that suppresses by itself -> (n, D, 4 + K): each row a cell that knows one class."""
    cells = np.zeros((*rows.shape[:2], 4 + classes), np.float32)
    cells[..., :4] = rows[..., :4]
    picture, row = np.nonzero(rows[..., 5] >= 0)
    cells[picture, row, 4 + rows[picture, row, 5].astype(np.int64)] = rows[picture, row, 4]
    return cells


def _evidence(scores: np.ndarray) -> np.ndarray:
    """Scores as logits counted from the floor; what lies below is nothing."""
    limited = np.clip(scores.astype(np.float64), FLOOR, 1 - 1e-6)
    return np.log(limited / (1 - limited)) - math.log(FLOOR / (1 - FLOOR))


def _decibels(signal: np.ndarray, noise: np.ndarray) -> float:
    """The mean of the parts' noise over signal."""
    if not noise.any():
        return math.inf
    if (signal <= 0).any():
        return -math.inf
    return -10 * math.log10(float((noise / signal).mean()))


def _above(kept: Kept) -> Kept:
    return Kept(*(part[kept.scores > OWN_SCORE] for part in kept))


class DetectionJudge(TaskJudge):
    """mAP where the pictures are annotated, else mAP of own boxes.

    ``batch`` is small because the answers of 32 pictures of 640 x 640 are 90 MB.
    """

    name = "detection"
    truths = staticmethod(open_coco)

    def evaluation(
        self, images: ImageSet, reference: Runner, rule: DetectionRule, contract: ImageContract, *, batch: int = 8
    ) -> Evaluation:
        rule = replace(rule, nms="runtime")  # suppressed here, wherever the bundle will do it
        return judge_boxes(images, reference, rule, contract, images.truths, batch=batch)

    def distance(self, reference: np.ndarray, found: np.ndarray) -> float:
        return sqnr_db(reference, found)


def judge_boxes(
    images: Pictures,
    reference: Runner,
    rule: DetectionRule,
    contract: ImageContract,
    truth: Sequence[Truth] | None = None,
    *,
    batch: int = 8,
) -> Evaluation:
    """The Evaluation of a detector on held-out pictures: mAP where they are annotated, else mAP of own boxes.

    ``batch`` is small because the answers of 32 pictures of 640 x 640 are 90 MB.  Raises NothingFound where there is
    nothing to judge by.
    """
    return Evaluation(images, reference, truth, batch=batch, view=Boxes(rule, contract, truth))
