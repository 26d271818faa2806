"""Which classes are taken for which: a small matrix for people, and precision, recall and F1 of every class.

    pairs (said by the set, said by the network, how often)  --Confused-->  folded(names), per_class(names)

Pairs and not a matrix of all classes: of 20,000 classes that would be 3 GB.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

MOST = 20  # classes that a matrix has lines for; the others stand together in one
OTHERS, NOTHING = "other classes", "nothing"


@dataclass(frozen=True, eq=False)
class Confused:
    """Of ``classes`` classes; what the network answers is ``classes`` where it says none of them."""

    classes: int
    truth: np.ndarray  # (n,) int64
    found: np.ndarray  # (n,) int64
    times: np.ndarray  # (n,) int64

    @classmethod
    def of(cls, classes: int, truth: np.ndarray, found: np.ndarray) -> Confused:
        """(n,) twice, one entry a picture or pixel; an answer outside of the classes is none."""
        right_range = (found >= 0) & (found < classes)
        codes = truth.astype(np.int64) * (classes + 1) + np.where(right_range, found, classes)
        some, times = np.unique(codes, return_counts=True)
        return cls(classes, some // (classes + 1), some % (classes + 1), times.astype(np.int64))

    @classmethod
    def joined(cls, classes: int, several: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> Confused:
        """Of the (truth, found, times) of many pictures."""
        truth, found, times = (np.concatenate([one[at] for one in several]) for at in range(3))
        some, places = np.unique(truth * (classes + 1) + found, return_inverse=True)
        sums = np.zeros(len(some), np.int64)
        np.add.at(sums, places.reshape(-1), times)
        return cls(classes, some // (classes + 1), some % (classes + 1), sums)

    def folded(self, names: Sequence[str], most: int = MOST) -> dict[str, Any]:
        """The matrix of the ``most`` classes that are confused most, as plain data: {"truth": names, "found": names, "counts": rows}.

        Rows are what the set says, columns what the network says; the rest is in a line of its own.
        """
        wrong = np.where(self.truth == self.found, 0, self.times)
        lost = np.bincount(self.truth, wrong, self.classes + 1) + np.bincount(self.found, wrong, self.classes + 1)
        many = self.classes > most
        chosen = np.sort(np.argsort(-lost[: self.classes], kind="stable")[:most]) if many else np.arange(self.classes)
        place = np.full(self.classes + 1, len(chosen), np.int64)
        place[chosen] = np.arange(len(chosen))
        place[self.classes] = len(chosen) + many
        counts = np.zeros((len(chosen) + many, len(chosen) + many + 1), np.int64)
        np.add.at(counts, (place[self.truth], place[self.found]), self.times)
        rows = [names[index] for index in chosen] + [OTHERS] * many
        silent = bool(counts[:, -1].any())
        return {
            "truth": rows,
            "found": rows + [NOTHING] * silent,
            "counts": counts[:, : len(rows) + silent].tolist(),
        }

    def per_class(self, names: Sequence[str]) -> dict[str, dict[str, float | int | None]]:
        """Name -> precision, recall and F1 in percent and support (how often the set has it); None where nothing can be said.

        precision = right / found, recall = right / support, F1 = 2 right / (found + support).
        """
        right = np.bincount(self.truth, np.where(self.truth == self.found, self.times, 0), self.classes)
        support = np.bincount(self.truth, self.times, self.classes)
        found = np.bincount(self.found, self.times, self.classes + 1)[: self.classes]
        return {
            name: {
                "precision": _percent(hits, given),
                "recall": _percent(hits, wanted),
                "f1": _percent(2 * hits, given + wanted),
                "support": int(wanted),
            }
            for name, hits, given, wanted in zip(names, right, found, support, strict=True)
        }


def _percent(part: float, whole: float) -> float | None:
    return 100 * float(part) / float(whole) if whole else None
