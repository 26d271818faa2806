"""Statistics on the disk: found again by their key, whole or not at all, and never a reason to stop.

One npz file a key. While a pass runs it holds what was counted so far, so that a killed run continues; at the end it holds
everything. A file is written beside its place and renamed; zip checks every entry (CRC-32) before we look into it.
"""

from __future__ import annotations

import io
import json
import os
import struct
import time
import zipfile
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ...runtime.backends.user_cache import user_cache
from ...runtime.ground.files import replacing
from ...runtime.ground.scratch import PART, sweep
from .fingerprint import Fingerprint

KEEP_FILES = 20
KEEP_BYTES = 2 << 30
STALE_SECONDS = 3600  # a part file of a version without locks that is this old is what a killed process left
UNREADABLE = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    EOFError,
    RuntimeError,
    struct.error,
    zlib.error,
    zipfile.BadZipFile,
)

Arrays = dict[str, dict[str, np.ndarray]]  # tensor -> name -> array


@dataclass(frozen=True)
class Saved:
    """What a file holds: the arrays of every tensor after ``done`` images."""

    arrays: Arrays
    done: int
    settings: dict[str, int]  # the batch of the run that wrote it: whoever continues must use the same


@dataclass
class Cache:
    """The file of one fingerprint in a folder; ``notes`` says in words what could not be used."""

    facts: Fingerprint
    folder: Path | None = None  # None: the cache of the account
    squeeze: bool = True  # whether the whole file is worth it: counts are, to a sixth; moments are not
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.folder is None:
            with suppress(RuntimeError):  # an account without a home
                self.folder = user_cache() / "statistics"

    @property
    def path(self) -> Path | None:
        return self.folder / f"{self.facts.what}-{self.facts.key[:32]}.npz" if self.folder else None

    def load(self, restore: Callable[[Saved], Any]) -> Any:
        """``restore`` of what the file holds; None, with a note where there is something to say, if it holds nothing."""
        if self.path is None:
            return None
        sweep(self.path.parent)
        try:
            meta, arrays = read(self.path)
            if meta["key"] != self.facts.key:
                raise ValueError("it belongs to another key")
            found = restore(Saved(arrays, int(meta["done"]), meta["settings"]))
            os.utime(self.path)  # used: not the next to go
            return found
        except (FileNotFoundError, NotADirectoryError):
            self._explain_miss()
        except UNREADABLE as error:
            self.notes.append(f"{self.path.name} in the cache cannot be used and is counted again: {_words(error)}")
        return None

    def save(self, saved: Saved, *, whole: bool) -> None:
        """Write the file; where that fails, say so once and go on without a cache."""
        if self.path is None:
            return
        meta: dict[str, Any] = {"key": self.facts.key, "done": saved.done, "settings": saved.settings}
        meta |= {name: getattr(self.facts, name) for name in ("what", "name", "graph", "images")}
        try:
            write(self.path, meta, saved.arrays, squeeze=whole and self.squeeze)
        except OSError as error:
            self.notes.append(f"statistics are not kept in {self.path.parent}: {_words(error)}")
            self.folder = None

    def prune(self) -> None:
        """Drop the files that were not used for longest, and what killed runs left."""
        if self.path is None:
            return
        with suppress(OSError):
            for part in self.path.parent.glob("*.part"):
                with suppress(OSError):  # of ours the lock tells (scratch.py), whatever the clock says
                    if not part.name.endswith(PART) and time.time() - part.stat().st_mtime > STALE_SECONDS:
                        part.unlink()
            rows = [(path.stat(), path) for path in self.path.parent.glob("*-*.npz") if path != self.path]
            rows.sort(key=lambda row: row[0].st_mtime, reverse=True)
            used = self.path.stat().st_size
            for number, (found, path) in enumerate(rows, start=2):
                used += found.st_size
                if number > KEEP_FILES or used > KEEP_BYTES:
                    path.unlink(missing_ok=True)

    def _explain_miss(self) -> None:
        """A note when the same images were counted for another state of this graph."""
        assert self.path is not None
        for path in self.path.parent.glob(f"{self.facts.what}-*.npz"):
            with suppress(*UNREADABLE):
                meta, _ = read(path, only_meta=True)
                same = [meta[name] == getattr(self.facts, name) for name in ("what", "name", "images")]
                if all(same) and meta["graph"] != self.facts.graph:
                    self.notes.append("the graph has changed since statistics of these images were kept: counted anew")
                    return


def write(path: Path, meta: Mapping[str, Any], arrays: Arrays, *, squeeze: bool = True) -> None:
    """An npz file with ``meta`` as JSON and the arrays of tensor i as ``i/name``; OSError where it cannot be written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    names = list(arrays)
    kind = zipfile.ZIP_DEFLATED if squeeze else zipfile.ZIP_STORED
    with replacing(path, mode=0o600, to_disk=True) as file, zipfile.ZipFile(file, "w", kind) as archive:
        text = json.dumps({**meta, "tensors": names}).encode()
        _write_array(archive, "meta", np.frombuffer(text, dtype=np.uint8))
        for number, name in enumerate(names):
            for field_name, array in arrays[name].items():
                _write_array(archive, f"{number}/{field_name}", array)


def read(path: Path, *, only_meta: bool = False) -> tuple[dict[str, Any], Arrays]:
    """The inverse of ``write``; one of UNREADABLE where the file is damaged."""
    with zipfile.ZipFile(path) as archive:
        meta = json.loads(_read_array(archive, "meta.npy").tobytes())
        arrays: Arrays = {name: {} for name in meta["tensors"]}
        if not only_meta:
            for entry in archive.namelist():
                number, slash, name = entry.removesuffix(".npy").partition("/")
                if slash:
                    arrays[meta["tensors"][int(number)]][name] = _read_array(archive, entry)
    return meta, arrays


def _write_array(archive: zipfile.ZipFile, name: str, array: np.ndarray) -> None:
    """One entry; without the date, so that the same arrays make the same file."""
    content = io.BytesIO()
    np.lib.format.write_array(content, np.asarray(array), allow_pickle=False)
    archive.writestr(zipfile.ZipInfo(f"{name}.npy"), content.getbuffer(), archive.compression, compresslevel=1)


def _read_array(archive: zipfile.ZipFile, entry: str) -> np.ndarray:
    return np.lib.format.read_array(io.BytesIO(archive.read(entry)), allow_pickle=False)


def _words(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
