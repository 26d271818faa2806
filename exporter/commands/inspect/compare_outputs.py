"""The outputs of two graphs: which belongs to which, and how far the numbers of two are apart.

Outputs of one name are a pair; where the names differ they are paired in their order, and it is told. Whole numbers and
booleans must be equal; NaN or infinity on either side, and another shape, are verdicts of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ....runtime.errors import UserMistake
from ...tasks.rows import agreement

if TYPE_CHECKING:
    from .compare_sides import Side

EQUAL = "equal"


@dataclass(frozen=True)
class Pair:
    """An output of the judge, and the other's; ``answers``: the task compares it, with others of its kind."""

    judge: str
    other: str
    answers: bool = False

    @property
    def title(self) -> str:
        return self.judge if self.judge == self.other else f"{self.judge} / {self.other}"


@dataclass(frozen=True)
class Verdict:
    """An output that is not compared by its distance; ``why`` is empty where it holds."""

    output: str
    inputs: str
    shape: tuple[int, ...]
    count: int
    why: str
    limit: str = ""
    told: str = ""

    @property
    def passed(self) -> bool:
        return not self.why

    def to_json(self) -> dict[str, Any]:
        """As the rows of a task: with ``passed`` and the verdict in a word."""
        told = {**asdict(self), "shape": list(self.shape), "told": self.told or self.why}
        return {**told, "passed": self.passed, "verdict": "holds" if self.passed else "FAILS"}


def paired(judge: Side, other: Side) -> tuple[list[Pair], list[str]]:
    """Every output of the two, and notes on what was paired by its place. UserMistake where one has more than the other."""
    mine, theirs = ([name for name in side.outputs if name not in side.answers.values()] for side in (judge, other))
    if len(mine) != len(theirs):
        raise UserMistake(
            "The two do not have the same outputs",
            found=f"{judge.name}: {', '.join(judge.outputs)}; {other.name}: {', '.join(other.outputs)}",
            expected="as many outputs on both sides",
            because="an output that the other lacks would be passed over",
            attempt="onnx.utils.extract_model takes a file with the outputs that both have",
        )
    pairs = [Pair(judge.answers[key], other.answers[key], True) for key in judge.answers if key in other.answers]
    common = [name for name in mine if name in theirs]
    left, right = ([name for name in names if name not in common] for names in (mine, theirs))
    pairs += [Pair(name, name) for name in common]
    pairs += [Pair(one, two) for one, two in zip(left, right, strict=True)]
    placed = [pair for pair in pairs if pair.judge != pair.other]
    told = ", ".join(f"{pair.judge} with {pair.other}" for pair in placed)
    return pairs, [f"outputs of other names are compared by what they are or by their place: {told}"] if placed else []


def gathered(parts: Sequence[np.ndarray], batch: int, count: int) -> np.ndarray:
    """The batches of one output as one array of ``count`` pictures; what has no batch in front becomes a single row."""
    if all(part.ndim and part.shape[0] == batch for part in parts) and len({part.shape for part in parts}) == 1:
        return np.concatenate(parts)[:count]
    return np.concatenate([np.reshape(part, (1, -1)) for part in parts], axis=1)


def row_of(
    title: str, kind: str, shape: tuple[int, ...], left: Sequence[np.ndarray], right: Sequence[np.ndarray], count: int,
    precision: str,
) -> dict[str, Any]:  # fmt: skip
    """One output, given its batches on both sides."""
    sizes = [(a.shape, b.shape) for a, b in zip(left, right, strict=True) if a.shape != b.shape]
    if sizes:
        return Verdict(title, kind, shape, count, "shape {}, not {}".format(*reversed(sizes[0]))).to_json()
    expected, found = (gathered(parts, shape[0], count) for parts in (left, right))
    if expected.dtype.kind != "f" or found.dtype.kind != "f":
        return _exact(title, kind, shape, count, expected, found)
    if why := unlike(expected, found):
        return Verdict(title, kind, shape, count, why).to_json()
    if not expected.size:
        return Verdict(title, kind, shape, count, "", EQUAL, "no numbers in it").to_json()
    one, two = (array if array.ndim > 1 else array.reshape(len(array), -1) for array in (expected, found))
    row = agreement("second", "", kind, shape, one, two, precision)
    return {**row.to_json(), "output": title, "told": str(row), "verdict": "holds" if row.passed else "FAILS"}


def unlike(expected: np.ndarray, found: np.ndarray, shapes: bool = True) -> str:
    """Why two arrays of numbers cannot be compared by their distance; empty where they can."""
    if shapes and expected.shape != found.shape:
        return f"shape {found.shape}, not {expected.shape}"
    bad = [int((~np.isfinite(array)).sum()) for array in (expected, found)]
    if any(bad):
        return "NaN or infinity: {} of the first, {} of the second, of {}".format(*bad, expected.size)
    return ""


def _exact(
    title: str, kind: str, shape: tuple[int, ...], count: int, expected: np.ndarray, found: np.ndarray
) -> dict[str, Any]:
    """Whole numbers, booleans, words: equal or not; types may differ where the values do not."""
    if (expected.dtype.kind in "biuf") != (found.dtype.kind in "biuf"):
        return Verdict(title, kind, shape, count, f"{found.dtype}, not {expected.dtype}", EQUAL).to_json()
    off = int((expected != found).sum())
    why = f"{off} of {expected.size} values differ" if off else ""
    return Verdict(title, kind, shape, count, why, EQUAL, "" if off else f"{expected.size} values").to_json()
