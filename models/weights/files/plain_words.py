"""What a file of others says, as plain words that anything may be done with: printed, compared, counted.

    dicts in dicts, lists, numbers, texts, objects -> the same of bounded depth, length and size; whatever else it is an Unbuilt

A list nested ten thousand deep cannot be printed, a number of ten thousand digits cannot either, and a dict may hold itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..inert_pickle import Unbuilt

DEEPEST = 6
LONGEST = 100_000  # characters of a text
MOST = 2_000_000  # values altogether
LARGEST = 2**63


def plain_words(value: Any) -> Any:
    """A copy of ``value``; objects become dicts of their attributes and items."""
    return _plain(value, DEEPEST, [MOST])


def _plain(value: Any, deeper: int, left: list[int]) -> Any:
    left[0] -= 1
    if value is None or isinstance(value, (bool, float)):
        return value
    if isinstance(value, int):
        return value if -LARGEST <= value < LARGEST else Unbuilt()
    if isinstance(value, str):
        return value if len(value) <= LONGEST else Unbuilt()
    if deeper == 0 or left[0] < 0:
        return Unbuilt()
    if isinstance(value, Unbuilt) and value.attributes:
        value = {**value.attributes, **value}
    if isinstance(value, Mapping):
        return {key: _plain(value[key], deeper - 1, left) for key in value if _usual(key)}
    if isinstance(value, (list, tuple)):
        return (
            type(value)(_plain(part, deeper - 1, left) for part in value) if type(value) in (list, tuple) else Unbuilt()
        )
    return Unbuilt()


def _usual(key: Any) -> bool:
    return isinstance(key, str) and len(key) <= LONGEST or isinstance(key, int) and -LARGEST <= key < LARGEST
