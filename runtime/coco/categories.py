"""The categories of an annotation file -> the classes of the model, or an error that shows both."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import UserMistake


def classes_of(
    path: Path,
    categories: Sequence[Mapping[str, Any]],
    annotations: Sequence[Mapping[str, Any]],
    labels: Sequence[str],
    notes: list[str],
) -> dict[Any, int]:
    """Category id -> class.

    By name where the model's names are all listed, or all names that are annotated are the model's; else in the order of
    the ids where there are as many as classes and no name says otherwise.  Without ``labels`` by the order of the ids.
    """
    names = _names(path, categories)
    used = Counter(str(entry.get("category_id")) for entry in annotations)
    if not labels:
        return {number: index for index, number in enumerate(sorted(names))}
    count = Counter(map(plain, labels))
    shared = {name for name, times in count.items() if times > 1}  # which of the classes is meant nobody can tell
    known = {plain(label): index for index, label in enumerate(labels) if plain(label) not in shared}
    by_name = {number: known[plain(name)] for number, name in names.items() if plain(name) in known}
    strange = [number for number in names if number not in by_name]
    annotated = [number for number in names if used[str(number)]]
    unclear = [names[number] for number in annotated if plain(names[number]) in shared]
    if by_name and not unclear and (len(by_name) == len(known) or all(number in by_name for number in annotated)):
        if strange:
            notes.append(f"categories that the model does not have: {_some([names[number] for number in strange])}")
        missing = [label for index, label in enumerate(labels) if index not in by_name.values()]
        if missing:
            notes.append(f"{len(missing)} classes of the model have no category and do not count: {_some(missing)}")
        return by_name
    in_order = {number: index for index, number in enumerate(sorted(names))}
    if len(names) == len(labels) and all(in_order[number] == index for number, index in by_name.items()):
        pairs = [(names[number], labels[index]) for number, index in in_order.items() if number not in by_name]
        notes.append(
            f"{len(pairs)} categories are taken in the order of their ids: " + _some([f"{a} = {b}" for a, b in pairs])
        )
        return in_order
    words = f"{len(strange)} names are unknown to the model ({_some([names[number] for number in strange])})"
    raise UserMistake(
        f"{path}: the categories are not the classes of the model",
        found=f"{len(names)} categories: {_some([f'{number} {name}' for number, name in sorted(names.items())])}",
        expected=f"{len(labels)} classes: {_some(list(labels))}",
        because=f"{'several classes of the model are called ' + unclear[0] if unclear else words}, and the ids cannot be matched "
        "by their order",
        attempt="name the categories as the model's labels.json does; spaces and capitals do not matter",
    )


def plain(name: str) -> str:
    """A name without what does not matter: capitals, spaces, - and _."""
    return "".join(letter for letter in name.casefold() if letter not in " _-\t\n")


def distinct(labels: Sequence[str]) -> list[str]:
    """A name for each class that no other one has: of two cranes ``crane (134)`` and ``crane (517)``."""
    count = Counter(labels)
    return [f"{label} ({index})" if count[label] > 1 else label for index, label in enumerate(labels)]


def _names(path: Path, categories: Sequence[Mapping[str, Any]]) -> dict[int, str]:
    names: dict[int, str] = {}
    for position, entry in enumerate(categories):
        number, name = entry.get("id"), entry.get("name")
        if type(number) is not int or not isinstance(name, str):
            raise UserMistake(
                f"{path}: entry {position} of categories cannot be used",
                found=f"id {number!r}, name {name!r}",
                expected='{"id": a whole number, "name": a text}',
            )
        if number in names:
            raise UserMistake(f"{path} has two categories with the id {number}", found=f"{names[number]} and {name}")
        names[number] = name
    twice = [name for name, count in Counter(map(plain, names.values())).items() if count > 1]
    if twice:
        same = [f"{number} {name}" for number, name in names.items() if plain(name) == twice[0]]
        raise UserMistake(
            f"{path} has several categories of one name",
            found=", ".join(same),
            because="which class they mean could only be guessed",
            attempt="merge them under one id, or give each its own name",
        )
    if not names:
        raise UserMistake(f"{path} lists no category", found='"categories": []', expected="one for each class")
    return names


def _some(items: Sequence[Any]) -> str:
    return ", ".join(map(str, items[:4])) + (f" and {len(items) - 4} more" if len(items) > 4 else "")
