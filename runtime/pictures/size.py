"""Picture file -> (height, width) as it is decoded, turned as EXIF says, read from its first bytes where we know how."""

from __future__ import annotations

import os
import struct

from ..ground.regular import open_regular
from .file import read_image
from .headers import JPEG, PNG, PNG_HEAD_BYTES, jpeg_segments, jpeg_size, png_size

EXIF_MARKER, EXIF = 0xE1, b"Exif\0\0"
HEAD_BYTES = 256 * 1024  # thumbnails and colour profiles stand before the size of a JPEG
ORIENTATION, TURNED = 0x0112, (5, 6, 7, 8)  # EXIF values that exchange the sides


def picture_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """(height, width); UserMistake for a file that is no picture."""
    with open_regular(path) as file:
        head = file.read(HEAD_BYTES)
    size = _turned(head) if head.startswith(JPEG) else None
    if head.startswith(PNG) and len(head) >= PNG_HEAD_BYTES and b"eXIf" not in head:
        size = png_size(head)
    if size is None:
        height, width = read_image(path).shape[:2]
        return height, width
    return size


def _turned(head: bytes) -> tuple[int, int] | None:
    """Of a JPEG, as EXIF says; None where the size stands further behind."""
    turned = False
    for marker, start, end in jpeg_segments(head):
        if marker == EXIF_MARKER and head[start : start + len(EXIF)] == EXIF:
            turned = _orientation(head[start + len(EXIF) : end]) in TURNED
        if size := jpeg_size(head, marker, start):
            height, width = size
            return (width, height) if turned else (height, width)
    return None


def _orientation(tiff: bytes) -> int:
    """The tag of the first directory; 1 (upright) where there is none."""
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None or len(tiff) < 10:
        return 1
    start = struct.unpack(order + "I", tiff[4:8])[0]
    count = struct.unpack(order + "H", tiff[start : start + 2])[0] if start + 2 <= len(tiff) else 0
    for entry in range(start + 2, start + 2 + 12 * count, 12):
        if entry + 12 > len(tiff):
            break
        tag, kind = struct.unpack(order + "HH", tiff[entry : entry + 4])
        if tag == ORIENTATION and kind == 3:
            return int(struct.unpack(order + "H", tiff[entry + 8 : entry + 10])[0])
    return 1
