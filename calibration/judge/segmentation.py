"""Masks of a quantised graph: the share of places whose class is that of the float32 graph, picture by picture.

No masks are read here, so a point of drop is a point of places with another class. Judged are the places of the network's own map, of
large maps every so many-th: what is drawn on a picture lies between them. ``edgesmith eval`` measures mean IoU.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...graph.run import Runner
from ...runtime.ground.numbers import smallest_cosine
from ...runtime.tasks.segmentation.pairs import IMAGES, MASKS
from ...runtime.tasks.segmentation.places import thinned
from ..pictures.files import open_folder
from ..pictures.items import Opened
from .accuracy import Metric, sqnr_db
from .evaluation import Evaluation
from .task import TaskJudge

if TYPE_CHECKING:
    from ...runtime.pictures.preprocess import ImageContract
    from ..pictures.images import ImageSet

SAMPLED = 16  # pictures whose whole maps are kept
FEW = 8  # pictures below which one class for all says nothing


def beside_masks(data: Any, images: str | os.PathLike[str] | None, labels: tuple[str, ...]) -> Opened | None:
    """Of a folder of pictures and masks the pictures; None for any other source, whose sub-folders are no classes."""
    if not isinstance(data, (str, os.PathLike)) or images is not None:
        return None
    folder = Path(data)
    return open_folder(folder / IMAGES, ()) if (folder / IMAGES).is_dir() and (folder / MASKS).is_dir() else None


class SegmentationJudge(TaskJudge):
    """What the float32 graph says of each place is what others are judged by."""

    name = "segmentation"
    truths = staticmethod(beside_masks)

    def evaluation(
        self, images: ImageSet, reference: Runner, rule: Any, contract: ImageContract, *, batch: int = 4
    ) -> Evaluation:
        return Evaluation(images, reference, batch=min(batch, 4), view=Places())

    def doubts(self, answers: np.ndarray) -> list[str]:
        """One class everywhere is what black pictures and wrong preprocessing give."""
        found = np.unique(_classes(answers))
        if len(answers) < FEW or len(found) > 1:
            return []
        said = f"ONE ANSWER FOR ALL: the float32 graph sees class {found[0]} at every place of {len(answers)} pictures."
        return [
            f"{said} Are they prepared as it was trained (mean, std, scale, bits, colour), and the weights trained?"
        ]


class Places:
    """The View of a segmenter: the class of each place."""

    sampled: int | None = SAMPLED

    def keep(self, answers: np.ndarray, start: int) -> list[np.ndarray]:
        some = thinned(answers)
        found = _classes(some)
        found[~np.isfinite(some).all(axis=1)] = max(answers.shape[1], 2)  # no class: wrong wherever it is
        return [one.astype(np.uint8 if answers.shape[1] < 256 else np.uint16) for one in found]

    def metric(self, kept: list[np.ndarray], truth: Any) -> tuple[Metric, Any]:
        """The share of places with the reference's class, in percent."""

        def drawn(outputs: Any, truth: Any, times: np.ndarray) -> np.ndarray:
            return np.asarray(100.0 * (times @ _same(truth, outputs)) / times.sum(axis=1))

        return Metric("same places", drawn=drawn), kept

    def agreement(self, reference: list[np.ndarray], found: list[np.ndarray]) -> float:
        return 100.0 * float(_same(reference, found).mean())

    def sqnr_db(self, reference: np.ndarray, found: np.ndarray) -> float:
        return sqnr_db(reference, found)

    def cosine(self, reference: np.ndarray, found: np.ndarray) -> float:
        return smallest_cosine(reference, found)

    def notes(self, evaluation: Evaluation, max_drop: float | None) -> list[str]:
        found = np.unique(np.concatenate([np.unique(one) for one in evaluation.reference.kept]))
        said = "no masks are used: a point of drop is a point of places with another class than the float32 graph's"
        notes = [f"{said}; `edgesmith eval` with masks measures mean IoU"]
        if len(found) == 1:
            notes.append(
                f"class {found[0]} everywhere in {len(evaluation)} pictures: a graph that always says so loses nothing"
            )
        return notes


def _classes(answers: np.ndarray) -> np.ndarray:
    """(n, C, h, w) -> (n, h, w): the best class of each place; one channel is the second of two, by its sign."""
    return np.asarray((answers[:, 0] > 0).astype(np.int64) if answers.shape[1] == 1 else answers.argmax(axis=1))


def _same(reference: list[np.ndarray], found: list[np.ndarray]) -> np.ndarray:
    """(n,): the share of each picture's places."""
    return np.array([float((one == two).mean()) for one, two in zip(reference, found, strict=True)])
