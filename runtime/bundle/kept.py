"""An open bundle stays the one that was opened, whatever comes to its place: files are held open, or known again, or refused.

A bundle is replaced by renaming folders, which a file that is open does not notice. What is read by its name later on must
still be what was hashed: by what the system says of the file, and where that differs, by the hash.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from ..errors import BundleChanged
from .onnx_scan import scan
from .vet import sha256

State = tuple[int, ...]
OURS = frozenset(
    {".onnx", ".json", ".npz", ".html", ".zip", ".engine"}
)  # a bundle of these alone has no external weights


def states(folder: Path, names: Iterable[str]) -> dict[str, State]:
    """What the system says of each file that is there; asked before the files are hashed."""
    return {name: state for name in names if (state := _state(folder / name))}


def check_same(folder: Path, names: Iterable[str], seen: Mapping[str, State], manifest: Mapping[str, Any]) -> None:
    """BundleChanged for the first file that is not the one of this manifest any more."""
    for name in names:
        state = _state(folder / name)
        if state is not None and state == seen.get(name):
            continue
        if state is None or sha256(folder / name) != manifest["files"][name]["sha256"]:
            raise changed(folder, name)


def place_of(folder: Path) -> State | None:
    """What the system says of the folder itself: (device, number, time of its entries, time of its name) in ns."""
    try:
        found = os.stat(folder)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_ctime_ns


def was_moved(before: State | None, after: State | None) -> bool:
    """Whether another folder stood here, for a moment too: a rename is told by the second time alone, a new entry by both."""
    if before is None or after is None or before[:2] != after[:2]:
        return True
    return before[2] == after[2] and before[3] != after[3]


def changed(folder: Path, name: str) -> BundleChanged:
    """The words for a file that is not what it was."""
    return BundleChanged(
        f"{folder} was replaced or changed since it was opened",
        found=f"{name} is not the file that was checked",
        because="the rest of the session is of the bundle as it was",
        attempt="edgesmith.load(bundle) opens the new one",
    )


def weights_of(graph: Path, listed: Iterable[str]) -> list[str]:
    """The files beside a graph in which it keeps weights, by their names in the bundle."""
    if all(PurePosixPath(name).suffix in OURS for name in listed):
        return []
    return sorted({data.location for data in scan(graph)})


class Held:
    """A file of a bundle, open until nobody refers to this any more: it stays what it is when its name leads elsewhere."""

    def __init__(self, path: Path) -> None:
        self.name_of = path
        self._handle = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        weakref.finalize(self, os.close, self._handle)
        self._state = self._now()

    def __reduce__(self) -> Any:
        return type(self), (self.name_of,)

    @property
    def path(self) -> Path:
        """A name under which this very file can be opened, where the system has such names."""
        own = Path(f"/proc/self/fd/{self._handle}")
        return own if own.exists() else self.name_of

    def is_untouched(self) -> bool:
        """Whether nobody has written to the file since."""
        return self._now() == self._state

    def _now(self) -> State:
        found = os.fstat(self._handle)
        return found.st_size, found.st_mtime_ns


def _state(path: Path) -> State | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
