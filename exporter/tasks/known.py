"""The tasks that can be exported, ours and those of others, by name.

find_export("detection")   the task of a name; UserMistake for one that nobody registered
register_task(...)         a task of one's own, all its parts at once
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ...runtime.errors import UserMistake
from ...runtime.ground.registry import Registry
from ...runtime.tasks import known
from .classification.task import ClassificationExport
from .detection.task import DetectionExport
from .task import ExportTask

if TYPE_CHECKING:
    from ...calibration.judge.task import TaskJudge
    from ...models.spec import ModelSpec
    from ...runtime.tasks.task import Task

EXPORTS: Registry[ExportTask] = Registry(
    "export task", {task.name: task for task in (ClassificationExport(), DetectionExport())}
)


def register_task(task: Task, export: ExportTask | None = None, judge: TaskJudge | None = None) -> Task:
    """Add a task: its part on the device, and what an export and a quantisation of it need.

    Raises:
        UserMistake: another task has this name.
    """
    known.register_task(task)
    if export is not None:
        EXPORTS.add(task.name, export)
    if judge is not None:
        from ...calibration.judge.known import JUDGES

        JUDGES.add(task.name, judge)
    return task


def find_export(name: str) -> ExportTask:
    """The task of a name; UserMistake for one that cannot be exported."""
    if name not in EXPORTS:
        raise UserMistake(
            f"There is no export for the task {name!r}",
            found=name,
            expected=" or ".join(EXPORTS),
            attempt="edgesmith.register_task(..., export=...)",
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
