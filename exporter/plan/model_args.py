"""``--model-arg depths=1,1,1,1`` -> arguments of the network's builder: numbers, words, and tuples of them.

depths=1,1,3,1 -> (1, 1, 3, 1)    embed_dim=48 -> 48    qk_norm=true -> True    act_layer=gelu -> "gelu"
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from typing import Any

from ...models.doors.building import tuples
from ...runtime.errors import UserMistake

WORDS = {"true": True, "false": False, "none": None}
LONGEST = 4096  # characters of a value; a path fits


def model_args_of(asked: Mapping[str, Any] | str | Iterable[str]) -> dict[str, Any]:
    """The arguments by name; a call may give a mapping. UserMistake for what is no ``name=value``, or a value that is not plain."""
    if isinstance(asked, Mapping):
        pairs = [(str(name), value) for name, value in asked.items()]
    else:
        words = [asked] if isinstance(asked, str) else [str(word) for word in asked]
        pairs = [_pair(word) for word in words]
    found: dict[str, Any] = {}
    for name, value in pairs:
        if not name.isidentifier():
            raise _wrong(f"{name}={value}", "a name of letters, digits and underscores before the =")
        value = tuples(value)
        if name in found and found[name] != value:
            raise _wrong(f"{name} twice, {found[name]} and {value}", "each argument once")
        if not plain(value):
            raise _wrong(f"{name} of type {type(value).__name__}", "numbers, words, and tuples of them")
        found[name] = value
    return found


def plain(value: Any) -> bool:
    """What a manifest can hold and a command line can say."""
    if isinstance(value, tuple):
        return all(map(plain, value))
    return value is None or isinstance(value, (bool, int, float)) or (isinstance(value, str) and len(value) <= LONGEST)


def _pair(word: str) -> tuple[str, Any]:
    name, equals, value = word.partition("=")
    if not equals or not value.strip() or len(value) > LONGEST:
        raise _wrong(word[:120], "name=value, as depths=1,1,3,1")
    return name.strip().replace("-", "_"), _value(value.strip())


def _value(word: str) -> Any:
    if word.lower() in WORDS:
        return WORDS[word.lower()]
    try:
        return ast.literal_eval(word)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return tuple(map(_value, word.split(","))) if "," in word and "(" not in word else word


def _wrong(found: str, expected: str) -> UserMistake:
    return UserMistake(
        "--model-arg cannot be read",
        found=f"--model-arg {found}",
        expected=expected,
        attempt="--model-arg depths=1,1,3,1 --model-arg embed_dims=48,96,192,384",
    )
