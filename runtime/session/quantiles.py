"""Median and quantiles of a stream of numbers in memory that does not grow: exact for the first thousand, then within half a percent."""

from __future__ import annotations

import math
from collections import Counter

EXACT = 1000  # values that are kept as they are
STEP = math.log(1.01)  # of the classes after that; a class stands for the geometric mean of its edges
LEAST = 1e-6  # what is smaller counts as this


class RunningMedian:
    """``add`` numbers from 0 on, ask for ``value``. Between 1e-6 and 1e9 there are 3,472 classes, and no more."""

    def __init__(self) -> None:
        self.count = 0
        self._values: list[float] = []
        self._classes: Counter[int] = Counter()

    def add(self, value: float) -> None:
        self.count += 1
        if self.count <= EXACT:
            self._values.append(value)
            return
        if self._values:
            self._classes.update(map(_class, self._values))
            self._values.clear()
        self._classes[_class(value)] += 1

    @property
    def value(self) -> float:
        """The median so far; ValueError when there is none."""
        if self.count <= EXACT:
            if not self._values:
                raise ValueError("the median of nothing")
            values = sorted(self._values)  # statistics.median does just this, and its import takes longer than a frame
            return (values[(self.count - 1) // 2] + values[self.count // 2]) / 2
        return self._of_classes((self.count + 1) // 2)

    def quantile(self, share: float) -> float:
        """The smallest value that ``share`` of all (0 < share <= 1) do not exceed; ValueError when there is none."""
        rank = max(math.ceil(share * self.count), 1)
        if self.count <= EXACT:
            if not self._values:
                raise ValueError("a quantile of nothing")
            return sorted(self._values)[min(rank, self.count) - 1]
        return self._of_classes(min(rank, self.count))

    def _of_classes(self, rank: int) -> float:
        """The value of this rank, counted from 1."""
        seen = 0
        for number in sorted(self._classes):
            seen += self._classes[number]
            if seen >= rank:
                return math.exp((number + 0.5) * STEP)
        raise AssertionError("every value has a class")


def _class(value: float) -> int:
    return math.floor(math.log(min(max(value, LEAST), 1e9)) / STEP)
