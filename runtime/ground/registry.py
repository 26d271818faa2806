"""What can be added from outside: one table a kind (models, patterns, precisions, targets, tasks), filled by us and by others.

    edgesmith.register_model(spec)                          in a program of one's own
    [project.entry-points."edgesmith"]  mine = "mine:add"   in a package that is installed: ``add`` is called once

The entry points are called the first time that a table is listed or asked for a name that it does not have, never at import:
looking for them takes longer than to open most bundles, and a name that is there cannot be replaced.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

from ..errors import UserMistake

GROUP = "edgesmith"
NAME = re.compile(r"[a-z0-9][a-z0-9_.]*")  # of what is typed on command lines and stands in file names and manifests
T = TypeVar("T")
_called: list[bool] = []  # whether the entry points were called, by whichever table was asked first


class Registry(Mapping[str, T]):
    """Names -> things of one ``kind``, in the order they were added, those of entry points when they are needed."""

    def __init__(
        self, kind: str, ours: Mapping[str, T] | None = None, made: Mapping[str, Callable[[], T]] | None = None
    ) -> None:
        """``made``: ours too, each of them made when it is first asked for, since its modules take long to import."""
        self.kind = kind
        self._things: dict[str, T] = dict(ours or {})
        self._made = dict(made or {})

    def add(self, name: str, thing: T) -> T:
        """Add a thing and return it; the same thing twice changes nothing.

        Raises:
            UserMistake: another thing has this name.
        """
        self.check(name, thing)
        return self._things.setdefault(name, thing)

    def check(self, name: str, thing: T) -> None:
        """UserMistake where ``add`` would refuse."""
        there = self[name] if name in self._made else self._things.get(name, thing)
        if there is not thing and there != thing:
            raise UserMistake(
                f"There is a {self.kind} {name} already",
                found=f"register_{self.kind}: {name}, a second time and another one",
                expected="a name that nobody has taken",
                attempt="choose another name; what is there cannot be replaced, since bundles are known by these names",
            )

    def __getitem__(self, name: str) -> T:
        if name not in self._things:
            if name in self._made:
                return self._things.setdefault(name, self._made[name]())
            call_entry_points()
        return self._things[name]

    def __iter__(self) -> Iterator[str]:
        call_entry_points()
        return iter(dict.fromkeys((*self._made, *self._things)))

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __contains__(self, name: object) -> bool:
        if name not in self._made and name not in self._things:
            call_entry_points()
        return name in self._made or name in self._things


def named(thing: object, wanted: type, call: str) -> str:
    """The name of a thing that somebody hands to ``edgesmith.CALL``; UserMistake where it is no such thing or has none."""
    check_type(thing, wanted, call)
    name = getattr(thing, "name", None)
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise UserMistake(
            f"No {wanted.__name__} can be called {name!r}",
            found=f"edgesmith.{call}: name = {name!r}",
            expected="a name in lower case letters, digits, _ and .",
            because="it stands in command lines, file names and manifests",
            attempt="name = 'depth', for one",
        )
    return name


def check_type(thing: object, wanted: type, call: str) -> None:
    """UserMistake where something else was handed over, such as the class itself."""
    if isinstance(thing, wanted):
        return
    kind = f"{wanted.__module__}.{wanted.__name__}"
    of_class = isinstance(thing, type)
    told = f"the class {thing.__name__}" if isinstance(thing, type) else f"{type(thing).__name__} {str(thing)[:80]}"
    raise UserMistake(
        f"That is no {wanted.__name__}",
        found=f"edgesmith.{call}: {told}",
        expected=f"an object of {kind}",
        attempt="an object of that class, and not the class itself" if of_class else f"help({kind})",
    )


def call_entry_points() -> None:
    """Let installed packages register what they bring; one that fails is told in a warning and the others go on."""
    if _called:
        return
    _called.append(True)  # before the calls: what they register may look into a table itself
    from importlib.metadata import entry_points

    for entry in entry_points(group=GROUP):
        try:
            entry.load()()
        except Exception as error:  # noqa: BLE001 - code of others may raise anything
            warnings.warn(
                f"edgesmith: the extension {entry.name} ({entry.value}) was left out: {type(error).__name__}: {error}",
                RuntimeWarning,
                stacklevel=2,
            )
