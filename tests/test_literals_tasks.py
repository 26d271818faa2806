"""On the device a task is asked for in its own folder and nowhere else, and what an input is called stands in the bundle.

Everything outside ``runtime/tasks`` asks the task itself (``task_of(bundle.task)``), so that a new one is one file.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import edgesmith
from edgesmith.runtime.tasks.known import TASKS

RUNTIME = Path(edgesmith.__file__).parent / "runtime"
ROOM = "tasks/"
KINDS = {"Classification", "Detections", "DetectionRule", "Clicks", "Screen", "Screens"} | {
    type(task).__name__ for task in TASKS.values()
}
OTHER_IMAGES = (
    "coco/",
    "commands/cli.py",
    "report/schema.py",
    "report/words.py",
)  # a list in a COCO file, an argument, how many pictures

OTHER_WORDS = {"coco/fields.py": {"segmentation"}}  # a field of a COCO file


def sources() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(RUNTIME.rglob("*.py")):
        name = path.relative_to(RUNTIME).as_posix()
        if not name.startswith(ROOM):
            yield name, ast.parse(path.read_text(encoding="utf-8"))


def branches(file: str, tree: ast.Module) -> Iterator[str]:
    """What asks for a task by its name, by the key of its facts or by the type of its answers."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and node.value in set(TASKS) - OTHER_WORDS.get(file, set()):
            yield f"{file}:{node.lineno} {node.value!r}"
        elif isinstance(node, ast.Attribute) and node.attr in {*TASKS, *KINDS}:
            yield f"{file}:{node.lineno} .{node.attr}"
        elif isinstance(node, ast.Name) and node.id in KINDS:
            yield f"{file}:{node.lineno} {node.id}"
        elif isinstance(node, ast.ImportFrom) and any(f"tasks.{name}" in (node.module or "") for name in TASKS):
            yield f"{file}:{node.lineno} from {node.module}"


def test_no_task_is_asked_for_by_name_outside_its_folder():
    found = [line for file, tree in sources() for line in branches(file, tree)]
    assert not found, "\n".join(found)


def test_no_input_has_its_name_from_us():
    found = [
        f"{file}:{node.lineno}"
        for file, tree in sources()
        if not file.startswith(OTHER_IMAGES)
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and node.value == "images"
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "line",
    [
        'if bundle.task == "detection": pass',
        'manifest["detection"]',
        "bundle.detection",
        "isinstance(answer, Classification)",
        "from ..tasks.detection.task import rule_of",
        "from ..tasks.grounding.screens.pool import Pool",
        'session.grounding["kv"]',
    ],
)
def test_the_count_sees_what_it_is_for(line: str):
    assert list(branches("some.py", ast.parse(line)))
