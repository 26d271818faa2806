"""A grounding bundle's own golden screen and instructions, run as a device runs them: for the commands that look at bundles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ....runtime.errors import BundleRefused
from ....runtime.tasks.grounding.verdict import INPUTS, SCORES

if TYPE_CHECKING:
    from ....runtime.bundle.bundle import Bundle
    from ....runtime.tasks.grounding.buckets import Bucket


@dataclass(frozen=True, eq=False)
class GoldenScreen:
    """``rows``: instructions as ids, with their template; ``scores`` (n, V) of PyTorch, in the first size of the bundle."""

    picture: np.ndarray  # (h, w, 3) uint8 RGB
    rows: tuple[tuple[int, ...], ...]
    scores: np.ndarray

    @classmethod
    def of(cls, bundle: Bundle) -> GoldenScreen:
        golden = bundle.golden
        if golden.picture is None:
            raise BundleRefused(
                "the golden file has no picture to look at", expected="edgesmith.picture", attempt="export it again"
            )
        tokens, lengths = (golden.inputs[name] for name in INPUTS)
        rows = tuple(tuple(ids[len(ids) - length :].tolist()) for ids, length in zip(tokens, lengths, strict=True))
        return cls(golden.picture, rows, golden.outputs[SCORES])


def scores_of(desk: Any, bucket: Bucket, stored: Mapping[str, np.ndarray], rows: Sequence[Sequence[int]]) -> np.ndarray:
    """(n, V) float64 of a screen that was looked at, one instruction after the other."""
    return np.concatenate([desk.scores(bucket, [stored], [ids]) for ids in rows]).astype(np.float64)
