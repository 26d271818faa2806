"""What can be added from outside: one table a kind (models, patterns, precisions, targets, tasks), filled by us and by others.

    edgesmith.register_model(spec)                          in a program of one's own
    [project.entry-points."edgesmith"]  mine = "mine:add"   in a package that is installed: ``add`` is called once

An entry point is called the first time that a table is asked for a name or listed, never at import.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from typing import TypeVar

from ..errors import UserMistake

GROUP = "edgesmith"
T = TypeVar("T")
_called: list[bool] = []  # whether the entry points were called, by whichever table was asked first


class Registry(Mapping[str, T]):
    """Names -> things of one ``kind``, in the order they were added; reading it calls the entry points of others first."""

    def __init__(self, kind: str, ours: Mapping[str, T] | None = None) -> None:
        self.kind = kind
        self._things: dict[str, T] = dict(ours or {})

    def add(self, name: str, thing: T) -> T:
        """Add a thing and return it; the same thing twice changes nothing.

        Raises:
            UserMistake: another thing has this name.
        """
        if self._things.setdefault(name, thing) is not thing and self._things[name] != thing:
            raise UserMistake(
                f"There is a {self.kind} {name} already",
                found=f"register_{self.kind}: {name}, a second time and another one",
                expected="a name that nobody has taken",
                attempt="choose another name; what is there cannot be replaced, since bundles are known by these names",
            )
        return thing

    def __getitem__(self, name: str) -> T:
        call_entry_points()
        return self._things[name]

    def __iter__(self) -> Iterator[str]:
        call_entry_points()
        return iter(self._things)

    def __len__(self) -> int:
        call_entry_points()
        return len(self._things)


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
