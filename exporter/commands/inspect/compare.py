"""``edgesmith compare A B``: two bundles, ONNX files or models by name, on the same inputs; A is the judge.

How their answers are compared is the task's: classifiers number by number, detectors by their detections, after threshold
and suppression of the judge (exporter/tasks).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ....runtime.errors import UserMistake
from ....runtime.ground.limits import FP32
from ....runtime.pictures.preprocess import preprocess
from ...bundle.jump import first_jump
from ...run import arguments
from ...run import runners as verify
from ...run.pictures import pictures
from ...tasks.known import each
from .compare_sides import Side, open_side

if TYPE_CHECKING:
    from ....runtime.pictures.preprocess import ImageContract
    from ...tasks.task import Row


def compare(
    first: str,
    second: str,
    *,
    weights: str = "random",
    num_classes: int | None = None,
    precision: str = FP32,
    data: str | None = None,
) -> dict[str, Any]:
    """Rows of agreement on seeded numbers and on pictures, and for two graphs the first node that differs.

    Raises UserMistake when one of the two cannot be opened, or their inputs, tasks or classes do not fit each other.
    """
    limit = arguments.precision(precision)
    judge = open_side(first, weights, num_classes)
    other = open_side(second, weights, num_classes)
    try:
        _check_tasks(judge, other)
        shape = _common_shape(judge, other)
        contract = replace(_contract(judge, other), size=(shape[2], shape[3]))
        inputs = {"seeded": verify.seeded(shape, contract)}
        if paths := [picture.path for picture in pictures(data)]:
            inputs["pictures"] = preprocess(paths, contract)
        rows, equal = [], True
        for kind, images in inputs.items():
            expected, found = (verify.run_all(side.run, images, shape[0]) for side in (judge, other))
            rows.append(_row(judge, other, kind, shape, expected, found, limit))
            equal = equal and np.array_equal(expected, found)
        difference = ""
        if judge.graph and other.graph and not equal:
            difference = _difference(judge.graph, other.graph, inputs["seeded"], limit)
    finally:
        judge.close()
        other.close()
    return {
        "first": first,
        "second": second,
        "rows": [row.to_json() for row in rows],
        "agree": all(row.passed for row in rows),
        "first_difference": difference,
    }


def _row(
    judge: Side,
    other: Side,
    kind: str,
    shape: tuple[int, ...],
    expected: np.ndarray,
    found: np.ndarray,
    precision: str,
) -> Row:
    """The agreement on one kind of inputs, by the task of the two."""
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
    if judge.finished:
        expected = task.opened(expected, max(counts[0] or 0, counts[1] or 0))
    return task.agreement(
        "second", Path(other.name).name, kind, shape, expected, found, precision, rule=rule, in_graph=other.finished
    )


def _check_tasks(judge: Side, other: Side) -> None:
    if judge.task is not other.task:
        raise UserMistake(
            "The two do not do the same",
            found=f"{judge.name}: {judge.task.name}, {other.name}: {other.task.name}",
            expected=each("two {}s", joiner=", or "),
            attempt="compare what was made from the same model",
        )


def _contract(judge: Side, other: Side) -> ImageContract:
    """What happens to pictures; two files without a bundle are taken to read them as models of their task usually do."""
    known = judge.contract or other.contract
    if known:
        return known
    contract, _ = judge.task.assumed()
    return contract


def _difference(judge: Path, other: Path, images: np.ndarray, precision: str) -> str:
    import onnx_ir

    try:
        return str(first_jump(onnx_ir.load(judge), onnx_ir.load(other), images, precision) or "")
    except Exception as error:  # noqa: BLE001 ONNX Runtime raises a dozen types for operators of another engine
        return f"not looked for, ONNX Runtime does not run both graphs: {str(error).splitlines()[0][:120]}"


def _common_shape(judge: Side, other: Side) -> tuple[int, int, int, int]:
    """The one input shape that both take: a fixed size wins over an open one."""
    usual = (1, 3, *_contract(judge, other).size)
    sizes = []
    for ours, theirs, default in zip(judge.shape, other.shape, usual, strict=True):
        fixed = {size for size in (ours, theirs) if isinstance(size, int)}
        if len(fixed) > 1:
            raise UserMistake(
                "The two do not take the same input",
                found=f"{judge.name}: {arguments.spell(judge.shape)}, {other.name}: {arguments.spell(other.shape)}",
                expected="the same sizes, or open ones",
                attempt="export both with the same --image-size and --batch",
            )
        sizes.append(fixed.pop() if fixed else default)
    return (sizes[0], sizes[1], sizes[2], sizes[3])
