"""What a source calls its classes -> the class numbers of the model, or a sentence about why they do not fit."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np

from ...runtime.errors import UserMistake

UNKNOWN_CLASSES = (
    "the class names of the model are not known: sub-folders balance the draw and give no labels"  # of a classifier
)
TO_TELL = (
    "Name the folders as the classes are called; or export with --labels FILE whose names are those of the folders"
)


def class_number(value: object, labels: Sequence[str], where: str) -> int:
    """A number or a name of the model -> class number; UserMistake when the model has no such class.

    Without ``labels`` any number from 0 is taken and no name.
    """
    if hasattr(value, "item") and getattr(value, "shape", None) in ((), (1,)):  # a number of numpy or torch
        value = value.item()
    number = value if isinstance(value, int) and not isinstance(value, bool) else -1
    if isinstance(value, str):
        number = _named(value, tuple(labels), int(value) if value.isdecimal() and len(value) < 10 else -1)
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

    By name first: names that a checkpoint brings are those of the folders that it was trained on. Folders 0, 1, 2 ... are
    numbers. As many folders as classes are taken in their order, where there is one only: torchvision sorts them as texts
    (1, 10, 2), timm as people do (1, 2, 10). Where two readings differ none is taken.
    """
    if not labels:
        return None, UNKNOWN_CLASSES
    named = {folder: number for folder in folders if (number := _named(folder, tuple(labels), -1)) >= 0}
    if len(named) == len(folders):
        return named, ""
    numbers = [int(folder) if folder.isdecimal() and len(folder) < 10 else -1 for folder in folders]
    if 0 in numbers and min(numbers) == 0 and max(numbers) < len(labels) and len(set(numbers)) == len(numbers):
        return dict(zip(folders, numbers, strict=True)), "the sub-folders are taken as class numbers"
    if len(folders) == len(labels):
        return _in_order(folders, labels, named)
    if 0 < min(numbers) and max(numbers) <= len(labels):
        return None, (
            f"no labels: the sub-folders {_some(sorted(folders, key=_as_people_sort))} may be class numbers from 0 or from 1 of "
            f"the {len(labels)} classes. {TO_TELL}"
        )
    strange = [folder for folder in folders if folder not in named]
    return None, (
        f"no labels: {len(strange)} of {len(folders)} sub-folders are no class of the model ({_some(strange)}), which has "
        f"{len(labels)}: {_some(labels)}"
    )


def _in_order(
    folders: Sequence[str], labels: Sequence[str], named: Mapping[str, int]
) -> tuple[Mapping[str, int] | None, str]:
    """As many folders as classes, in the one order that they have and that no name contradicts."""
    ordered, natural = sorted(folders), sorted(folders, key=_as_people_sort)
    if ordered != natural:
        return None, (
            f"no labels: the order of the sub-folders is {_some(ordered)} as texts and {_some(natural)} by their numbers, and "
            f"either may be that of the model's classes, {_some(labels)}. {TO_TELL}"
        )
    places = {folder: number for number, folder in enumerate(ordered)}
    wrong = [folder for folder, number in named.items() if places[folder] != number]
    if wrong:
        return None, (
            f"no labels: the sub-folders in sorted order are not the classes of the model: {wrong[0]} would be "
            f"{labels[places[wrong[0]]]}, and the model has a class {labels[named[wrong[0]]]}. {TO_TELL}"
        )
    pairs = [f"{folder} = {label}" for folder, label in zip(ordered, labels, strict=True)]
    return (
        places,
        f"the {len(ordered)} sub-folders in sorted order are taken as the classes of the model: {_some(pairs)}",
    )


def _as_people_sort(name: str) -> list[int | str]:
    """timm's order of class folders: numbers by their value, capitals as small letters."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"([0-9]+)", name.lower())]


def _some(items: Sequence[str]) -> str:
    return ", ".join(items[:3]) + (" ..." if len(items) > 3 else "")


def out_of_range(value: object, labels: Sequence[str], where: str) -> UserMistake:
    """The error for a label that the model does not have."""
    known = f"0 to {len(labels) - 1}, or a name such as {labels[0]!r}" if labels else "a class number from 0"
    return UserMistake(f"a label in {where} is no class of the model", found=repr(value)[:80], expected=known)


def _plain(name: str) -> str:
    return name.casefold().replace("_", " ").replace("-", " ").strip()


def _named(name: str, labels: tuple[str, ...], unknown: int) -> int:
    """The class of this very name, else of one that differs in capitals, blanks, - and _; ``unknown`` where there is none."""
    exact, plain = _class_of_name(labels)
    return exact.get(name, plain.get(_plain(name), unknown))


@lru_cache(maxsize=4)
def _class_of_name(labels: tuple[str, ...]) -> tuple[dict[str, int], dict[str, int]]:
    """Name -> number, as it is and plain; names that two classes share are left out (ImageNet has two cranes)."""
    return _unique(labels), _unique([_plain(label) for label in labels])


def _unique(names: Sequence[str]) -> dict[str, int]:
    seen: dict[str, int] = {}
    twice = {name for number, name in enumerate(names) if seen.setdefault(name, number) != number}
    return {name: number for name, number in seen.items() if name not in twice}
