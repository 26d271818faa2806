"""A zip from anywhere -> its members by name: names and sizes are looked at before the first of them is unpacked.

Nothing is written. A name is plain, without any path, so that who writes it into a folder writes nowhere else.
"""

from __future__ import annotations

import re
import struct
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

from .regular import open_regular

MAX_MEMBERS = 1000
PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,199}")
ROOM = 300  # bytes that a member may take in the zip beside its content: its name, twice, and the headers


def check_plain(name: str) -> None:
    """ValueError for a name that is more than a file's: with a slash, a drive, dots in front, or signs that are no letters."""
    if not isinstance(name, str) or not PLAIN.fullmatch(name):
        raise ValueError(f"the member name {name!r:.200} is no plain file name")


def read_members(path: Path, most_bytes: int) -> dict[str, bytes]:
    """All members of a zip, at most ``most_bytes`` together.

    Raises:
        ValueError: no zip, damaged, a name that is not plain or stands there twice, or too much inside.
        UserMistake, OSError: as ``open_regular``.
    """
    try:
        with (
            open_regular(path, most_bytes + ROOM * MAX_MEMBERS) as file,
            zipfile.ZipFile(file) as archive,
        ):
            infos = archive.infolist()
            _check(infos, most_bytes)
            return {info.filename: archive.read(info) for info in infos}
    except (zipfile.BadZipFile, zlib.error, struct.error, EOFError, RuntimeError, NotImplementedError) as error:
        raise ValueError(f"no whole zip: {error}") from None


def _check(infos: Sequence[zipfile.ZipInfo], most_bytes: int) -> None:
    names: set[str] = set()
    for info in infos:
        check_plain(info.orig_filename)  # zipfile cuts the other one at a zero byte
        check_plain(info.filename)
        if info.filename.lower() in names:
            raise ValueError(f"the member {info.filename} stands there twice")
        names.add(info.filename.lower())
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"the member {info.filename} is packed in a way that we do not write")
    if len(infos) > MAX_MEMBERS:
        raise ValueError(f"{len(infos):,} members, at most {MAX_MEMBERS:,}")
    if (total := sum(info.file_size for info in infos)) > most_bytes:
        raise ValueError(f"{total:,} bytes unpacked, at most {most_bytes:,}")
