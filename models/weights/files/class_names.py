"""A file with the names of the classes -> the names in the order of the outputs, in whichever of the usual forms.

    cat                      one a line
    ["cat", "dog"]           JSON: a list; a dict by index, {"0": "cat"} or {"0": ["n02123045", "cat"]}; a dict of indexes, {"cat": 0}
    {"id2label": ...}        config.json of transformers, class_to_idx of torchvision, categories of COCO
    names: [cat, dog]        data.yaml of the YOLO trainings, as a list or by index
    index,name               CSV, with a header in either order or without one

Errors name what is wrong with the file that was given, and never advise the form that it has already.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ....runtime.errors import UserMistake
from .plain_words import plain_words

MOST_CLASSES = 1_000_000
# where the names stand inside a larger file, the most certain first
KEYS = ("names", "id2label", "class_names", "classes", "class_to_idx", "label2id", "label_names", "categories")
INDEX, NAME = (
    ("index", "id", "idx", "class_id", "label_id", "number"),
    ("name", "label", "class", "class_name", "names"),
)
MARKS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))  # of a byte order


def names_in(data: bytes, path: Path) -> list[str]:
    """The names in the bytes of ``path``; UserMistake where they cannot be read or some class has no name."""
    try:
        encoding = next((one for mark, one in MARKS if data.startswith(mark)), "utf-8")
        return _names(data.decode(encoding), path.suffix.lower(), path)
    except (ValueError, RecursionError) as error:
        raise refused(path, str(error)[:200] or type(error).__name__) from None


def refused(path: Path, found: str, attempt: str = "") -> UserMistake:
    return UserMistake(
        f"The class names in {path} cannot be read",
        found=found,
        expected="one name for each class: text with one name a line, or JSON, YAML or CSV that says them by index",
        attempt=attempt,
    )


def _names(text: str, suffix: str, path: Path) -> list[str]:
    if suffix in (".yaml", ".yml"):
        return _said(_yaml(text, path), path)
    if suffix == ".json" or text.lstrip()[:1] in ("[", "{"):
        return _said(json.loads(text), path)
    if suffix in (".csv", ".tsv"):
        return _rows(text, "\t" if suffix == ".tsv" else ",", path)
    names = [line.strip() for line in text.splitlines()]
    while names and names[-1] == "":
        names.pop()
    if "" in names:
        at = names.index("") + 1
        raise refused(
            path, f"{len(names)} lines, an empty one among them: line {at}", f"a name in line {at}, or without it"
        )
    return _checked(names, path)


def _yaml(text: str, path: Path) -> Any:
    import yaml  # type: ignore[import-untyped]

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise refused(path, f"no YAML: {str(error).splitlines()[0]}"[:200]) from None


def _said(words: Any, path: Path, inside: str = "") -> list[str]:
    """Names out of what JSON or YAML says."""
    words = plain_words(words)
    if isinstance(words, Mapping) and not inside:
        key = next((key for key in KEYS if isinstance(words.get(key), (list, Mapping)) and words[key]), "")
        if key:
            names = _said(words[key], path, key)
            if type(count := words.get("nc")) is int and count != len(names):
                raise refused(
                    path, f"{len(names)} names, and nc says {count}", "the file of the training that was done"
                )
            return names
    if isinstance(words, list):
        return _checked(_of_list(words), path)
    if not isinstance(words, Mapping) or not words:
        raise refused(path, "no names" if not words else f"{type(words).__name__} in place of names")
    if all(type(index) is int for index in words.values()):
        return _by_index([(index, name) for name, index in words.items()], path)
    indexes = [_index(key) for key in words]
    if -1 in indexes:
        strange = list(words)[indexes.index(-1)]
        raise refused(
            path, f"keys that are no class numbers: {strange!r}"[:200], "the part with the names in a file of its own"
        )
    return _by_index(list(zip(indexes, map(_last, words.values()), strict=True)), path)


def _of_list(words: list[Any]) -> list[Any]:
    """Names, or COCO's categories: dicts with an id and a name, in the order of their ids."""
    if not words or not all(isinstance(one, Mapping) and "name" in one for one in words):
        return [_last(one) for one in words]
    if all(type(one.get("id")) is int for one in words):
        words = sorted(words, key=lambda one: one["id"])
    return [one["name"] for one in words]


