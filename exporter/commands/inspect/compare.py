"""``edgesmith compare A B``: two bundles, ONNX files or models by name, on the same inputs; A is the judge.

What a task makes of its outputs is compared as the task does it: classifiers number by number, detectors by their detections,
after threshold and suppression of the judge (exporter/tasks). Every other output has a row of its own, and the worst row
decides (compare_outputs.py). Where sizes are open they are compared at several (compare_shapes.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ....models.registry import families
from ....runtime.bundle.bundle import open_bundle
from ....runtime.errors import UserMistake
from ....runtime.ground.limits import FP32, quantised
from ....runtime.pictures.preprocess import preprocess
from ...bundle.jump import first_jump
from ...run import arguments
from ...run import runners as verify
from ...run.foreign.words import asked_of_engine
from ...run.pictures import pictures
from ...tasks.known import each
from .compare_outputs import Pair, Verdict, gathered, paired, row_of, unlike
from .compare_shapes import common_shapes, runs
from .compare_sides import Side, aligned, check_faces, common_pictures, face_of, open_side, task_of_name
from .foreign.graphs import read_picture_graph
from .foreign.rounding import rounding_note
from .foreign.tried import try_graph

if TYPE_CHECKING:
    from ....runtime.pictures.preprocess import ImageContract
    from ...tasks.task import ExportTask

FEW = 8  # pictures at sizes beside the usual one


def compare(
    first: str,
    second: str,
    *,
    weights: str | None = None,
    num_classes: int | None = None,
    precision: str = FP32,
    data: str | None = None,
) -> dict[str, Any]:
    """Rows of agreement on seeded numbers and on pictures, and for two graphs the first node that differs.

    Raises UserMistake when one of the two cannot be opened, or their inputs, outputs, tasks or classes do not fit each other.
    """
    limit = arguments.precision(precision)
    if (task := _in_steps(first, second)) is not None:
        opened = open_bundle(first), open_bundle(second)
        made, notes = task.beside(*opened, limit, data)
        return _told(first, second, made, notes)
    judge = open_side(first, weights, num_classes, second, face_of(second))
    other = open_side(second, weights, num_classes, first, judge.face)
    try:
        _check_tasks(judge, other)
        check_faces(judge, other)
        known = _contract(judge, other)
        shapes = common_shapes(judge, other, known.size)
        for side in (judge, other):
            if side.takes and not side.takes.fixed:
                try_graph(Path(side.name), shapes[0])
        judge, other, known = common_pictures(*aligned(judge, other), known)
        pairs, notes = paired(judge, other)
        told = [(Path(side.name).name, side.takes.told) for side in (judge, other) if side.takes]
        notes += [f"{name} gets its pictures {words}" for name, words in told if words]
        paths = [picture.path for picture in pictures(data)]
        found = [side.rounding(_seeded(known, shapes[0])) for side in (judge, other)]
        notes += [
            f"{Path(side.name).name}: {rounding_note(db, side.engine)}"
            for side, db in zip((judge, other), found, strict=True)
            if db
        ]
        rows: list[dict[str, Any]] = []
        blamed: np.ndarray | None = None
        for shape in shapes:
            contract = replace(known, size=(shape[2], shape[3]))
            inputs = {"seeded": _seeded(known, shape)}
            if some := paths if shape == shapes[0] else paths[:FEW]:
                inputs["pictures"] = preprocess(some, contract)
            if quantised(limit) and len(inputs) > 1 and shape[2:] != shapes[0][2:]:
                del inputs["seeded"]  # it is judged on what it was calibrated for
            if shape != shapes[0] and (
                able := runs(judge, other, inputs["seeded"] if "seeded" in inputs else _seeded(known, shape))
            ) != (True, True):
                _not_run(judge, other, able, shape, rows, notes)
                continue
            for kind, images in inputs.items():
                made, same = _rows(judge, other, pairs, kind, images, shape, limit)
                rows += made
                if blamed is None and not same:
                    blamed = next(iter(verify.in_batches(images, shape[0])))
        difference = ""
        if judge.graph and other.graph and blamed is not None:
            difference = _difference(judge, other, blamed, limit)
    finally:
        judge.close()
        other.close()
    return _told(first, second, rows, notes, difference)


def _told(
    first: str, second: str, rows: list[dict[str, Any]], notes: list[str], difference: str = ""
) -> dict[str, Any]:
    return {
        "first": first,
        "second": second,
        "rows": rows,
        "notes": notes,
        "agree": all(row["passed"] for row in rows),
        "first_difference": difference,
    }


def _in_steps(first: str, second: str) -> ExportTask | None:
    """The task of two bundles whose answers take several graphs, None for all others; UserMistake for one beside another thing."""
    tasks = [task_of_name(name) for name in (first, second)]
    task = next((one for one in tasks if one is not None and one.in_steps), None)
    if task is None or (tasks[0] == tasks[1] and all(Path(name).is_dir() for name in (first, second))):
        return task
    raise UserMistake(
        f"A {task.noun} is compared with another bundle of one",
        found=f"{first} and {second}",
        expected="two bundles, exported from the same checkpoint",
        because="several graphs lead to its answer",
        attempt=f"edgesmith export --model {next(iter(families(task.name)))} ..., once more with other settings",
    )


def _rows(
    judge: Side, other: Side, pairs: list[Pair], kind: str, images: np.ndarray, shape: tuple[int, ...], precision: str
) -> tuple[list[dict[str, Any]], bool]:
    """The answer of the task, then the outputs beside it; and whether all of them are equal bit by bit."""
    batches = list(verify.in_batches(images, shape[0]))
    left, right = ([side.run(batch) for batch in batches] for side in (judge, other))
    rows = [_answer_row(judge, other, kind, shape, left, right, len(images), precision)]
    equal = judge.answers.keys() == other.answers.keys()
    for pair in pairs:
        ours, theirs = ([part[name] for part in parts] for parts, name in ((left, pair.judge), (right, pair.other)))
        equal = equal and all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))
        if not pair.answers:
            rows.append(row_of(pair.title, kind, shape, ours, theirs, len(images), precision))
    return rows, equal


def _answer_row(
    judge: Side,
    other: Side,
    kind: str,
    shape: tuple[int, ...],
    left: list[dict[str, np.ndarray]],
    right: list[dict[str, np.ndarray]],
    count: int,
    precision: str,
) -> dict[str, Any]:
    """The agreement of what the two answer, by their task."""
    expected, found = (
        gathered([side.answer(part) for part in parts], shape[0], count)
        for side, parts in ((judge, left), (other, right))
    )
    title = " + ".join(judge.answers)
    counts = [side.classes_of(answer) for side, answer in ((judge, expected), (other, found))]
    if None not in counts and counts[0] != counts[1]:
        raise UserMistake(
            "The two do not have the same outputs",
            found=f"{judge.name}: {counts[0]} classes, {other.name}: {counts[1]}",
            expected="the same number of classes",
            attempt="--num-classes, where one of the two is the name of a model",
        )
    task, rule = judge.task, judge.rule or other.rule
    if rule is None:
        _, rule = task.assumed()
    by_task = bool(task.runtime.finished)  # then it compares answers of other shapes too
    if why := unlike(expected, found, shapes=not by_task):
        return Verdict(title, kind, shape, count, why).to_json()
    if judge.finished:
        expected = task.opened(expected, max(counts[0] or 0, counts[1] or 0))
    row = task.agreement(
        "second", Path(other.name).name, kind, shape, expected, found, precision, rule=rule, in_graph=other.finished
    )
    return {**row.to_json(), "output": title, "told": str(row), "verdict": "holds" if row.passed else "FAILS"}


def _not_run(
    judge: Side, other: Side, able: tuple[bool, bool], shape: tuple[int, ...], rows: list[Any], notes: list[str]
) -> None:
    """Open sizes that one of the two, or neither, computes."""
    if not any(able):
        notes.append(f"neither runs at {_spell(shape)}: not compared there")
        return
    able_one, unable = (judge, other) if able[0] else (other, judge)
    why = f"{Path(able_one.name).name} runs at this size, {Path(unable.name).name} does not"
    rows.append(Verdict("all", "seeded", shape, shape[0], why).to_json())


def _check_tasks(judge: Side, other: Side) -> None:
    if judge.task is not other.task:
        raise UserMistake(
            "The two do not do the same",
            found=f"{judge.name}: {judge.task.name}, {other.name}: {other.task.name}",
            expected=each("two {}s", joiner=", or "),
            attempt="compare what was made from the same model",
        )


def _seeded(known: ImageContract, shape: tuple[int, int, int, int]) -> np.ndarray:
    """Numbers for a batch of pictures of these sizes, in the type and layout of the contract."""
    batch, _, height, width = shape
    return verify.seeded(known.shape(batch, (height, width)), known)


def _contract(judge: Side, other: Side) -> ImageContract:
    """What happens to pictures; two files without a bundle are taken to read them as models of their task usually do."""
    known = judge.contract or other.contract
    if known:
        return known
    contract, _ = judge.task.assumed()
    return contract


def _difference(judge: Side, other: Side, images: np.ndarray, precision: str) -> str:
    """The first node that differs, in words; graphs of other engines may have operators that ONNX Runtime lacks."""
    assert judge.graph is not None and other.graph is not None
    try:
        with asked_of_engine(other.graph):
            one, two = (read_picture_graph(path, face=judge.face).model for path in (judge.graph, other.graph))
            found = first_jump(one, two, judge.prepare(images), precision, theirs=other.prepare(images))
    except UserMistake as error:
        return f"not looked for, ONNX Runtime does not run both graphs: {error.found[:120]}"
    return str(found or "")


def _spell(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def table_rows(result: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The table of the command: every output at every size, in words."""
    return [
        (
            row["output"],
            f"{row['count']} {row['inputs']}",
            _spell(row["shape"]),
            row["told"],
            row["limit"],
            row["verdict"],
        )
        for row in result["rows"]
    ]
