"""The words of a manifest -> its values, and the hash that says nobody changed one of them since they were written.

Of JSON only that is read which every parser reads alike: no key twice, no NaN, no number that a float or an int64 cannot
hold. The hash goes over the values in their order, so white space may change and nothing else. It finds damage and edits
by hand; whoever forges a bundle on purpose forges it too (SECURITY.md).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

HASH = "manifest_sha256"  # the key that holds it, over all other keys
MAX_DEPTH = 32  # ours reach ten
MAX_DIGITS = 18  # of a whole number


def read_json(text: str) -> Any:
    """Strict JSON -> values; ValueError says what is not."""
    values = json.loads(text, object_pairs_hook=_no_key_twice, parse_constant=_no_number, parse_int=_whole)
    level = [values]
    for _ in range(MAX_DEPTH):
        inner = [one.values() if isinstance(one, dict) else one for one in level if isinstance(one, (dict, list))]
        level = [value for values_of_one in inner for value in values_of_one]
        if not level:
            return values
    raise ValueError(f"nested more than {MAX_DEPTH} deep")


def hash_of(manifest: Mapping[str, Any]) -> str:
    """sha256 of all keys but the hash itself; ValueError for an infinity (1e999) or half a character (a lone surrogate)."""
    rest = {key: value for key, value in manifest.items() if key != HASH}
    text = json.dumps(rest, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def sealed(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Plain JSON values with their hash, in place of one that they had."""
    return {**{key: value for key, value in manifest.items() if key != HASH}, HASH: hash_of(manifest)}


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)[:60]!r} stands there twice")
    return found


def _no_number(word: str) -> None:
    raise ValueError(f"{word} is no JSON")


def _whole(digits: str) -> int:
    if len(digits.lstrip("-")) > MAX_DIGITS:
        raise ValueError(f"a whole number of {len(digits)} digits")
    return int(digits)
