"""What judges a quantised graph, by task: what the pictures show, the evaluation on held-out ones, the distance of two answers.

A task is one file here, or in a package of others (``edgesmith.register_task(..., judge=...)``); only ``name`` and ``evaluation``
have to be said.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ...graph.run import Runner
from .accuracy import sqnr_db

if TYPE_CHECKING:
    from ...runtime.pictures.preprocess import ImageContract
    from ..pictures.images import ImageSet
    from ..pictures.items import Opened
    from ..pictures.sources import Truths
    from .evaluation import Evaluation


def unlabelled(data: Any, images: Any, labels: tuple[str, ...]) -> Opened | None:
    """``TaskJudge.truths`` of a task that reads nothing beside pictures, and to which their sub-folders are no classes."""
    return None


class TaskJudge(ABC):
    """One object without state a task, in a table by name (known.py)."""

    name: ClassVar[str]  # of the task, as model specs have it
    truths: ClassVar[Truths | None] = None  # reads what is in pictures that have no class of their own; None: they have

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other)  # it has no state

    def __hash__(self) -> int:
        return hash(type(self))

    @abstractmethod
    def evaluation(
        self, images: ImageSet, reference: Runner, rule: Any, contract: ImageContract, *, batch: int = 8
    ) -> Evaluation:
        """The pictures with the answers of ``reference``; ``rule`` is what the plan decided for the task, or None.

        Raises NothingFound where there is nothing to judge by.
        """

    def doubts(self, answers: np.ndarray) -> list[str]:
        """What the float32 graph's answers (n, ...) to some pictures say against them, in words; they are calibrated with."""
        return []

    def distance(self, reference: np.ndarray, found: np.ndarray) -> float:
        """Two graphs' answers (n, ...) -> dB; ranks layers. inf when equal, -inf when ``found`` is not finite."""
        return sqnr_db(reference, found)
