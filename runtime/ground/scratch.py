"""Work on its way, and what becomes of it when its process is killed: the next run removes it, and never that of a living one.

    .NAME.k3j2h1g0.work/          a folder to work in; the file ``lock`` in it is held by the process that made it
    NAME.k3j2h1g0.edgesmith.part  a file on its way to its name (files.py), held itself
    .NAME.edgesmith.lock          held while NAME is replaced, gone when nobody does that

NAME is cut where it is long: what is added would make it longer than the file system takes.

A lock dies with its process, whatever ends it. The number of a process would not do: the system gives it again. Whoever takes a
lock looks whether the file still has its name, for it may have been removed in between.

tempfile and shutil are imported by what uses them: a run makes no folder, and starts sooner without them.
"""

from __future__ import annotations

import fcntl
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import UserMistake

LOCK = "lock"
PART = ".edgesmith.part"
WORK = re.compile(r"\..*\.[a-z0-9_]{8}\.work")  # what tempfile puts between prefix and suffix
FILES = re.compile(r".*\.[a-z0-9_]{8}\.edgesmith\.part|\..*\.edgesmith\.lock")
UNLOCKED = re.compile(r"\..*\.edge\.[a-z0-9_]{8}\.(partial|tmp)")  # of versions that held no locks
OLD = (
    "old"  # in a work folder: what its process had taken away from NAME, perhaps all there is of it; never removed here
)
STALE_S = 24 * 3600.0  # without a lock only the age tells
MOST_OF_A_NAME = 100  # bytes; encrypted file systems take names of 143
WAIT_S, LOOK_EVERY_S = 600.0, 0.01  # for another process that replaces the same bundle: seconds, a slow card minutes
TRIES = 20  # a sweep comes in between once; a file system whose numbers of files change (some in user space) does every time


@contextmanager
def alone(place: Path, wait_s: float | None = None, waiting: Callable[[float], None] | None = None) -> Iterator[None]:
    """One process after another; ``waiting(seconds)`` hears, often, how long it has been.

    UserMistake after ``wait_s`` (WAIT_S); OSError where the folder of ``place`` takes no files.
    """
    path = place.with_name(f".{short(place.name)}.edgesmith.lock")
    handle = _wait_for(path, place, WAIT_S if wait_s is None else wait_s, waiting)
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink()  # while it is held; whoever waits for it looks again
        os.close(handle)


@contextmanager
def work_folder(place: Path) -> Iterator[Path]:
    """A hidden folder beside ``place``, gone afterwards; before, what killed processes left there is removed."""
    sweep(place.parent)
    folder, handle = _make(place)
    try:
        yield folder
    finally:
        remove(folder)
        os.close(handle)


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A work folder where the system keeps temporary files."""
    import tempfile

    with work_folder(Path(tempfile.gettempdir(), "edgesmith")) as folder:
        yield folder


def sweep(folder: Path) -> None:
    """Remove what killed processes left in a folder: never a reason to stop."""
    import shutil

    for left in abandoned(folder):
        with suppress(OSError):
            if (left / OLD).exists() and _is_there(folder, name_of(left)):
                (left / OLD).rename(left / "replaced")  # its process came as far as to put the new one there
        remove(left)
    with suppress(OSError):
        for path in list(folder.iterdir()):
            if FILES.fullmatch(path.name) and (handle := _held(path)) is not None:
                with suppress(OSError):
                    path.unlink()
                os.close(handle)
            elif UNLOCKED.fullmatch(path.name) and _is_stale(path):
                shutil.rmtree(path, ignore_errors=True)


def abandoned(folder: Path, name: str | None = None) -> Iterator[Path]:
    """The work folders (of ``name``) in a folder that nobody works in; each is held until the next is asked for."""
    try:
        found = [path for path in folder.iterdir() if WORK.fullmatch(path.name)]
    except OSError:
        return
    for path in found:
        if name is not None and name_of(path) != short(name):
            continue
        try:
            inside = os.listdir(path)
        except OSError:
            continue
        if inside and LOCK not in inside:  # not ours
            continue
        if (handle := _held(path / LOCK, os.O_CREAT)) is not None:  # killed before it had one: then ``_make`` looks
            try:
                yield path
            finally:
                os.close(handle)


def short(name: str) -> str:
    """The name as scratch names hold it: itself, or its beginning with a hash of all of it."""
    whole = os.fsencode(name)
    if len(whole) <= MOST_OF_A_NAME:
        return name
    import hashlib

    mark = "~" + hashlib.sha256(whole).hexdigest()[:12]
    return whole[: MOST_OF_A_NAME - len(mark)].decode("utf-8", "ignore") + mark


def name_of(work: Path) -> str:
    """NAME of a work folder, cut as ``short`` does."""
    return work.name.rsplit(".", 2)[0][1:]


def _is_there(folder: Path, name: str) -> bool:
    """Whether something in a folder has the name that a scratch name holds."""
    return os.path.lexists(folder / name) or ("~" in name and any(short(one) == name for one in os.listdir(folder)))


def remove(folder: Path) -> None:
    """All that is in a work folder, and the lock last: killed on the way, it can still be told from others' folders."""
    import shutil

    if os.path.lexists(folder / OLD):
        return
    with suppress(OSError):
        for entry in list(os.scandir(folder)):
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path, ignore_errors=True)
            elif entry.name != LOCK:
                os.unlink(entry.path)
        (folder / LOCK).unlink(missing_ok=True)
        folder.rmdir()


