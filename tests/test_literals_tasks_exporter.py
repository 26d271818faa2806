"""Which task a model has is asked in the three task folders and nowhere else, and what its input is called is said once.

The other folders ask the task itself (``plan.task``, ``find_export``, ``find_judge``), so that a new one is one file.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import edgesmith
from edgesmith.runtime.tasks.known import TASKS

ROOT = Path(edgesmith.__file__).parent
ROOMS = ("exporter/tasks/", "calibration/judge/")  # the third is runtime/tasks
KINDS = {"Classification", "Detections", "DetectionRule", "ClassificationTask", "DetectionTask"}
INPUT = "images"
# tasks whose names are also what arrays, parts of a network and modules of others are called: they count where a task is asked for
PLAIN_WORDS = {"tensors", "features", "segmentation"}
OTHER_WORDS = {"exporter/commands/doctor.py": {"features"}}  # a line of /proc/cpuinfo
COUNTED = {  # where the word is a key of another kind
    "calibration/budget/hold.py": "how many pictures",
    "calibration/pictures/arrays.py": "the array of an .npz",
    "calibration/pictures/sources.py": "the array of an .npz",
    "calibration/report/report.py": "how many pictures",
    "calibration/statistics/cache.py": "which pictures",
    "calibration/statistics/observers.py": "how many pictures",
    "exporter/commands/quant_report/report.py": "how many pictures",
    "models/fixtures/scenes.py": "a list in a COCO file",
    "exporter/grounding/plan.py": "a setting",
    "exporter/trace/tensors/plan.py": "a setting",
    "exporter/run/nouns.py": "the name itself",
}


def sources() -> Iterator[tuple[str, ast.Module]]:
    for folder in ("exporter", "calibration", "models"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def facts(tree: ast.Module) -> set[ast.AST]:
    """Where a family's facts name its task: ``task="..."``, ``"task": "..."``, and the field's default."""
    found: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg == "task":
            found.add(node.value)
        elif isinstance(node, ast.Dict):
            pairs = zip(node.keys, node.values, strict=True)
            found |= {value for key, value in pairs if isinstance(key, ast.Constant) and key.value == "task"}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == "task":
            found |= {node.value} if node.value else set()
    return found


def branches(file: str, tree: ast.Module) -> Iterator[str]:
    """What asks for a task by its name or by the type of its answers."""
    known = facts(tree) if file.startswith("models/") else set()
    compared = {part for node in ast.walk(tree) if isinstance(node, ast.Compare) for part in ast.walk(node)}
    found = {part for node in ast.walk(tree) if isinstance(node, ast.Call) and _finds(node) for part in node.args}
    for node in ast.walk(tree):
        word = node.value if isinstance(node, ast.Constant) else node.attr if isinstance(node, ast.Attribute) else None
        if word in PLAIN_WORDS and not (isinstance(node, ast.Constant) and node in compared | found):
            continue
        if word in OTHER_WORDS.get(file, ()):
            continue
        if isinstance(node, ast.Constant) and node.value in set(TASKS) and node not in known:
            yield f"{file}:{node.lineno} {node.value!r}"
        elif isinstance(node, ast.Attribute) and node.attr in TASKS:
            yield f"{file}:{node.lineno} .{node.attr}"
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "isinstance":
            named = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
            if named & KINDS:
                yield f"{file}:{node.lineno} isinstance of {', '.join(sorted(named & KINDS))}"


def _finds(call: ast.Call) -> bool:
    """Whether a task, an export or a judge is looked up."""
    name = call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")
    return name in ("find_task", "task_of", "find_export", "find_judge")


def test_no_task_is_asked_for_by_name_outside_the_task_folders():
    found = [line for file, tree in sources() if not file.startswith(ROOMS) for line in branches(file, tree)]
    assert not found, "\n".join(found)


def test_the_name_of_the_input_is_said_once():
    found = [
        f"{file}:{node.lineno}"
        for file, tree in sources()
        if file not in COUNTED
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and node.value == INPUT
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "line",
    [
        'if spec.task == "detection": pass',
        "plan.detection",
        "isinstance(answer, Classification)",
        '{"detection": rule}',
        'if spec.task == "tensors": pass',
        'find_export("tensors")',
        'if plan.spec.task == "segmentation": pass',
        'find_judge("features")',
    ],
)
def test_the_count_sees_what_it_is_for(line: str):
    assert list(branches("exporter/some.py", ast.parse(line)))
