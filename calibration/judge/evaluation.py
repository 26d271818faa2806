"""One set of pictures that judges every candidate graph: what it loses against the float32 graph, and how sure that is.

The reference runs once; each candidate then costs one pass over the pictures.  ``notes`` say what the set cannot tell.
A ``View`` says what is kept of the answers and how two graphs' answers are compared, by task: logits in classification.py, boxes
in detection.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from ...graph.run import Runner, open_session
from ...runtime.errors import EdgesmithError, UserMistake
from ...runtime.tasks.known import joined
from .accuracy import Drop, Metric, Score, drop_between, judge

if TYPE_CHECKING:
    import onnx_ir as ir

Distance = Callable[[np.ndarray, np.ndarray], float]  # (reference's answers, a graph's) -> dB
BATCH = 8  # pictures at a time where the graph takes any number: more are no faster on a CPU and hold more memory


class NothingFound(UserMistake):
    """The reference finds nothing in pictures without annotations: there is nothing to judge by."""


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

    def run(images: np.ndarray) -> np.ndarray:
        return joined(_numbers(dict(zip(outputs, session.run(outputs, {feed.name: images}), strict=True))))

    return in_batches_of(run, feed.shape[0] if isinstance(feed.shape[0], int) else 0)


def in_batches_of(runner: Runner, fixed: int) -> Runner:
    """``runner`` on any number of pictures: ``fixed`` at a time, the last ones filled up; 0 where it takes any number."""

    def run(images: np.ndarray) -> np.ndarray:
        found = []
        for start in range(0, len(images), fixed or BATCH):
            some = images[start : start + (fixed or BATCH)]
            missing = max(fixed - len(some), 0)
            filled = np.concatenate([some, np.repeat(some[:1], missing, axis=0)]) if missing else some
            answers = runner(filled)
            if not answers.size or not answers.ndim or len(answers) != len(filled):
                raise UserMistake(
                    "The graph does not answer picture by picture",
                    found=f"an answer of shape {answers.shape} to {len(filled)} pictures",
                    expected="outputs with the batch as their first axis",
                    attempt="onnx.utils.extract_model takes a file with another output",
                )
            found.append(answers[: len(some)])
        return np.concatenate(found)

    return run


def _numbers(results: dict[str, Any]) -> dict[str, np.ndarray]:
    """The outputs of one run; UserMistake where one is a sequence, a text or missing."""
    for name, one in results.items():
        if not isinstance(one, np.ndarray) or one.dtype.kind not in "fiub":
            raise UserMistake(
                "The graph hands out what is no answer",
                found=f"{name}: {getattr(one, 'dtype', type(one).__name__)}",
                expected="outputs that are tensors of numbers",
                attempt="onnx.utils.extract_model takes a file with another output",
            )
    return results


class View(Protocol):
    """How the answers of a task are kept and compared."""

    sampled: int | None  # pictures whose whole answers are kept for SQNR and cosine; None: all

    def keep(self, answers: np.ndarray, start: int) -> Any:
        """What the metric needs of the answers to pictures ``start``, start + 1, ...: an array, or a list with one item each."""
        ...

    def metric(self, kept: Any, truth: Any) -> tuple[Metric, Any]:
        """The metric and its truth; where ``truth`` is None, made from what the reference says."""
        ...

    def agreement(self, reference: Any, found: Any) -> float:
        """Percent of the reference's answers, as they are kept, that are found again."""
        ...

    def sqnr_db(self, reference: np.ndarray, found: np.ndarray) -> float: ...

    def cosine(self, reference: np.ndarray, found: np.ndarray) -> float: ...

    def notes(self, evaluation: Evaluation, max_drop: float | None) -> list[str]: ...


class Answers(NamedTuple):
    """What one graph says to all pictures."""

    kept: Any  # one item a picture, all that the metric needs
    whole: np.ndarray  # (sampled, ...) float32
    bad: int  # pictures with an answer that is not finite


class Evaluation:
    """Pictures, the reference's answers and the truth; ``evaluate(runner)`` judges a graph.

    Without ``truth`` the reference's own answers are the truth, so a budget is then points of disagreement.
    Raises EdgesmithError when the reference itself is not finite: nothing could be compared with it.
    """

    def __init__(
        self,
        images: Pictures,
        reference: Runner,
        truth: Any = None,
        metric: Metric | None = None,
        *,
        batch: int = 32,
        view: View,
    ) -> None:
        self.images, self.batch, self.view = images, batch, view
        self.reference = self.answers(reference)
        if self.reference.bad:
            raise EdgesmithError(
                f"The float32 graph gives outputs that are not finite on {self.reference.bad} of {len(self)} pictures",
                found="NaN or infinity",
                expected="finite outputs on every picture",
                because="a quantised graph is judged by its distance to them",
                attempt="check weights and preprocessing with `edgesmith export --precision fp32` first",
            )
        usual, self.truth = self.view.metric(self.reference.kept, truth)
        self.metric = metric or usual
        self.judged = judge(self.metric, self.reference.kept, self.truth)
        self.expected: Score = self.judged.score()

    def __len__(self) -> int:
        return len(self.reference.kept)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one picture's answer."""
        return self.reference.whole.shape[1:]

    def answers(self, run: Runner) -> Answers:
        """The graph on every picture."""
        whole: list[np.ndarray] = []
        kept: list[Any] = []
        bad = start = 0
        for batch in self.images.batches(self.batch):
            found = run(batch)
            bad += int((~np.isfinite(found.reshape(len(found), -1)).all(axis=1)).sum())
            if self.view.sampled is None:
                whole.append(found)
            else:
                kept += self.view.keep(found, start)
                if start < self.view.sampled:
                    whole.append(found[: self.view.sampled - start].copy())  # a part would hold the whole batch
            start += len(found)
        array = np.concatenate(whole) if whole else np.zeros((0, 1), np.float32)
        return Answers(self.view.keep(array, 0) if self.view.sampled is None else kept, array, bad)

    def evaluate(self, run: Runner) -> Figures:
        """Score, paired drop and distances of one graph."""
        found, reference = self.answers(run), self.reference
        judged = judge(self.metric, found.kept, self.truth)
        return Figures(
            score=judged.score(),
            drop=drop_between(self.judged, judged),
            agreement=self.view.agreement(reference.kept, found.kept),
            sqnr_db=self.view.sqnr_db(reference.whole, found.whole),
            cosine=self.view.cosine(reference.whole, found.whole),
            n=len(found.kept),
        )

    def notes(self, max_drop: float | None = None) -> tuple[str, ...]:
        """What these pictures cannot tell, in words: too few for the budget, one class only, answers instead of labels."""
        return tuple(self.view.notes(self, max_drop))
