"""The tasks that can be exported, ours and those of others, by name.

find_export("detection")   the task of a name; UserMistake for one that nobody registered
register_task(...)         a task of one's own, all its parts at once
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ...runtime.errors import UserMistake
from ...runtime.ground.registry import Registry, named
from ...runtime.tasks import known
from .classification.task import ClassificationExport
from .detection.task import DetectionExport
from .features.task import FeaturesExport
from .grounding.task import GroundingExport
from .segmentation.task import SegmentationExport
from .task import ExportTask
from .tensors import TensorsExport

if TYPE_CHECKING:
    from ...calibration.judge.task import TaskJudge
    from ...models.spec import ModelSpec
    from ...runtime.tasks.task import Task

EXPORTS: Registry[ExportTask] = Registry(
    "export task",
    {
        task.name: task
        for task in (
            ClassificationExport(),
            DetectionExport(),
            GroundingExport(),
            TensorsExport(),
            FeaturesExport(),
            SegmentationExport(),
        )
    },
)


def register_task(task: Task, export: ExportTask | None = None, judge: TaskJudge | None = None) -> Task:
    """Add a task: its part on the device, and what an export and a quantisation of it need.

    Raises:
        UserMistake: a part is none, or of another name, or another task has this name; nothing was added then.
    """
    from ...calibration.judge.known import JUDGES
    from ...calibration.judge.task import TaskJudge

    known.check_task(task)
    parts: list[tuple[Registry[Any], Any]] = []
    told: tuple[tuple[Registry[Any], type, Any], ...] = ((EXPORTS, ExportTask, export), (JUDGES, TaskJudge, judge))
    for table, kind, part in told:
        if part is None:
            continue
        if (name := named(part, kind, "register_task")) != task.name:
            raise UserMistake(
                f"The {kind.__name__} is for another task",
                found=f"{type(part).__name__}.name = {name!r}",
                expected=f"name = {task.name!r}, as {type(task).__name__} has it",
                attempt=f"name = {task.name!r} in {type(part).__name__}",
            )
        table.check(name, part)
        parts.append((table, part))
    known.register_task(task)
    for table, part in parts:
        table.add(task.name, part)
    return task


def find_export(name: str) -> ExportTask:
    """The task of a name; UserMistake for one that cannot be exported."""
    if name not in EXPORTS:
        raise UserMistake(
            f"There is no export for the task {name!r}",
            found=name,
            expected=" or ".join(EXPORTS),
            attempt="install the package that brings the task, or edgesmith.register_task(..., export=...) in your program",
        )
    return EXPORTS[name]


def rules_report(task: ExportTask, rule: Any) -> dict[str, Any]:
    """The rule as a plan tells it: every task that has one has its place, empty where it is another's."""
    return {**rule_keys(), **task.entries(rule)}


def rule_keys() -> dict[str, None]:
    """Where manifests keep the rules of all tasks."""
    return {task.key: None for task in EXPORTS.values() if task.key}


def check_choices(task: ExportTask, spec: ModelSpec, choices: Mapping[str, Any]) -> None:
    """UserMistake for a choice that was made and belongs to another task."""
    for name, value in choices.items():
        owner = next((one for one in EXPORTS.values() if name in one.choices), None)
        if value is None or owner is None or name in task.choices:
            continue
        from ...models.registry import families

        flag, like = "--" + name.replace("_", "-"), next(iter(families(owner.name)), "")
        raise UserMistake(
            f"{flag} belongs to a {owner.noun}",
            found=f"{flag} {value} --model {spec.name}",
            expected=f"a model that {owner.verb}; {spec.name} is made for {spec.task}",
            attempt=f"leave {flag} out" + (f", or --model {like}" if like else ""),
        )


def each(words: str, tasks: Iterable[ExportTask] | None = None, joiner: str = " or ") -> str:
    """``words`` with the noun of every task: "two {}s" -> "two classifiers or two detectors"."""
    return joiner.join(words.format(task.noun) for task in (EXPORTS.values() if tasks is None else tasks))
