"""``edgesmith run`` read without a parser: a line whose every word is plainly right.

Such a line means the same to every parser, and reading it here saves the full command the import of its own, which takes longer
than many a run. Whatever is not plain (help, ``key=value``, a misspelt flag, a number that is none) is left to the parser,
which can explain it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .cli import RUN_OPTIONS

if TYPE_CHECKING:
    from .run import Asked

NUMBERS = {int: re.compile(r"\d{1,9}"), float: re.compile(r"\d{1,9}(\.\d{1,9})?")}


def plain_run(words: Sequence[str]) -> Asked | None:
    """The words behind ``run`` as its settings; None where a parser has to look."""
    kinds = {flag: kind for flag, (kind, _) in RUN_OPTIONS.items()} | {
        "--backend": str,
        "--threads": int,
        "--json": bool,
    }
    places: list[str] = []
    given: dict[str, Any] = {}
    rest = iter(words)
    for word in rest:
        if not word or "=" in word or (word in given and kinds.get(word) is not list):
            return None
        if not word.startswith("-"):
            places.append(word)
            continue
        kind = kinds.get(word)
        if kind is None:
            return None
        if kind is bool:
            given[word] = True
        else:
            value = next(rest, "")
            if not value or value.startswith("-") or "=" in value:
                return None
            if kind in NUMBERS and not NUMBERS[kind].fullmatch(value):
                return None
            given[word] = (*given.get(word, ()), value) if kind is list else kind(value)
    if not places:
        return None
    from .run import Asked

    names = {flag: "as_json" if flag == "--json" else flag[2:].replace("-", "_") for flag in given}
    return Asked(places[0], tuple(places[1:]), **{names[flag]: value for flag, value in given.items()})
