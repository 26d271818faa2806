"""The part of ``bench`` that belongs to grounding: what a screen and its first instruction take, and what each further one does.

Every size of the bundle is timed with its golden screen, resized to it. Nothing of it needs a tokenizer: the golden
instructions are ids.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from .golden import GoldenScreen, scores_of

if TYPE_CHECKING:
    from ....runtime.tasks.grounding.buckets import Bucket

FIRST, FURTHER = "a screen and its first instruction", "a further instruction"


def steps(session: Any) -> dict[str, Callable[[], np.ndarray]]:
    """Two calls for each size, by what the table calls them; each gives the scores (1, V) of the first golden instruction."""
    golden, desk = GoldenScreen.of(session.bundle), session.screens()
    row = golden.rows[:1]

    def look(bucket: Bucket) -> Mapping[str, np.ndarray]:
        stored: Mapping[str, np.ndarray] = desk.look(golden.picture, bucket)[0]
        return stored

    kept = cache(look)
    found: dict[str, Callable[[], np.ndarray]] = {}
    for bucket in desk.facts.buckets:
        for name, seen in ((FIRST, look), (FURTHER, kept)):
            found[f"Edgesmith, {bucket.words}, {name}"] = partial(_click, desk, bucket, seen, row)
    return found


def _click(
    desk: Any, bucket: Bucket, seen: Callable[[Bucket], Mapping[str, np.ndarray]], row: tuple[tuple[int, ...], ...]
) -> np.ndarray:
    return scores_of(desk, bucket, seen(bucket), row)


def off(session: Any, answers: Mapping[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """``max_abs`` beside PyTorch's scores for the calls of the first size, which the golden file is of."""
    judge = GoldenScreen.of(session.bundle).scores[:1]
    return {
        name: {"max_abs": float(np.abs(found - judge).max())}
        for name, found in answers.items()
        if found.shape == judge.shape
    }
