"""What is said of each picture -> the figures of a row: top-1, calibration, classes, confusion, the worst and the changed pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ....runtime.coco.categories import distinct
from ....runtime.coco.confusion import Confused
from ....runtime.coco.intervals import wilson
from ....runtime.coco.reliability import reliability

SHOWN = 12  # pictures of a kind
Picture = tuple[str, int]  # path, class


class Judged(NamedTuple):
    """Of one picture; an answer that is no number is of class -1."""

    rank: int  # how many classes come before the right one
    found: int  # the class that is answered
    confidence: float  # its probability


class Rows:
    """The rows as they come; each but the first is also laid beside the first."""

    def __init__(self, notes: list[str]) -> None:
        self.rows: list[dict[str, Any]] = []
        self._notes = notes
        self._first: tuple[str, Sequence[Judged], Sequence[str]] | None = None

    def add(
        self, row: dict[str, Any], judged: Sequence[Judged], pictures: Sequence[Picture], labels: Sequence[str]
    ) -> None:
        row |= figures(judged, pictures, labels)
        if self._first is None:
            self._first = (row["name"], judged, labels)
        elif self._first[2] == labels:
            against, before, _ = self._first
            row["changed"] = changed(before, judged, pictures, labels, against)
        else:
            self._notes.append(f"{row['name']} has other classes than {self._first[0]}: no changed pictures")
        self.rows.append(row)


def class_words(labels: Sequence[str], pictures: Sequence[Picture], judged: Sequence[Judged]) -> list[str]:
    """A name for each class; numbers where the bundle has no names."""
    most = max(len(labels), 1 + max(known for _, known in pictures), 1 + max(one.found for one in judged))
    return distinct([*labels, *(f"class {number}" for number in range(len(labels), most))])


def figures(judged: Sequence[Judged], pictures: Sequence[Picture], labels: Sequence[str]) -> dict[str, Any]:
    """Top-1 with its interval and top-5, in percent, and what the page shows (runtime/report/evaluation)."""
    ranks, found = np.array([one.rank for one in judged]), np.array([one.found for one in judged])
    confidence = np.array([one.confidence for one in judged])
    names, right = class_words(labels, pictures, judged), ranks == 0
    low, high = wilson(int(right.sum()), len(ranks))
    sure = reliability(confidence, right)
    confused = Confused.of(len(names), np.array([known for _, known in pictures]), found)
    wrong = [int(at) for at in np.argsort(-confidence, kind="stable") if not right[at]][:SHOWN]
    return {
        "top1": 100 * float(right.mean()),
        "low": low,
        "high": high,
        "top5": 100 * float((ranks < 5).mean()),
        "pictures": len(ranks),
        "ece": sure["ece"],
        "reliability": sure["bins"],
        "per_class": confused.per_class(names),
        "confusion": confused.folded(names),
        "worst": [_told(judged[at], pictures[at], names) for at in wrong],
    }


def changed(
    before: Sequence[Judged], after: Sequence[Judged], pictures: Sequence[Picture], labels: Sequence[str], against: str
) -> dict[str, Any]:
    """The pictures whose answer is another one than that of the row ``against``: first what was right, then the surest."""
    names = class_words(labels, pictures, [*before, *after])
    differ = [at for at, (old, new) in enumerate(zip(before, after, strict=True)) if old.found != new.found]
    lost = sum(before[at].rank == 0 for at in differ)
    differ.sort(key=lambda at: (before[at].rank != 0, -after[at].confidence))
    return {
        "against": against,
        "pictures": len(differ),
        "lost": lost,
        "won": sum(after[at].rank == 0 for at in differ),
        "some": [
            {**_told(after[at], pictures[at], names), "before": _name(before[at].found, names)}
            for at in differ[:SHOWN]
        ],
    }  # fmt: skip


def _told(one: Judged, picture: Picture, names: Sequence[str]) -> dict[str, Any]:
    path, known = picture
    return {
        "picture": path,
        "truth": names[known],
        "found": _name(one.found, names),
        "confidence": 100 * one.confidence,
    }


def _name(found: int, names: Sequence[str]) -> str:
    return names[found] if found >= 0 else "nothing"
