"""The tasks that there are, ours and those of others, by name.

find_task("detection")   the task of a name; UserMistake for one that nobody registered
task_of(bundle)          the task of a bundle; any graph may be in one, so an unknown name has no answers and no more
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import numpy as np

from ..errors import UserMistake
from ..ground.registry import Registry, named
from .task import Described, ImageSize, Task, Times


def _classification() -> Task:
    from .classification import ClassificationTask

    return ClassificationTask()


def _detection() -> Task:
    from .detection.task import DetectionTask

    return DetectionTask()


def _grounding() -> Task:
    from .grounding.task import GroundingTask

    return GroundingTask()


def _tensors() -> Task:
    from .tensors import TensorsTask

    return TensorsTask()


def _features() -> Task:
    from .features import FeaturesTask

    return FeaturesTask()


def _segmentation() -> Task:
    from .segmentation.task import SegmentationTask

    return SegmentationTask()


MADE = {
    "classification": _classification,
    "detection": _detection,
    "grounding": _grounding,
    "tensors": _tensors,
    "features": _features,
    "segmentation": _segmentation,
}  # by who asks for one
TASKS: Registry[Task] = Registry("task", made=MADE)


def register_task(task: Task) -> Task:
    """Add a task of one's own: bundles, commands and reports find it under its name.

    Raises:
        UserMistake: no task, one without a name or outputs, or another task has this name.
    """
    check_task(task)
    return TASKS.add(task.name, task)


def check_task(task: Task) -> None:
    """UserMistake where ``register_task`` would refuse."""
    name = named(task, Task, "register_task")
    outputs = getattr(task, "outputs", None)
    if not isinstance(outputs, tuple) or not outputs or not all(isinstance(one, str) and one for one in outputs):
        raise UserMistake(
            f"The task {name} does not say what its outputs are",
            found=f"outputs = {outputs!r}",
            expected="a tuple of names, in the order in which the network returns them",
            attempt='outputs = ("masks",), with the comma',
        )
    TASKS.check(name, task)


def find_task(name: str) -> Task:
    """The task of a name; UserMistake for one that nobody registered."""
    if name not in TASKS:
        raise UserMistake(f"there is no task {name!r}", found=name, expected=", ".join(TASKS))
    return TASKS[name]


def task_of(name: str) -> Task:
    """The task of a bundle's manifest; of a name that nobody registered, one that gives outputs and refuses pictures."""
    return TASKS.get(name, UNKNOWN)


def joined(results: Mapping[str, np.ndarray]) -> np.ndarray:
    """The outputs of a graph as one float32 array, by the task whose names they have; a single output is the array."""
    if len(results) == 1:
        (only,) = results.values()
        return np.asarray(only, np.float32)
    task = next((task for task in TASKS.values() if task.gives(results)), None)
    if task is None:
        raise UserMistake(
            "The outputs of this graph are those of no task",
            found=", ".join(results),
            expected=" or ".join(", ".join(task.outputs) for task in TASKS.values()),
        )
    return task.joined(results)


class _Unknown(Task):
    """A graph that pictures alone do not ask for."""

    name = ""
    outputs = ()

    def check(self, bundle: Described, choices: Mapping[str, Any]) -> NoReturn:
        raise UserMistake(
            f"{bundle.name} does not classify or detect",
            found=f"task {bundle.task}",
            expected=" or ".join(TASKS),
            because="what the outputs mean is said by the package that brings the task, and here no such one is installed",
            attempt="install that package; session.run({name: array}) gives the outputs of any graph",
        )

    def answers(
        self,
        bundle: Described,
        results: Mapping[str, np.ndarray],
        sizes: Sequence[ImageSize],
        chosen: Any,
        times: Times,
    ) -> NoReturn:
        self.check(bundle, {})

    def choices(self, bundle: Described, options: Mapping[str, Any]) -> NoReturn:
        self.check(bundle, {})


UNKNOWN = _Unknown()
