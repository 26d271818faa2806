"""Weights beside an ONNX file: which files, whether they are there and long enough, and none outside its folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

from ....runtime.bundle.onnx_scan import ExternalData


@dataclass(frozen=True)
class Beside:
    """One file of weights: ``expected`` bytes at least, ``found`` is None where there is none, ``why`` says what is wrong."""

    name: str
    expected: int
    found: int | None
    why: str = ""


def files_beside(path: Path, entries: tuple[ExternalData, ...]) -> tuple[Beside, ...]:
    """The files that the tensors of ``path`` point to, in the order of their names."""
    ends: dict[str, int] = {}
    wrong: dict[str, str] = {}
    for one in entries:
        ends[one.location] = max(ends.get(one.location, 0), one.offset + (one.length or 0))
        if one.offset < 0 or (one.length or 0) < 0:
            wrong[one.location] = f"bytes {one.offset} to {one.offset + (one.length or 0)} are asked of it"
    return tuple(_one(path.parent, name, ends[name], wrong.get(name, "")) for name in sorted(ends))


def _one(folder: Path, name: str, expected: int, wrong: str) -> Beside:
    if not name or "\0" in name or _leads_outside(name):
        return Beside(name, expected, None, "it lies outside the folder of the file")
    place = folder / name
    try:
        found = place.stat().st_size if place.is_file() else None
    except OSError:
        found = None
    if found is None:
        return Beside(name, expected, None, f"there is no such file, {expected:,} bytes are expected")
    if wrong or found < expected:
        return Beside(
            name, expected, found, wrong or f"it has {found:,} bytes, {expected:,} are expected: it is cut off"
        )
    return Beside(name, expected, found)


def _leads_outside(name: str) -> bool:
    """An absolute path of any system, or one that goes up."""
    if PurePosixPath(name).is_absolute() or PureWindowsPath(name).drive or PureWindowsPath(name).root:
        return True
    return ".." in PureWindowsPath(name).parts
