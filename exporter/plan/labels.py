"""The names of the classes: those of the model, or of a file of one's own."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from ...runtime.errors import UserMistake
from ...runtime.ground.regular import read_regular

MAX_LABELS_BYTES = 64 * 1024 * 1024

if TYPE_CHECKING:
    from ...models.registry import ModelSpec
    from ..tasks.task import ExportTask


def class_names(
    spec: ModelSpec, task: ExportTask, num_classes: int | None, file: str | os.PathLike[str] | None
) -> tuple[tuple[str, ...], int]:
    """One name a class: from a file (one a line, or a JSON list), else those of the model; and how many outputs it has.

    They are as many, but for a classifier with one output, which is of two classes.
    """
    outputs = num_classes or spec.num_classes
    usual = task.class_names(spec.labels(num_classes), outputs)
    if file is None:
        return tuple(usual), outputs
    path = Path(file)
    try:
        text = read_regular(path, MAX_LABELS_BYTES).decode()
        names = json.loads(text) if text.lstrip().startswith("[") else [line.strip() for line in text.splitlines()]
    except (OSError, ValueError, RecursionError) as error:
        raise UserMistake(
            f"The class names in {path} cannot be read",
            found=str(error.strerror if isinstance(error, OSError) else error),
            expected="a text file with one name a line, or a JSON list of names",
        ) from None
    while names and names[-1] == "":
        names.pop()
    if not names or not all(isinstance(name, str) and name.strip() for name in names):
        raise UserMistake(
            f"The class names in {path} cannot be read",
            found=f"{len(names)} lines, an empty one among them" if names else "no names",
            expected="one name for each class, in the order of the model's outputs",
        )
    outputs = num_classes or len(names)
    names = task.class_names(names, outputs)
    if num_classes is not None and len(names) != len(usual):
        raise UserMistake(
            "Names and number of classes do not go together",
            found=f"{len(names)} names in {path}, --num-classes {num_classes}",
            expected="one name for each class",
            attempt=f"leave --num-classes out for the {len(names)} of the file",
        )
    return tuple(names), outputs