def _last(value: Any) -> Any:
    """ImageNet's dict says the synset first, then the name."""
    return value[-1] if isinstance(value, list) and len(value) == 2 else value


def _index(key: Any) -> int:
    """A class number, -1 where it is none."""
    text = str(key).strip()
    return int(text) if len(text) < 10 and text.isdecimal() else -1


def _rows(text: str, separator: str, path: Path) -> list[str]:
    """A table with an index and a name a row, or with names alone."""
    try:
        rows = [
            [cell.strip() for cell in row] for row in csv.reader(io.StringIO(text, newline=""), delimiter=separator)
        ]
    except csv.Error as error:
        raise refused(path, f"no CSV: {error}") from None
    rows = [row for row in rows if any(row)]
    if not rows:
        raise refused(path, "no names")
    head = [cell.lower() for cell in rows[0]]
    place: Callable[[tuple[str, ...]], int] = lambda words: next(
        (at for at, cell in enumerate(head) if cell in words), -1
    )
    at_index, at_name = place(INDEX), place(NAME)
    body = rows[1:] if at_index >= 0 or at_name >= 0 else rows
    if at_index < 0 and at_name < 0 and len(head) == 2:  # no header: which column counts?
        at_index = next((at for at in (0, 1) if all(len(row) == 2 and _index(row[at]) >= 0 for row in rows)), -1)
    if at_name < 0:
        at_name = next((at for at in range(len(head)) if at != at_index), 0)
    if at_index < 0 and len(head) > 1 and body is rows:
        raise refused(path, f"{len(head)} columns without a header", "a first line: index,name")
    short = next((number for number, row in enumerate(body, 1) if len(row) <= max(at_index, at_name)), 0)
    if short:
        raise refused(path, f"row {short} has fewer columns than the others", "a name in each row")
    if at_index < 0:
        return _checked([row[at_name] for row in body], path)
    if wrong := [row[at_index] for row in body if _index(row[at_index]) < 0]:
        raise refused(path, f"{wrong[0]!r} as a class number"[:200], "whole numbers from 0")
    return _by_index([(_index(row[at_index]), row[at_name]) for row in body], path)


def _by_index(pairs: list[tuple[int, Any]], path: Path) -> list[str]:
    """Each class from 0 on has one name."""
    named = dict(pairs)
    if len(named) < len(pairs):
        seen: set[int] = set()
        twice = next(index for index, _ in pairs if index in seen or seen.add(index))  # type: ignore[func-returns-value]
        raise refused(path, f"several names for class {twice}", "one name for each class number")
    missing = next((index for index in range(len(named)) if index not in named), None)
    if missing is not None:
        higher = max(named)
        raise refused(
            path, f"no name for class {missing}, and one for class {higher}", "names for all classes from 0 on"
        )
    return _checked([named[index] for index in range(len(named))], path)


def _checked(names: list[Any], path: Path) -> list[str]:
    if not names or len(names) > MOST_CLASSES:
        raise refused(path, f"{len(names)} names" if names else "no names")
    for index, name in enumerate(names):
        if not isinstance(name, str) or not name.strip():
            kind = "an empty name" if isinstance(name, str) else f"{str(name)[:40]} ({type(name).__name__}), no name,"
            raise refused(
                path, f"{kind} for class {index}", "put it in quotes" if isinstance(name, (int, float)) else ""
            )
        if any("\ud800" <= letter <= "\udfff" for letter in name):
            raise refused(path, f"half of a character in the name of class {index}", "save the file as UTF-8")
    return [name.strip() for name in names]
