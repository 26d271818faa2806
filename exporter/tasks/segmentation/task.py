"""The task of segmenters in an export: logits for each place of a map, whatever its stride."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ....runtime.ground.numbers import smallest_cosine
from ....runtime.tasks.classification import class_names
from ...run.runners import Runner
from ..task import ExportTask

if TYPE_CHECKING:
    from ....runtime.bundle.bundle import Bundle
    from ....runtime.pictures.preprocess import ImageContract, Picture
    from ....runtime.tasks.evaluation import Asked, Progress


class SegmentationExport(ExportTask):
    """Logits (B, C, h, w)."""

    name = "segmentation"
    noun, verb = "segmenter", "segments"
    files = "logits batch x classes x height x width"
    golden_pictures = 1  # an answer is a map for each class
    draws = True

    def class_names(self, names: Sequence[str], outputs: int) -> Sequence[str]:
        """Of one channel two: its sign decides between them."""
        return class_names(names, outputs)

    def fitted(self, contract: ImageContract, choices: Mapping[str, Any]) -> ImageContract:
        """The whole picture where nothing says how pictures are prepared: what a crop leaves out would have no class."""
        from dataclasses import replace

        return replace(contract, fit="stretch", crop_fraction=1.0) if contract == contract.usual() else contract

    def golden_figures(self, answers: np.ndarray, found: np.ndarray, rule: Any, precision: str) -> dict[str, Any]:
        return {"golden_cosine": smallest_cosine(answers, found)}

    def pictures(
        self, inputs: Sequence[tuple[str, Picture]], judge: Runner, bundle: Runner, rule: Any, contract: ImageContract,
        labels: Sequence[str], batch: int,
    ) -> tuple[dict[str, bytes], dict[str, Any]]:  # fmt: skip
        from .pictures import side_by_side

        files, report = side_by_side(inputs, judge, bundle, contract, labels, batch)
        return files, {"segmentation_report": report}

    def claims(self, shapes: Mapping[str, Sequence[Any]]) -> dict[str, str]:
        """By name, else the one output of a file that is a map."""
        if named := super().claims(shapes):
            return named
        (name, shape), *others = shapes.items()
        a_map = len(shape) == 4 and all(size != 1 for size in shape[2:]) and isinstance(shape[1], int)
        return {self.runtime.outputs[0]: name} if a_map and not others else {}

    def class_count(self, shapes: Sequence[Sequence[Any]]) -> Any:
        return shapes[-1][1]

    def evaluate(
        self, opened: Sequence[Bundle], data: str, asked: Asked, weights: str | None, save: str | None,
        progress: Progress | None,
    ) -> dict[str, Any]:  # fmt: skip
        from .evaluate import evaluate

        return evaluate(opened, data, asked, weights, save, progress)
