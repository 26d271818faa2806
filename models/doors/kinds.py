"""What networks behind a door are made for, as facts of a spec: the one place here that names tasks.

A network of one's own and an ONNX file do not say what their answers mean: ``as_task`` is what somebody says of them.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ...runtime.errors import UserMistake

if TYPE_CHECKING:
    from ..graph_file import GraphFile
    from ..spec import ModelSpec

Kind = Mapping[str, Any]

CLASSES: Kind = {}  # (B, classes): what a spec is made for where it says nothing
FEATURES: Kind = {"task": "features", "may_classify": True}  # no classifier, until it is given a number of classes
MAPS: Kind = {"task": "segmentation"}  # (B, classes, h, w)
TENSORS: Kind = {"task": "tensors"}  # anything else
OWN = f"{__package__}.own_module"  # whose answers mean what its author says
AXES = {MAPS["task"]: (4,), FEATURES["task"]: (2, 3, 4)}  # of the one output of a file


def as_task(spec: ModelSpec, task: str | None) -> ModelSpec:
    """``spec`` for what somebody says its answers mean; None: what its door says, of a function's network that says nothing features.

    UserMistake for a task that there is not, or that these answers cannot be of.
    """
    known = tuple(dict.fromkeys((*AXES, TENSORS["task"], spec.task)))
    if task is None and spec.module == OWN and spec.task == TENSORS["task"]:
        task = FEATURES["task"]
    if task is None or task == spec.task:
        return spec
    changed = _retasked(spec, task)
    if changed is None:
        near = difflib.get_close_matches(task, known, n=1, cutoff=0.5)
        able = [one for one in known if one == spec.task or _retasked(spec, one) is not None]
        raise UserMistake(
            f"{spec.name} is not made for {task}"
            if task in known
            else "There is no such task for a network of one's own",
            found=f"--task {task}",
            expected=" or ".join(able),
            because=_face(spec),
            attempt=f"--task {near[0]}" if near and near[0] in able and near[0] != task else "leave --task out",
        )
    return changed


def as_made(spec: ModelSpec, task: str | None) -> ModelSpec:
    """``as_task`` of what a bundle was made for; as it is where that asks for nothing."""
    changed = None if task is None or task == spec.task else _retasked(spec, task)
    return changed or spec


def _retasked(spec: ModelSpec, task: str) -> ModelSpec | None:
    if task == FEATURES["task"] and spec.may_go_without:
        return spec.with_classes(0)
    if spec.file is not None and len(spec.file.outputs) == len(spec.file.inputs) == 1 and task in AXES:
        return _file(spec, spec.file, task)
    if spec.module == OWN and task == FEATURES["task"]:
        said = tuple(
            note for note in spec.assumed if not note.startswith(("assumed: outputs", f"assumed: {spec.num_classes} "))
        )
        told = (*said, "its answers are taken for features")
        return replace(spec, task=task, label_names=(), assumed=told)  # its function may be given the number of outputs
    return None


def _file(spec: ModelSpec, file: GraphFile, task: str) -> ModelSpec | None:
    """A file that takes pictures; of features the values count alone, of a map each channel is a class."""
    from ..labels import numbers

    (given,) = file.outputs
    shape = given.shape or ()
    if not spec.contract_assumed or len(shape) not in AXES[task] or not given.dtype.startswith("float"):
        return None
    classes = shape[1] if task == MAPS["task"] else 0
    if not isinstance(classes, int):
        return None
    return replace(spec, task=task, num_classes=classes, label_names=tuple(numbers(classes)))


def _face(spec: ModelSpec) -> str:
    """What its answers look like, where a file says it."""
    told = (
        [f"{one.name} {one.dtype} {'x'.join(map(str, one.shape or ()))}" for one in spec.file.outputs]
        if spec.file
        else []
    )
    return f"its outputs are {', '.join(told)}" if told else ""
