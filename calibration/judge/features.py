"""Features of a quantised graph: how near their direction is to that of the float32 graph, picture by picture.

There are no right answers, so a point of drop is a hundredth of the mean cosine. Of large maps every so many-th number is compared.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...graph.run import Runner
from ...runtime.ground.numbers import smallest_cosine
from ...runtime.tasks.features import cosines
from .accuracy import Metric, sqnr_db
from .evaluation import Evaluation
from .task import TaskJudge, unlabelled

if TYPE_CHECKING:
    from ...runtime.pictures.preprocess import ImageContract
    from ..pictures.images import ImageSet

SAMPLED = 32  # pictures whose whole answers are kept
MOST = 2**14  # numbers of an answer that are kept of all pictures: 64 kB
NEAR = 0.99  # a cosine from which on features are taken for the same


class FeaturesJudge(TaskJudge):
    """The float32 graph's own features are what others are judged by; sub-folders are no classes."""

    name = "features"
    truths = staticmethod(unlabelled)

    def evaluation(
        self, images: ImageSet, reference: Runner, rule: Any, contract: ImageContract, *, batch: int = 8
    ) -> Evaluation:
        return Evaluation(images, reference, batch=batch, view=Vectors())

    def doubts(self, answers: np.ndarray) -> list[str]:
        """The same for every picture is what black pictures and wrong preprocessing give."""
        flat = answers.reshape(len(answers), -1)
        if len(flat) < 2 or not np.allclose(flat, flat[:1], rtol=1e-3, atol=1e-6):
            return []
        said = f"ONE ANSWER FOR ALL: the float32 graph gives each of {len(flat)} pictures the same features."
        return [f"{said} Are they prepared as it was trained (mean, std, scale, bits, colour)?"]


class Vectors:
    """The View of features: a vector a picture."""

    sampled: int | None = SAMPLED

    def keep(self, answers: np.ndarray, start: int) -> list[np.ndarray]:
        flat = answers.reshape(len(answers), -1)
        return list(flat[:, :: max(1, -(-flat.shape[1] // MOST))].astype(np.float32))

    def metric(self, kept: list[np.ndarray], truth: Any) -> tuple[Metric, Any]:
        """The mean cosine with the reference, in percent."""

        def drawn(outputs: Any, truth: Any, times: np.ndarray) -> np.ndarray:
            near = _finite(cosines(np.stack(truth), np.stack(outputs)))
            return np.asarray(100.0 * (times @ near) / times.sum(axis=1))

        return Metric("cosine", drawn=drawn), kept

    def agreement(self, reference: list[np.ndarray], found: list[np.ndarray]) -> float:
        """Percent of the pictures whose features are nearly the same."""
        return 100.0 * float((_finite(cosines(np.stack(reference), np.stack(found))) >= NEAR).mean())

    def sqnr_db(self, reference: np.ndarray, found: np.ndarray) -> float:
        return sqnr_db(reference, found)

    def cosine(self, reference: np.ndarray, found: np.ndarray) -> float:
        return smallest_cosine(reference, found)

    def notes(self, evaluation: Evaluation, max_drop: float | None) -> list[str]:
        said = "features: a point of drop is a hundredth of the mean cosine with the float32 graph's"
        return [f"{said}; agreement is the share of pictures whose cosine is {NEAR} or more"]


def _finite(values: np.ndarray) -> np.ndarray:
    """A graph that gives no numbers is as far off as can be."""
    return np.where(np.isfinite(values), values, -1.0)
