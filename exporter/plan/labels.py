"""The names of the classes: those of the model, or of a file of one's own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from ...models.weights.files.class_names import names_in, refused
from ...runtime.errors import UserMistake
from ...runtime.ground.regular import read_regular

MAX_LABELS_BYTES = 64 * 1024 * 1024

if TYPE_CHECKING:
    from ...models.registry import ModelSpec
    from ..tasks.task import ExportTask


def class_names(
    spec: ModelSpec, task: ExportTask, num_classes: int | None, file: str | os.PathLike[str] | None
) -> tuple[tuple[str, ...], int]:
    """One name a class, from a file or else those of the model; and how many outputs it has.

    They are as many, but for a classifier with one output, which is of two classes. The forms of a file stand in names_in.
    """
    outputs = num_classes or spec.num_classes
    usual = task.class_names(spec.labels(num_classes), outputs)
    if file is None:
        return tuple(usual), outputs
    path = Path(file)
    try:
        data = read_regular(path, MAX_LABELS_BYTES)
    except (OSError, ValueError) as error:  # the second: a path that no file can have
        raise refused(path, str(error.strerror if isinstance(error, OSError) else error)) from None
    names = names_in(data, path)
    outputs = num_classes or len(names)
    all_names = task.class_names(names, outputs)
    if num_classes is not None and len(all_names) != len(usual):
        raise UserMistake(
            "Names and number of classes do not go together",
            found=f"{len(names)} names in {path}, --num-classes {num_classes}",
            expected="one name for each class that the checkpoint has",
            attempt=f"a file with {num_classes} names, or no --labels: the classes are numbered then",
        )
    return tuple(all_names), outputs
