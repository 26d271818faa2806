"""What a source calls its classes -> the class numbers of the model, or a sentence about why they do not fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np

from ...runtime.errors import UserMistake

UNKNOWN_CLASSES = (
    "the class names of the model are not known: sub-folders balance the draw and give no labels"  # of a classifier
)


def class_number(value: object, labels: Sequence[str], where: str) -> int:
    """A number or a name of the model -> class number; UserMistake when the model has no such class.

    Without ``labels`` any number from 0 is taken and no name.
    """
    if hasattr(value, "item") and getattr(value, "shape", None) in ((), (1,)):  # a number of numpy or torch
        value = value.item()
    number = value if isinstance(value, int) and not isinstance(value, bool) else -1
    if isinstance(value, str):
        names = _plain_names(tuple(labels))
        number = names.get(_plain(value), int(value) if value.isdecimal() else -1)
    if number < 0 or (labels and number >= len(labels)):
        raise out_of_range(value, labels, where)
    return number


def class_numbers(values: np.ndarray, count: int, labels: Sequence[str], where: str) -> tuple[int, ...]:
    """An array of ``count`` integers or names -> class numbers; UserMistake for another shape, type or range."""
    values = values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values
    if values.ndim != 1 or values.dtype.kind not in "iuU":
        raise UserMistake(
            f"the labels in {where} cannot be used",
            found=f"{values.dtype} of shape {values.shape}",
            expected=f"one class number a picture: integers of shape ({count},)",
            attempt="labels.argmax(axis=1) turns one-hot rows into numbers",
        )
    if len(values) != count:
        raise UserMistake(
            f"the labels in {where} do not fit the pictures",
            found=f"{len(values)} labels for {count} pictures",
            expected="as many labels as pictures, in the same order",
        )
    if values.dtype.kind == "U":
        return tuple(class_number(str(value), labels, where) for value in values)
    for extreme in (values.min(), values.max()) if count else ():
        class_number(int(extreme), labels, where)
    return tuple(int(value) for value in values)


def folder_classes(folders: Sequence[str], labels: Sequence[str]) -> tuple[Mapping[str, int] | None, str]:
    """Names of sub-folders -> (class number of each or None, a note where something was assumed or left out).

    By name first; folders 0, 1, 2 ... are numbers; as many folders as classes are taken in sorted order.
    """
    if not labels:
        return None, UNKNOWN_CLASSES
    names = _plain_names(tuple(labels))
    if all(_plain(folder) in names for folder in folders):
        return {folder: names[_plain(folder)] for folder in folders}, ""
    numbers = [int(folder) if folder.isdecimal() else -1 for folder in folders]
    if 0 <= min(numbers) and max(numbers) < len(labels) and len(set(numbers)) == len(numbers):
        return dict(zip(folders, numbers, strict=True)), "the sub-folders are taken as class numbers"
    if len(folders) == len(labels):
        ordered = sorted(folders)
        note = f"the {len(ordered)} sub-folders in sorted order are taken as the classes of the model: " + ", ".join(
            f"{folder} = {label}" for folder, label in list(zip(ordered, labels, strict=True))[:3]
        )
        return {folder: number for number, folder in enumerate(ordered)}, note + (" ..." if len(ordered) > 3 else "")
    strange = [folder for folder in folders if _plain(folder) not in names]
    return None, (
        f"no labels: {len(strange)} of {len(folders)} sub-folders are no class of the model "
        f"({', '.join(strange[:3])}{' ...' if len(strange) > 3 else ''}), which has {len(labels)}: "
        f"{', '.join(labels[:3])}{' ...' if len(labels) > 3 else ''}"
    )


def out_of_range(value: object, labels: Sequence[str], where: str) -> UserMistake:
    """The error for a label that the model does not have."""
    known = f"0 to {len(labels) - 1}, or a name such as {labels[0]!r}" if labels else "a class number from 0"
    return UserMistake(f"a label in {where} is no class of the model", found=repr(value)[:80], expected=known)


def _plain(name: str) -> str:
    return name.casefold().replace("_", " ").replace("-", " ").strip()


@lru_cache(maxsize=4)
def _plain_names(labels: tuple[str, ...]) -> dict[str, int]:
    """Plain name -> number, names that two classes share left out (ImageNet has two cranes)."""
    plain = [_plain(label) for label in labels]
    seen: dict[str, int] = {}
    twice = {name for number, name in enumerate(plain) if seen.setdefault(name, number) != number}
    return {name: number for name, number in seen.items() if name not in twice}
