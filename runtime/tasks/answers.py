"""For callers that do not say their task yet: the outputs of a graph as one array, by the names that are there."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .detection.task import NMS_OUTPUTS
from .known import TASKS, find_task

__all__ = ["NMS_OUTPUTS", "OUTPUTS", "joined", "separated"]
OUTPUTS = {name: TASKS[name].outputs for name in ("classification", "detection")}


def joined(results: Mapping[str, np.ndarray]) -> np.ndarray:
    """The outputs by name -> one float32 array."""
    return find_task("classification" if len(results) == 1 else "detection").joined(results)


def separated(answers: np.ndarray, task: str) -> dict[str, np.ndarray]:
    """The outputs of the torch model by name again."""
    return find_task(task).separated(answers)
