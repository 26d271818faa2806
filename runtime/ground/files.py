"""A file that appears whole or not at all: written beside its place, then renamed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO


@contextmanager
def replacing(path: Path, *, hidden: bool = False, mode: int = 0o644, to_disk: bool = False) -> Iterator[IO[bytes]]:
    """A file to write to, which has its name when the block ends well and is gone when it does not, Ctrl-C included.

    ``hidden``: for folders that people look into. ``to_disk``: the content is there before the name is, whatever the
    machine does next. What a killed process leaves behind begins with the stem of ``path`` and ends in ``.part``.
    """
    prefix = f".{path.stem}." if hidden else f"{path.stem}."
    handle, name = tempfile.mkstemp(prefix=prefix, suffix=".part", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            if to_disk:
                file.flush()
                os.fsync(file.fileno())
        os.chmod(name, mode)
        os.replace(name, path)
    finally:
        with suppress(OSError):
            os.unlink(name)


def replace_file(path: Path, content: bytes) -> None:
    """The content in place of the file that was there, or of none."""
    with replacing(path) as file:
        file.write(content)
