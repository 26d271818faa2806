"""A classifier's answers: top-1 against the labels of the pictures, else against what the float32 graph says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...graph.run import Runner
from ...runtime.ground.numbers import class_logits, smallest_cosine
from .accuracy import AGREEMENT, TOP1, Metric, same, sqnr_db
from .evaluation import Evaluation, Pictures
from .task import TaskJudge

if TYPE_CHECKING:
    from ...runtime.pictures.preprocess import ImageContract
    from ..pictures.images import ImageSet

BATCH = 32
FEW = 8  # pictures below which one class for all says nothing


class ClassificationJudge(TaskJudge):
    """Labels come with the pictures: from sub-folders, a list, or an array."""

    name = "classification"

    def evaluation(
        self, images: ImageSet, reference: Runner, rule: Any, contract: ImageContract, *, batch: int = BATCH
    ) -> Evaluation:
        labels = None if images.labels is None else np.asarray(images.labels)
        return judge_logits(images, reference, labels, batch=batch)

    def doubts(self, answers: np.ndarray) -> list[str]:
        """One class for every picture is what black pictures and wrong preprocessing give."""
        classes = np.unique(class_logits(answers).argmax(axis=1))
        if len(answers) < FEW or len(classes) > 1:
            return []
        said = f"ONE ANSWER FOR ALL: the float32 graph says class {classes[0]} to each of {len(answers)} pictures. Are they"
        return [
            f"{said} prepared as it was trained (mean, std, scale, bits, colour), of several classes, and the weights trained?"
        ]


def judge_logits(
    images: Pictures, reference: Runner, labels: Any = None, metric: Metric | None = None, *, batch: int = BATCH
) -> Evaluation:
    """Pictures with their class, or without ``labels`` with the reference's own; every answer is a row of logits."""
    return Evaluation(images, reference, labels, metric, batch=batch, view=Logits())


class Logits:
    """Answers of a classifier: (n, C), kept as they are."""

    sampled: int | None = None

    def keep(self, answers: np.ndarray, start: int) -> np.ndarray:
        return answers

    def metric(self, kept: np.ndarray, truth: Any) -> tuple[Metric, Any]:
        """Top-1, or agreement with the reference."""
        return (AGREEMENT, kept) if truth is None else (TOP1, truth)

    def agreement(self, reference: np.ndarray, found: np.ndarray) -> float:
        return 100.0 * float(same(found, reference).mean())

    def sqnr_db(self, reference: np.ndarray, found: np.ndarray) -> float:
        return sqnr_db(reference, found)

    def cosine(self, reference: np.ndarray, found: np.ndarray) -> float:
        return smallest_cosine(reference, found)

    def notes(self, evaluation: Evaluation, max_drop: float | None) -> list[str]:
        notes, count, metric = [], len(evaluation), evaluation.metric
        reference, expected = evaluation.reference.kept, evaluation.expected
        if metric is AGREEMENT:
            notes.append(
                "no labels: a point of drop is a point of disagreement with the float32 graph, not a wrong answer"
            )
        classes = np.unique(evaluation.truth if metric is TOP1 else class_logits(reference).argmax(axis=1))
        if metric in (TOP1, AGREEMENT) and len(classes) == 1:
            notes.append(
                f"all {count} pictures are of class {classes[0]}: a graph that always says so would lose nothing"
            )
        if metric is TOP1 and expected.value <= _hardly_more_than_chance(class_logits(reference).shape[1]):
            notes.append(
                f"the float32 graph itself is right on {expected.value:.1f} %: are the pictures prepared as in the training "
                "(--mean, --std, --crop, --resize, --colour), the labels numbered as its outputs are, the weights trained?"
            )
        if max_drop is not None and metric.hits is not None and 100 / count > max_drop:
            notes.append(
                f"{count} pictures move in steps of {100 / count:.2f} points, more than the budget of {max_drop:g}: it holds only "
                f"if no picture is lost on balance; {int(np.ceil(100 / max(max_drop, 0.01)))} pictures would resolve it"
            )
        return notes


def _hardly_more_than_chance(classes: int) -> float:
    """Percent: twice what guessing gives, of few classes a quarter of the way from there to all."""
    chance = 100 / classes
    return min(2 * chance, chance + (100 - chance) / 4)