def hold(handle: int, path: Path | str) -> bool:
    """Lock an open file for as long as this process has it; False where its name is not that of this file any more."""
    with suppress(OSError):  # a file system without locks
        fcntl.flock(handle, fcntl.LOCK_EX)
    return _is_at(path, handle)


def _make(place: Path) -> tuple[Path, int]:
    """A work folder and the handle that holds it."""
    import tempfile

    for left in reversed(range(TRIES)):
        folder = Path(tempfile.mkdtemp(prefix=f".{short(place.name)}.", suffix=".work", dir=place.parent))
        try:
            handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        except FileNotFoundError:  # removed by a sweep that saw it empty
            continue
        except OSError:  # a disk that is full
            with suppress(OSError):
                folder.rmdir()
            raise
        if hold(handle, folder / LOCK) or not left:
            return folder, handle
        os.close(handle)
        remove(folder)
    raise FileNotFoundError(f"what is made in {place.parent} is gone at once")


def _wait_for(path: Path, place: Path, wait_s: float, waiting: Callable[[float], None] | None) -> int:
    """The handle of a lock file that is ours now."""
    begun, left = time.monotonic(), TRIES
    while True:
        handle = _open_lock(path)
        free = _try(handle)
        if free is not False and (_is_at(path, handle) or not left):
            return handle
        left -= free is not False
        os.close(handle)
        if (waited_s := time.monotonic() - begun) > wait_s:
            raise UserMistake(
                f"{place.name} is being written by another process",
                found=f"{path} held for {wait_s / 60:.0f} minutes",
                attempt="wait for that process or end it, or choose another name",
            )
        if free is False:
            if waiting:
                waiting(waited_s)
            time.sleep(LOOK_EVERY_S)


def _open_lock(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    except PermissionError:  # made by another account: what can be read can be locked
        if not path.exists():
            raise
        return os.open(path, os.O_RDONLY | os.O_NOFOLLOW)


def _held(path: Path, flags: int = 0) -> int | None:
    """A handle that holds the file of a process that has ended; None where it lives, or nobody can tell."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_NOFOLLOW | flags, 0o600)
    except OSError:
        return None
    free = _try(handle)
    if (free or (free is None and _is_stale(path))) and _is_at(path, handle):
        return handle
    os.close(handle)
    return None


def _try(handle: int) -> bool | None:
    """Whether the lock could be had at once; None where the file system has no locks."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # the second is what NFS may say
        return False
    except OSError:
        return None
    return True


def _is_at(path: Path | str, handle: int) -> bool:
    try:
        there, ours = os.lstat(path), os.fstat(handle)
    except OSError:
        return False
    return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)


def _is_stale(path: Path) -> bool:
    try:
        return time.time() - path.lstat().st_mtime > STALE_S
    except OSError:
        return False
