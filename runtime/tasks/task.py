"""Pictures -> answers, by task: what a session makes of the results of its graph.

classification   logits (B, C)                            -> B Classifications
detection        boxes and scores, or those left by NMS   -> B Detections, in pixels of each picture
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..bundle.bundle import Bundle
from ..errors import UserMistake
from .answers import OUTPUTS, joined
from .classification import Classification
from .detection.detection import DetectionRule, Detections, in_image, keep_parts, kept_rows

ImageSize = tuple[int, int]  # (height, width)


@dataclass(frozen=True)
class Times:
    """How long the steps before took, for one batch."""

    preprocess_ms: float
    infer_ms: float


class Task(ABC):
    """What a session asks for its answers; made once for a bundle."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle, self.labels = bundle, bundle.labels

    @abstractmethod
    def check(self, choices: Mapping[str, Any]) -> Any:
        """What the caller chose for one call; UserMistake for what this bundle cannot do."""

    @abstractmethod
    def answers(
        self, results: Mapping[str, np.ndarray], sizes: Sequence[ImageSize], chosen: Any, times: Times
    ) -> list[Any]:
        """The answers to the first ``len(sizes)`` pictures of a batch; ``sizes`` are those of the pictures."""


class Classify(Task):
    """Logits -> classes."""

    def check(self, choices: Mapping[str, Any]) -> None:
        given = [name for name, value in choices.items() if value is not None]
        if given:
            raise UserMistake(
                f"{self.bundle.name} classifies and takes no {given[0]}",
                found=", ".join(f"{name}={choices[name]}" for name in given),
                expected="a picture or a list of pictures; thresholds belong to detectors",
            )

    def answers(
        self, results: Mapping[str, np.ndarray], sizes: Sequence[ImageSize], chosen: None, times: Times
    ) -> list[Classification]:
        logits = results[self.bundle.outputs[0].name][: len(sizes)]
        return [Classification(row, self.labels, times.preprocess_ms, times.infer_ms) for row in logits]


class Detect(Task):
    """Boxes and scores -> the boxes that count, in pixels of the picture."""

    def __init__(self, bundle: Bundle) -> None:
        super().__init__(bundle)
        self.rule, self.contract = bundle.detection, bundle.contract

    def check(self, choices: Mapping[str, Any]) -> DetectionRule:
        return self.rule.override(**choices)

    def answers(
        self, results: Mapping[str, np.ndarray], sizes: Sequence[ImageSize], chosen: DetectionRule, times: Times
    ) -> list[Detections]:
        started = time.perf_counter()
        if chosen.nms == "graph":
            kepts = [kept_rows(row, chosen) for row in joined(results)[: len(sizes)]]
            classes = max((int(kept.classes.max(initial=-1)) + 1 for kept in kepts), default=0)
            self._check_labels(classes, classes <= len(self.labels))
        else:
            boxes, scores = (np.asarray(results[name], np.float32) for name in OUTPUTS["detection"])
            self._check_labels(scores.shape[-1], scores.shape[-1] == len(self.labels))
            kepts = [keep_parts(boxes[i], scores[i], chosen) for i in range(len(sizes))]
        kepts = [in_image(kept, size, self.contract) for kept, size in zip(kepts, sizes, strict=True)]
        postprocess_ms = (time.perf_counter() - started) * 1e3
        return [
            Detections(*kept, self.labels, size, times.preprocess_ms, times.infer_ms, postprocess_ms)
            for kept, size in zip(kepts, sizes, strict=True)
        ]

    def _check_labels(self, classes: int, fits: bool) -> None:
        if not fits:
            raise UserMistake(
                "the scores do not fit the labels", found=f"{classes} classes", expected=f"{len(self.labels)} labels"
            )


TASKS: dict[str, type[Task]] = {"classification": Classify, "detection": Detect}


def find_task(bundle: Bundle) -> Task:
    """The task of a bundle; UserMistake for one that pictures alone do not ask for."""
    if bundle.task not in TASKS:
        raise UserMistake(
            f"{bundle.name} does not classify or detect",
            found=f"task {bundle.task}",
            expected=" or ".join(TASKS),
            attempt="session.run({name: array}) gives the outputs of any graph",
        )
    return TASKS[bundle.task](bundle)
