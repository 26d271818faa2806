"""A file that comes from anywhere is opened only if it is one: a pipe would wait for ever, a device never end.

And it is one of ours only if nobody else put it there: file managers leave files of their own in every folder they show.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import IO

from ..errors import UserMistake

KINDS = {
    stat.S_IFIFO: "a pipe", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device", stat.S_IFSOCK: "a socket",
    stat.S_IFDIR: "a folder",
}  # fmt: skip
# of macOS (._name beside every file on a foreign disk), Windows, KDE, Synology; NFS and FUSE keep open files that were removed
CLUTTER = re.compile(
    r"\.DS_Store|\._.*|__MACOSX|\.AppleDouble|\.localized|\.apdisk|Icon\r|(eh)?thumbs\.db|desktop\.ini|\.directory"
    r"|@eaDir|\.nfs[0-9a-f]{8,}|\.fuse_hidden[0-9a-f]+",
    re.IGNORECASE,
)


def is_clutter(name: str) -> bool:
    """Whether a relative path with forward slashes is what a file manager left, or lies in a folder of its own."""
    return any(CLUTTER.fullmatch(part) for part in name.split("/"))


def open_regular(path: str | os.PathLike[str], most_bytes: int | None = None) -> IO[bytes]:
    """The file opened for reading bytes; nothing is waited for.

    Raises:
        UserMistake: it is no regular file, or larger than ``most_bytes``.
        OSError: it is not there, or may not be read.
    """
    _check(path, os.stat(path), most_bytes)  # before it is opened: opening alone has effects on some devices
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        _check(path, os.fstat(handle), most_bytes)  # and what was opened: the name may lead elsewhere by now
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def check_regular(path: str | os.PathLike[str]) -> None:
    """The same questions for who leaves the opening to a library."""
    _check(path, os.stat(path), None)


def read_regular(path: str | os.PathLike[str], most_bytes: int) -> bytes:
    """The whole content; raises as ``open_regular``."""
    with open_regular(path, most_bytes) as file:
        return file.read(
            min(os.fstat(file.fileno()).st_size + 1, most_bytes)
        )  # read makes room for what it is asked for


def _check(path: str | os.PathLike[str], found: os.stat_result, most_bytes: int | None) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise UserMistake(
            f"{Path(path).name} is no file",
            found=KINDS.get(stat.S_IFMT(found.st_mode), "something else"),
            expected="a regular file",
            because="a pipe or a device may never end",
            attempt="save it as a file first",
        )
    if most_bytes is not None and found.st_size > most_bytes:
        raise UserMistake(
            f"{Path(path).name} is too large", found=f"{found.st_size:,} bytes", expected=f"at most {most_bytes:,}"
        )
