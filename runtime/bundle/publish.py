"""Putting a bundle in its place: built in a work folder beside it, checked, then exchanged for what was there.

Whatever goes wrong on the way (disk full, Ctrl-C, a name that leads out), the place holds what it held before and the work
folder is removed; after a kill the next writer beside it does that. Writers of one bundle come one after another, readers see
the old one or the new one. Only where the file system cannot exchange two names, the place is empty for a moment: a reader
waits for that, and the next reader or writer gives back what a killed process had taken away.
"""

from __future__ import annotations

import glob
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import BundleRefused, UserMistake
from ..ground.exchange import exchange
from ..ground.regular import is_clutter
from ..ground.scratch import OLD, abandoned, alone, short, sweep, work_folder
from .manifest import MANIFEST, read_manifest, sealed_text
from .vet import check_folder, check_name, graph_rows, is_beside, is_device_engine, is_whole_beside, sha256, walk


@dataclass(frozen=True)
class Moved:
    """A file that its writer gives away: it is moved, since a copy of gigabytes takes long and needs their room twice."""

    path: Path


@dataclass(frozen=True)
class Same:
    """A file of another bundle with its record there: a hard link where the file system has them; it is not hashed again."""

    path: Path
    record: Mapping[str, Any]


Content = bytes | Path | Moved | Same  # the content itself, or a file to copy


def check_place(out: Path, overwrite: bool) -> None:
    """Only a free path, an empty folder or, with ``overwrite``, a bundle without foreign files may be written to."""
    what = f"cannot write the bundle {out.name}: that place is taken"
    if os.path.ismount(out):
        raise UserMistake(
            what, found="a mount point", because="it cannot be exchanged for another folder", attempt="a folder in it"
        )
    if not os.path.lexists(out) or (
        out.is_dir() and not out.is_symlink() and all(is_clutter(one.name) for one in out.iterdir())
    ):
        return
    if out.is_symlink():
        raise UserMistake(
            what, found="a link", expected="a free path, or a bundle itself", attempt=os.path.realpath(out)
        )
    if not out.is_dir():
        raise UserMistake(what, found="a file", expected="a free path", attempt="another name")
    try:
        manifest = read_manifest(out)
        others = set(walk(out)) - set(manifest["files"]) - {MANIFEST}
        foreign = sorted(name for name in others if not is_beside(name) and not is_clutter(name))
    except BundleRefused as error:
        raise UserMistake(
            what,
            found=f"a folder that is not a bundle ({error.found})",
            because="replacing it would delete something that Edgesmith did not write",
            attempt="another name",
        ) from None
    if foreign:
        raise UserMistake(
            what, found=f"a bundle with files of yours in it: {', '.join(foreign[:5])}", attempt="move them"
        )
    if not overwrite:
        raise UserMistake(what, found="a bundle", expected="a free path", attempt="another name, or overwrite it")


@contextmanager
def writing(out: Path, what: str = "bundle") -> Iterator[None]:
    """Be the only writer of ``out``; what a killed one had taken away is back. OSError becomes a UserMistake in words."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with alone(out):
            give_back(out)
            yield
    except OSError as error:
        raise UserMistake(
            f"cannot write the {what} {out.name}",
            found=f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}",
            because="nothing was left behind; what was there before is still there",
            attempt="check the free space and the permissions of the folder, or choose another place",
        ) from error


def pick_up(out: Path) -> None:
    """Before a reader says that nothing is at ``out``: wait for who replaces it just now, or give back what a killed one took."""
    with suppress(OSError):  # nothing may be written there
        if any((folder / OLD).exists() for folder in out.parent.glob(f".{glob.escape(short(out.name))}.*.work")):
            with alone(out):
                give_back(out)


def publish(
    out: Path, manifest: Mapping[str, Any], files: Mapping[str, Content | None], old: Mapping[str, Any] | None = None
) -> None:
    """Build the whole bundle beside ``out``, check it, then put it in its place; within ``writing``.

    With ``old``, the manifest of the bundle now at ``out``, its other files are kept; None as content removes one.
    """
    for name in files:
        check_name(name)
    with work_folder(out) as work:
        stage = work / "new"
        stage.mkdir()
        stage.chmod(out.stat().st_mode & 0o777 if out.is_dir() else 0o755)
        records = _keep(out, stage, old, files) if old else {}
        for name, content in files.items():
            if content is not None:
                records[name] = _put(stage / name, content)
        _put(stage / MANIFEST, sealed_text({**manifest, "files": dict(sorted(records.items()))}).encode())
        check_folder(stage, read_manifest(stage), hashes=False)  # what is published can be opened
        swap(stage, out)


def _keep(
    out: Path, stage: Path, old: Mapping[str, Any], files: Mapping[str, Content | None]
) -> dict[str, dict[str, Any]]:
    """Take over what an update does not touch, as hard links where the file system has them; their records."""
    same = not any(row["file"] in files for row in graph_rows(old).values())  # then what was built here still fits
    device = [name for name in walk(out) if same and is_device_engine(name) and is_whole_beside(name)]
    kept = [name for name in old["files"] if name not in files]
    for name in [*kept, *device]:
        (stage / name).parent.mkdir(parents=True, exist_ok=True)
        _link(out / name, stage / name)
    return {name: old["files"][name] for name in kept}


def _link(path: Path, other: Path) -> None:
    try:
        os.link(path, other)
    except OSError:
        shutil.copyfile(path, other)


def _put(path: Path, content: Content) -> dict[str, Any]:
    """Write one file through to the disk; its record for the manifest."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, Moved):
        shutil.move(content.path, path)
    elif isinstance(content, Same):
        _link(content.path, path)
    else:
        shutil.copyfile(content, path)
    with path.open("rb") as file:
        os.fsync(file.fileno())
    if isinstance(content, Same):
        return dict(content.record)
    return {"sha256": sha256(path), "bytes": path.stat().st_size}


def swap(stage: Path, out: Path) -> None:
    """Put the finished folder at ``out``; what was there is in the work folder afterwards, or still there if that fails."""
    if not out.exists() or not any(out.iterdir()):
        os.replace(stage, out)
    elif not exchange(stage, out):
        aside = stage.with_name(OLD)
        try:
            os.replace(out, aside)
            os.replace(stage, out)
        except BaseException:
            if not os.path.lexists(out):
                os.replace(aside, out)
            raise
        aside.rename(stage)  # not needed any more
    _sync(out.parent)


def give_back(out: Path) -> None:
    """The bundle that a killed process took away and did not replace; held by ``alone``."""
    for folder in abandoned(out.parent, out.name):
        if (folder / OLD).exists() and not os.path.lexists(out):
            os.replace(folder / OLD, out)
    sweep(out.parent)


def _sync(folder: Path) -> None:
    """The names in a folder are on the disk; where it cannot be asked, it is as good as it was."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
