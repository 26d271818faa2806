"""The task of networks without a classifier: what they give is compared as vectors, by distance and cosine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ....runtime.ground.numbers import smallest_cosine
from .. import rows
from ..task import ExportTask

if TYPE_CHECKING:
    from ....runtime.bundle.bundle import Bundle
    from ....runtime.tasks.evaluation import Asked, Progress


class FeaturesExport(ExportTask):
    """Features (B, C), (B, N, C) or (B, C, h, w)."""

    name = "features"
    noun, verb = "feature network", "gives features"
    files = "an output called features"

    def claims(self, shapes: Mapping[str, Sequence[Any]]) -> dict[str, str]:
        """An output of this name beside others is what a head reads."""
        return super().claims(shapes) if len(shapes) == 1 else {}

    def class_names(self, names: Sequence[str], outputs: int) -> Sequence[str]:
        """None: nothing here is a class."""
        return ()

    def agreement(
        self, stage: str, runner: str, inputs: str, shape: tuple[int, ...], judge: np.ndarray, other: np.ndarray,
        precision: str, *, rule: Any = None, in_graph: bool = False,
    ) -> rows.Row:  # fmt: skip
        return rows.agreement(stage, runner, inputs, shape, judge, other, precision, classes=False)

    def golden_figures(self, answers: np.ndarray, found: np.ndarray, rule: Any, precision: str) -> dict[str, Any]:
        return {"golden_cosine": smallest_cosine(answers, found)}

    def class_count(self, shapes: Sequence[Sequence[Any]]) -> Any:
        return None

    def apart(self, judge: np.ndarray, other: np.ndarray, rule: Any, in_graph: bool) -> dict[str, float]:
        if judge.shape != other.shape:
            return {"max_abs": float("inf")}
        return super().apart(judge, other, rule, in_graph)

    def evaluate(
        self, opened: Sequence[Bundle], data: str, asked: Asked, weights: str | None, save: str | None,
        progress: Progress | None,
    ) -> dict[str, Any]:  # fmt: skip
        from .evaluate import evaluate

        return {"task": self.name, **evaluate(opened, data, asked, weights, save, progress)}

    def show(self, result: Mapping[str, Any], per_class: bool) -> str:
        from .evaluate import show

        return show(result)
