"""Of what kind is a value of a manifest? Small checks that are put together to tables (schema.py), and asked at the door.

    check = fields({"stage": TEXT, "seconds": FIGURE, "refused": listed(fields({"why": TEXT}))})
    check(value)  ->  None, or the first value that is of another kind: where it stands, and what is expected there

null stands for "not known" and is right for every key that a table does not need. Keys that a table does not name are nobody's business: a newer version,
or a task of others, may have written them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import BundleRefused

MAX_TEXT = 1000  # characters of a name
WORDS = ("inf", "-inf", "nan")  # as a manifest spells what JSON has no number for


@dataclass(frozen=True)
class Wrong:
    """One value that is not as it should be; ``place`` such as ``parity[2].cosine``, "" for the whole."""

    place: str
    value: Any
    expected: str

    def inside(self, key: str) -> Wrong:
        """The same, told from one level further out."""
        joined = key + self.place if self.place[:1] in ("", "[") else f"{key}.{self.place}"
        return Wrong(joined, self.value, self.expected)


Check = Callable[[Any], "Wrong | None"]


def text(most: int | None = MAX_TEXT) -> Check:
    """A text of at most so many characters."""

    def check(value: Any) -> Wrong | None:
        if value is None or (isinstance(value, str) and (most is None or len(value) <= most)):
            return None
        return Wrong("", value, "text" if most is None else f"text of at most {most:,} characters")

    return check


def whole(low: int, high: int = 2**62) -> Check:
    """A whole number in this range; true is none."""

    def check(value: Any) -> Wrong | None:
        if value is None or (type(value) is int and low <= value <= high):
            return None
        return Wrong("", value, f"a whole number from {low:,}" + (f" to {high:,}" if high < 2**62 else ""))

    return check


def number(low: float, high: float, words: bool = False) -> Check:
    """A number in this range; with ``words`` also inf, -inf and nan, spelled out."""

    def check(value: Any) -> Wrong | None:
        if value is None or (isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= high):
            return None
        if words and value in WORDS:
            return None
        return Wrong("", value, f"a number from {low:g} to {high:g}")

    return check


def _flag(value: Any) -> Wrong | None:
    return None if value is None or isinstance(value, bool) else Wrong("", value, "true or false")


def _plain(value: Any) -> Wrong | None:
    return Wrong("", value, "a text or a number") if isinstance(value, (dict, list)) else None


def listed(each: Check) -> Check:
    """A list whose entries are all of one kind, none of them null."""

    def check(value: Any) -> Wrong | None:
        if value is None:
            return None
        if not isinstance(value, list):
            return Wrong("", value, "a list")
        for at, one in enumerate(value):
            wrong = Wrong("", one, "something") if one is None else each(one)
            if wrong is not None:
                return wrong.inside(f"[{at}]")
        return None

    return check


def named(each: Check, nulls: bool = False) -> Check:
    """An object of any keys whose values are all of one kind, none of them null without ``nulls``."""

    def check(value: Any) -> Wrong | None:
        if value is None:
            return None
        if not isinstance(value, dict):
            return Wrong("", value, "an object")
        for key, one in value.items():
            wrong = Wrong("", one, "something") if one is None and not nulls else each(one)
            if wrong is not None:
                return wrong.inside(key)
        return None

    return check


def fields(known: Mapping[str, Check], needed: tuple[str, ...] = ()) -> Check:
    """An object; each key that is known is of its kind, and those that are ``needed`` are there."""

    def check(value: Any) -> Wrong | None:
        if value is None:
            return None
        if not isinstance(value, dict):
            return Wrong("", value, "an object")
        for key in needed:
            if value.get(key) is None:
                return Wrong(key, None, "something")
        for key, one in value.items():
            each = known.get(key)
            if each is not None and (wrong := each(one)) is not None:
                return wrong.inside(key)
        return None

    return check


def either(*checks: Check) -> Check:
    """What one of them takes; what the last one says is told."""

    def check(value: Any) -> Wrong | None:
        wrong = None
        for one in checks:
            wrong = one(value)
            if wrong is None:
                return None
        return wrong

    return check


TEXT, LONG_TEXT = text(), text(None)
FLAG: Check = _flag
PLAIN: Check = _plain  # shown as it is
COUNT = whole(0)
TIME = number(0, 1e300)
FIGURE = number(-1e300, 1e300, words=True)
DECIBEL = number(-3000, 3000, words=True)  # float64 holds the ratio that it stands for


def refuse(folder: Path, wrong: Wrong | None) -> None:
    """BundleRefused where there is something wrong."""
    if wrong is not None:
        raise BundleRefused(
            f"the manifest of {folder} is damaged",
            found=f"{wrong.place[:100]}: {wrong.value!r:.100}",
            expected=wrong.expected,
            because="every value is of one kind, and the runtime and the report rely on it",
            attempt="copy the bundle again, or export it again",
        )
