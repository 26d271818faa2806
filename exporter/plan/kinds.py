"""What a call gives for a setting is of the kind that the setting says: the command line sees to it, Python does not."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterable, Mapping
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
        if wrong := _wrong(setting.name, given[setting.name], word, bool(optional)):
            default = setting.metadata["setting"].default
            shown = f"{setting.name}={default!r}" if default is not ... else "edgesmith list shows the models"
            raise UserMistake(f"{setting.name} is of another kind", found=wrong[0], expected=wrong[1], attempt=shown)


def check_call(call: Callable[..., Any], given: Mapping[str, Any]) -> None:
    """The same for the parameters of a function of the package's face, by what its signature says of each."""
    for name, parameter in inspect.signature(call).parameters.items():
        word, _, optional = str(parameter.annotation).partition(" | ")
        several = optional == "Sequence[Place]"
        if name not in given or word not in KINDS or optional not in ("", "None", "Sequence[Place]"):
            continue
        values = [given[name]]
        if several and isinstance(given[name], (list, tuple)):
            values = list(given[name]) or [None]
        for value in values:
            if wrong := _wrong(name, value, word, optional == "None"):
                raise UserMistake(
                    f"edgesmith.{call.__name__}: {name} is of another kind",
                    found=wrong[0],
                    expected=wrong[1] + (", or a list of them" if several else ""),
                    attempt=f"help(edgesmith.{call.__name__})",
                )


def _wrong(name: str, value: Any, word: str, optional: bool) -> tuple[str, str] | None:
    """(found, expected) where a value is not of the kind that the ``word`` stands for; True is no number."""
    types, words = KINDS[word]
    if value is None and optional:
        return None
    kind_fits = isinstance(value, types) and not (isinstance(value, bool) and bool not in types)
    if kind_fits:
        if word == "Place" and (reason := _no_path(value)):
            raise UserMistake(
                f"{name} is no path",
                found=f"{value!s}"[:80],
                expected="names of at most 255 bytes, 4095 in all, none of them zero",
                because=reason[0],
                attempt=reason[1],
            )
        return None
    return f"{name}={value!r}"[:80] + f", of type {type(value).__name__}", words + (" or None" if optional else "")


def _no_path(path: str | os.PathLike[str]) -> tuple[str, str] | None:
    """Why no system has this path, and what to try; None where one may. It would be an error of the system's own, later on."""
    whole = os.fsencode(path)
    if b"\0" in whole:
        return "a byte of it is zero", "another name"
    too_long = len(whole) > 4095 or any(len(part) > 255 for part in whole.split(b"/"))
    return ("it is too long", "a shorter one") if too_long else None
