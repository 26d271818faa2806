"""A file that appears whole or not at all: written beside its place, then renamed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from .scratch import PART, TRIES, hold, short


@contextmanager
def replacing(
    path: Path, *, hidden: bool = False, mode: int = 0o644, to_disk: bool = False, only_new: bool = False
) -> Iterator[IO[bytes]]:
    """A file to write to, which has its name when the block ends well and is gone when it does not, Ctrl-C included.

    ``hidden``: for folders that people look into. ``to_disk``: the content is there before the name is, whatever the
    machine does next. ``only_new``: a file that is there already stays. What a killed process leaves ends in ``.edgesmith.part``, and ``scratch.sweep`` removes it.
    """
    handle, name = _make(path.parent, ("." if hidden else "") + short(path.stem) + ".")
    held = os.dup(handle)  # closing the file below would let go of the lock before it has its name
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            if to_disk:
                file.flush()
                os.fsync(file.fileno())
        os.chmod(name, mode)
        if only_new:
            with suppress(FileExistsError):
                os.link(name, path)
        else:
            os.replace(name, path)
    finally:
        with suppress(OSError):
            os.unlink(name)
        os.close(held)


def _make(folder: Path, prefix: str) -> tuple[int, str]:
    """Handle and path of a new file that this process holds."""
    import tempfile

    handle, name = tempfile.mkstemp(prefix=prefix, suffix=PART, dir=folder)
    for _ in range(TRIES):
        if hold(handle, name):
            break
        os.close(handle)  # a sweep came in between
        with suppress(OSError):
            os.unlink(name)
        handle, name = tempfile.mkstemp(prefix=prefix, suffix=PART, dir=folder)
    return handle, name


def replace_file(path: Path, content: bytes) -> None:
    """The content in place of the file that was there, or of none."""
    with replacing(path) as file:
        file.write(content)
