"""Median and quantiles of a stream of numbers in memory that does not grow: exact for the first thousand, then within half a percent."""

from __future__ import annotations

import math
from array import array

EXACT = 1000  # values that are kept as they are
STEP = math.log(1.01)  # of the classes after that; a class stands for the geometric mean of its edges
LEAST, MOST = 1e-6, 1e9  # what is smaller or larger counts as these
FIRST, LAST = (math.floor(math.log(edge) / STEP) for edge in (LEAST, MOST))  # the numbers of their classes


class RunningMedian:
    """``add`` numbers from 0 on, ask for ``value``. Between 1e-6 and 1e9 there are 3,472 classes, counted in one array, so
    that values which were never seen before take no memory either."""

    def __init__(self) -> None:
        self.count = 0
        self._values: list[float] = []
        self._classes = array("Q")  # how many values each has; empty while the values themselves are kept

    def add(self, value: float) -> None:
        self.count += 1
        if self.count <= EXACT:
            self._values.append(value)
            return
        if not self._classes:
            self._classes = array("Q", bytes(8 * (LAST - FIRST + 1)))
            for kept in self._values:
                self._classes[_class(kept)] += 1
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
        for place, count in enumerate(self._classes):
            seen += count
            if seen >= rank:
                return math.exp((FIRST + place + 0.5) * STEP)
        raise AssertionError("every value has a class")


def _class(value: float) -> int:
    """The place of a value among the classes, from 0."""
    return math.floor(math.log(min(max(value, LEAST), MOST)) / STEP) - FIRST
