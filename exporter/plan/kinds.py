"""What a call gives for a setting is of the kind that the setting says: the command line sees to it, Python does not."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import Field
from numbers import Integral, Real
from typing import Any

from ...runtime.errors import UserMistake

# the word of an annotation -> types and how they are called; settings of several kinds are read by their own parsers
KINDS: dict[str, tuple[tuple[type, ...], str]] = {
    "int": ((Integral,), "a whole number"),
    "float": ((Real,), "a number"),
    "str": ((str,), "a word"),
    "bool": ((bool,), "True or False"),
    "Place": ((str, os.PathLike), "a path"),
}


def check_kinds(settings: Iterable[Field[Any]], given: Mapping[str, Any]) -> None:
    """UserMistake for the first value of another kind than its field's annotation says; True is no number."""
    for setting in settings:
        word, _, optional = str(setting.type).partition(" | ")
        if setting.name not in given or word not in KINDS or optional not in ("", "None"):
            continue
        value, (types, words) = given[setting.name], KINDS[word]
        if value is None and optional:
            continue
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            raise UserMistake(
                f"{setting.name} is of another kind",
                found=f"{setting.name}={value!r}, of type {type(value).__name__}"[:120],
                expected=words + (" or None" if optional else ""),
                attempt=f"{setting.name}={setting.metadata['setting'].default!r}"
                if setting.metadata["setting"].default is not ...
                else "edgesmith list shows the models",
            )
