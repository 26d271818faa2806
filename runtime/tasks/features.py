"""What a network without a classifier says of a picture: one vector, or one for each token or place of a map.

    (B, C)         a vector a picture                         (B, C, h, w)    a vector for each place of a map
    (B, N, C)      a vector for each of N tokens

``edgesmith run --save`` keeps them as .npy, one file a picture.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import UserMistake
from ..ground.numbers import check_finite
from .described import Described
from .task import ImageSize, Task, Times

if TYPE_CHECKING:
    from ..report.parts import Parts


def pooled(values: np.ndarray) -> np.ndarray:
    """(n, C), (n, N, C) or (n, C, h, w) -> (n, C) float64: one vector a picture, the mean over tokens or places."""
    wide = values.astype(np.float64)
    return np.asarray(wide.mean(axis=1) if wide.ndim == 3 else wide.reshape(*wide.shape[:2], -1).mean(axis=2))


def cosines(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(n, ...) twice -> (n,): the cosine of what is said of each picture, all numbers of it as one vector."""
    left, right = (array.astype(np.float64).reshape(len(array), -1) for array in (one, other))
    norms = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    return np.asarray((left * right).sum(axis=1) / np.maximum(norms, 1e-30))


@dataclass(frozen=True, eq=False)
class Features:
    """What the model says of one picture; ``str()`` is a line."""

    values: np.ndarray  # (C,), (N, C) or (C, h, w) float32
    preprocess_ms: float  # for the batch that the picture was part of
    infer_ms: float

    @property
    def pooled(self) -> np.ndarray:
        """(C,) float64: the vector itself, or the mean over tokens or places."""
        return np.asarray(pooled(self.values[None])[0])

    @property
    def norm(self) -> float:
        """The length of all values as one vector."""
        return float(np.linalg.norm(self.values.astype(np.float64)))

    def cosine(self, other: Features) -> float:
        """Of the pooled vectors of two pictures: 1 for the same direction. UserMistake where they are of two networks."""
        one, two = self.pooled, other.pooled
        if one.shape != two.shape:
            raise UserMistake(
                "these features are of two networks", found=f"{len(one)} and {len(two)} channels", expected="the same"
            )
        return float(cosines(one[None], two[None])[0])

    def __str__(self) -> str:
        shape = " x ".join(map(str, self.values.shape))
        spread = f"{self.values.min():.4g} to {self.values.max():.4g}, mean {self.values.mean():.4g}"
        return f"{shape} features, norm {self.norm:.4g}, {spread}"


class FeaturesTask(Task):
    """Features (B, C), (B, N, C) or (B, C, h, w) -> B Features."""

    name = "features"
    outputs = ("features",)
    kept_as, drawn = ".npy", False

    def answers(
        self, bundle: Described, results: Mapping[str, np.ndarray], sizes: Sequence[ImageSize], chosen: Any, times: Times
    ) -> list[Features]:  # fmt: skip
        values = np.asarray(results[bundle.outputs[0].name], np.float32)
        if values.ndim < 2 or len(values) < len(sizes) or not values.size:
            raise UserMistake(
                f"the results of {bundle.name} are no features",
                found=f"shape {values.shape}",
                expected="(batch, C), (batch, tokens, C) or (batch, C, height, width)",
                because="the graph is not the one that the manifest describes",
                attempt="copy the bundle again, or export it again",
            )
        check_finite(values, "features")
        return [Features(row, times.preprocess_ms, times.infer_ms) for row in values[: len(sizes)]]

    def in_file(self, answer: Features) -> bytes:
        buffer = io.BytesIO()
        np.save(buffer, np.ascontiguousarray(answer.values))
        return buffer.getvalue()

    def to_json(self, answer: Features, top: int | None) -> dict[str, Any]:
        values = answer.values
        told = {"min": float(values.min()), "max": float(values.max()), "mean": float(values.mean())}
        return {"shape": list(values.shape), "dtype": str(values.dtype), "norm": answer.norm, **told}

    def served(self, bundle: Described) -> dict[str, tuple[str, tuple[int, ...]]]:
        sizes = bundle.outputs[0].shape[1:]
        return {self.name: ("float32", tuple(size if isinstance(size, int) else -1 for size in sizes))}

    def in_arrays(self, answers: Sequence[Features]) -> dict[str, np.ndarray]:
        return {self.name: np.stack([answer.values for answer in answers])}

    def report(self, manifest: Mapping[str, Any]) -> Parts:
        from ..report.parts import Parts, parity

        rows = parity(manifest.get("parity") or [], manifest.get("judge"))
        return Parts(parity=rows, run_options=" --save features.npy")
