"""Picture file -> (height, width) as it is decoded, read from its header where that says it."""

from __future__ import annotations

import os

from ..ground.regular import open_regular
from .file import read_file, read_image
from .formats.headers import Header, header

HEAD_BYTES = 256 * 1024  # thumbnails and colour profiles stand before the size of a JPEG


def picture_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """(height, width); UserMistake for a file that is no picture."""
    return sized(path)[0]


def sized(path: str | os.PathLike[str]) -> tuple[tuple[int, int], bool]:
    """((height, width) as it is decoded, whether EXIF turns or mirrors it); UserMistake for a file that is no picture."""
    found = _head(path)
    size = found.upright
    if size is None or found.sample_bits > 8:  # whose depth may be unknown: found out now, not in the middle of a set
        height, width = read_image(path).shape[:2]
        size = height, width
    return size, found.orientation != 1


def _head(path: str | os.PathLike[str]) -> Header:
    """From the first bytes where all that counts stands there."""
    try:
        with open_regular(path) as file:
            found = header(file.read(HEAD_BYTES))
        if found.complete and found.kind in ("JPEG", "PNG"):
            return found
    except OSError:
        pass  # told in words below
    return header(read_file(path))
