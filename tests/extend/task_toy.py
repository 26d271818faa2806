"""A task in one file of one's own: parsing, a class for each place of a picture, with a network to export.

picture (B, 3, H, W) > masks (B, K, H/4, W/4) > the best class of each place
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgesmith import register_model, register_task
from edgesmith.calibration.judge.accuracy import Metric
from edgesmith.calibration.judge.classification import Logits
from edgesmith.calibration.judge.evaluation import Evaluation
from edgesmith.calibration.judge.task import TaskJudge
from edgesmith.exporter.tasks.task import ExportTask
from edgesmith.models.spec import ModelSpec
from edgesmith.runtime.pictures.contract import ImageContract
from edgesmith.runtime.tasks.task import Described, ImageSize, Task, Times


def build(num_classes: int, image_size: tuple[int, int], width: int) -> Any:
    """The network: two convolutions that keep a quarter of the resolution."""
    from torch import nn  # here only, so that reading the facts is free

    return nn.Sequential(
        nn.Conv2d(3, width, 4, stride=4), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1), nn.ReLU(),
        nn.Conv2d(width, num_classes, 1),
    )  # fmt: skip


def rename(state: dict[str, Any]) -> dict[str, Any]:
    return state


@dataclass(frozen=True, eq=False)
class Segments:
    """What the model says of one picture."""

    classes: np.ndarray  # (h, w), a quarter of the network's input
    labels: Sequence[str]

    def __str__(self) -> str:
        shares = np.bincount(self.classes.ravel(), minlength=len(self.labels)) / self.classes.size
        return "\n".join(f"{share:7.2%}  {label}" for share, label in zip(shares, self.labels, strict=True))


class Segmentation(Task):
    """On the device: only what the outputs are and what they mean."""

    name = "parsing"
    outputs = ("masks",)

    def answers(
        self,
        bundle: Described,
        results: Mapping[str, np.ndarray],
        sizes: Sequence[ImageSize],
        chosen: Any,
        times: Times,
    ) -> list[Segments]:
        return [Segments(masks.argmax(axis=0), bundle.labels) for masks in results["masks"][: len(sizes)]]


class SegmentationExport(ExportTask):
    """In an export nothing differs from the defaults but the words."""

    name = "parsing"
    noun, verb = "parser", "parses"
    files = "masks batch x classes x H x W"


class Places(Logits):
    """Of a quantised graph: the share of places with the float32 graph's class."""

    def metric(self, kept: np.ndarray, truth: Any) -> tuple[Metric, Any]:
        return Metric("same places", value=self.agreement), kept

    def agreement(self, reference: np.ndarray, found: np.ndarray) -> float:
        return 100.0 * float((np.asarray(reference).argmax(axis=1) == np.asarray(found).argmax(axis=1)).mean())

    def notes(self, evaluation: Evaluation, max_drop: float | None) -> list[str]:
        return ["no masks: a point of drop is a point of places with another class than the float32 graph's"]


class SegmentationJudge(TaskJudge):
    name = "parsing"

    def evaluation(
        self, images: Any, reference: Any, rule: Any, contract: ImageContract, *, batch: int = 8
    ) -> Evaluation:
        return Evaluation(images, reference, batch=batch, view=Places())


TOY_SEGMENTER = ModelSpec(
    name="toy_segmenter",
    family="toy_segmenters",
    module=__name__,
    paper="none",
    licence_code="Apache-2.0",
    licence_weights="Apache-2.0",
    parameters=3_173,
    contract=ImageContract(size=(32, 32)),
    config={"width": 16},
    task="parsing",
    num_classes=5,
    label_names=("road", "sky", "tree", "house", "none"),
    convolutional=True,
)
TASK, EXPORT, JUDGE = Segmentation(), SegmentationExport(), SegmentationJudge()


def add() -> None:
    """What ``[project.entry-points."edgesmith"] toy = "task_toy:add"`` would name in a package that is installed."""
    register_task(TASK, export=EXPORT, judge=JUDGE)
    register_model(TOY_SEGMENTER)
