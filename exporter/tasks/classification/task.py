"""The task of classifiers in an export: one output, a number for each class; what task.py has as defaults."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ....runtime.tasks.classification import class_names
from ..task import ExportTask, shapes_of
from .logits import classes_of, find_logits

if TYPE_CHECKING:
    import onnx_ir as ir

    from ....runtime.bundle.bundle import Bundle
    from ....runtime.tasks.evaluation import Asked, Progress


class ClassificationExport(ExportTask):
    """Logits."""

    name = "classification"
    noun, verb = "classifier", "classifies"
    files = "logits batch x classes, or with further axes of one entry"

    def class_names(self, names: Sequence[str], outputs: int) -> Sequence[str]:
        """Of one output two: its sign decides between them."""
        return class_names(names, outputs)

    def claims(self, shapes: Mapping[str, Sequence[Any]]) -> dict[str, str]:
        """By name, else by shape: files of other tools call their logits what they like."""
        able = [name for name, shape in shapes.items() if classes_of(shape) is not None]
        name = find_logits(shapes) or next(iter(able), "")
        return {self.runtime.outputs[0]: name} if name else {}

    def claims_in(self, graph: ir.Graph, classes: int | None) -> dict[str, str]:
        unread = {str(value.name) for value in graph.outputs if not value.uses()}
        whole = {str(value.name) for value in graph.outputs if value.dtype and not value.dtype.is_floating_point()}
        shapes = {name: shape for name, shape in shapes_of(graph).items() if name not in whole}  # an ArgMax is no logit
        name = find_logits(shapes, classes, unread)
        return {self.runtime.outputs[0]: name} if name else {}

    def class_count(self, shapes: Sequence[Sequence[Any]]) -> Any:
        return classes_of(shapes[-1])

    def evaluate(
        self, opened: Sequence[Bundle], data: str, asked: Asked, weights: str | None, save: str | None,
        progress: Progress | None,
    ) -> dict[str, Any]:  # fmt: skip
        from .evaluate import evaluate

        return {"task": self.name, **evaluate(opened, data, asked, weights, save, progress)}

    def show(self, result: dict[str, Any], per_class: bool) -> str:
        from .evaluate import show

        return show(result, per_class)
