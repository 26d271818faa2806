"""The task of classifiers in an export: one output, a number for each class; what task.py has as defaults."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ....runtime.tasks.classification import class_names
from ..task import ExportTask

if TYPE_CHECKING:
    from ....runtime.bundle.bundle import Bundle
    from ....runtime.tasks.evaluation import Asked, Progress


class ClassificationExport(ExportTask):
    """Logits."""

    name = "classification"
    noun, verb = "classifier", "classifies"
    files = "logits batch x classes"

    def class_names(self, names: Sequence[str], outputs: int) -> Sequence[str]:
        """Of one output two: its sign decides between them."""
        return class_names(names, outputs)

    def claims(self, shapes: Mapping[str, Sequence[Any]]) -> dict[str, str]:
        """Two axes are enough: files of other tools call their logits what they like."""
        first, shape = next(iter(shapes.items()))
        return {self.runtime.outputs[0]: first} if len(shape) == 2 else {}

    def evaluate(
        self, opened: Sequence[Bundle], data: str, asked: Asked, weights: str | None, save: str | None,
        progress: Progress | None,
    ) -> dict[str, Any]:  # fmt: skip
        from .evaluate import evaluate

        return {"task": self.name, **evaluate(opened, data, asked, weights, save, progress)}

    def show(self, result: dict[str, Any], per_class: bool) -> str:
        from .evaluate import show

        return show(result)
