"""One set of pictures that judges every candidate graph: what it loses against the float32 graph, and how sure that is.

The reference runs once; each candidate then costs one pass over the pictures.  ``notes`` say what the set cannot tell.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ..runtime.answers import joined
from ..runtime.errors import EdgesmithError
from .accuracy import AGREEMENT, TOP1, Drop, Metric, Score, cosine, difference, measure, same, sqnr_db
from .run import Runner, open_session

if TYPE_CHECKING:
    import onnx_ir as ir

BATCH = 8  # pictures at a time where the graph takes any number: more are no faster on a CPU and hold more memory


class Pictures(Protocol):
    """What is needed of an ``images.ImageSet``."""

    def __len__(self) -> int: ...

    def batches(self, size: int, start: int = 0) -> Iterator[np.ndarray]:
        """(n, 3, H, W) float32, n <= size."""
        ...


@dataclass(frozen=True)
class Figures:
    """One graph on one set of pictures."""

    score: Score
    drop: Drop
    agreement: float  # percent of pictures with the reference's answer
    sqnr_db: float  # of the outputs against the reference's
    cosine: float  # of the worst picture
    n: int

    def to_json(self) -> dict[str, Any]:
        """Plain data; an infinite SQNR becomes None, because JSON has no infinity."""
        plain = asdict(self)
        return {**plain, "sqnr_db": self.sqnr_db if np.isfinite(self.sqnr_db) else None}


def any_batch(model: ir.Model, *, optimise: bool = False, threads: int = 0) -> Runner:
    """The outputs of ``model`` as one array, on any number of pictures, whatever batch it was written for.

    Q and DQ round as they are written; ``optimise=True`` lets ONNX Runtime put its integer kernels in their place.
    """
    session = open_session(model, optimise=optimise, threads=threads)
    feed, outputs = session.get_inputs()[0], [output.name for output in session.get_outputs()]
    fixed = feed.shape[0] if isinstance(feed.shape[0], int) else 0

    def run(images: np.ndarray) -> np.ndarray:
        found = []
        for start in range(0, len(images), fixed or BATCH):
            some = images[start : start + (fixed or BATCH)]
            missing = max(fixed - len(some), 0)
            filled = np.concatenate([some, np.repeat(some[:1], missing, axis=0)]) if missing else some
            results = dict(zip(outputs, session.run(outputs, {feed.name: filled}), strict=True))
            found.append(joined(results)[: len(some)])
        return np.concatenate(found)

    return run


class Evaluation:
    """Pictures, the reference's outputs and the truth; ``evaluate(runner)`` judges a graph.

    Without ``truth`` the reference's own answers are the truth (agreement), so a budget is then points of disagreement.
    Raises EdgesmithError when the reference itself is not finite: nothing could be compared with it.
    """

    def __init__(
        self, images: Pictures, reference: Runner, truth: Any = None, metric: Metric | None = None, *, batch: int = 32
    ) -> None:
        self.images, self.batch = images, batch
        self.reference = self.outputs(reference)  # (n, ...)
        bad = int((~np.isfinite(self.reference.reshape(len(self.reference), -1)).all(axis=1)).sum())
        if bad:
            raise EdgesmithError(
                f"The float32 graph gives outputs that are not finite on {bad} of {len(self.reference)} pictures",
                found="NaN or infinity",
                expected="finite outputs on every picture",
                because="a quantised graph is judged by its distance to them",
                attempt="check weights and preprocessing with `edgesmith export --precision fp32` first",
            )
        self.metric = metric or (AGREEMENT if truth is None else TOP1)
        self.truth = self.reference if truth is None else truth
        self.expected: Score = measure(self.metric, self.reference, self.truth)

    def __len__(self) -> int:
        return len(self.reference)

    def outputs(self, run: Runner) -> np.ndarray:
        """(n, ...) float32: the graph on every picture."""
        found = [run(batch) for batch in self.images.batches(self.batch)]
        return np.concatenate(found) if found else np.zeros((0, 1), np.float32)

    def evaluate(self, run: Runner) -> Figures:
        """Score, paired drop and distances of one graph."""
        found = self.outputs(run)
        return Figures(
            score=measure(self.metric, found, self.truth),
            drop=difference(self.metric, self.reference, found, self.truth),
            agreement=100.0 * float(same(found, self.reference).mean()),
            sqnr_db=sqnr_db(self.reference, found),
            cosine=cosine(self.reference, found),
            n=len(found),
        )

    def notes(self, max_drop: float | None = None) -> tuple[str, ...]:
        """What these pictures cannot tell, in words: too few for the budget, one class only, answers instead of labels."""
        notes, count = [], len(self)
        if self.metric is AGREEMENT:
            notes.append(
                "no labels: a point of drop is a point of disagreement with the float32 graph, not a wrong answer"
            )
        classes = np.unique(self.truth if self.metric is TOP1 else self.reference.reshape(count, -1).argmax(axis=1))
        if self.metric in (TOP1, AGREEMENT) and len(classes) == 1:
            notes.append(
                f"all {count} pictures are of class {classes[0]}: a graph that always says so would lose nothing"
            )
        if self.metric is TOP1 and self.expected.value <= 200 / self.reference[0].size:
            notes.append(
                f"the float32 graph itself is right on {self.expected.value:.1f} %: are the labels numbered as its "
                "outputs are, and the weights trained?"
            )
        if max_drop is not None and self.metric.hits is not None and 100 / count > max_drop:
            notes.append(
                f"{count} pictures move in steps of {100 / count:.2f} points, more than the budget of {max_drop:g}: it holds only "
                f"if no picture is lost on balance; {int(np.ceil(100 / max(max_drop, 0.01)))} pictures would resolve it"
            )
        return tuple(notes)
