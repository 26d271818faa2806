"""Picture file -> (height, width) as it is decoded, turned as EXIF says, read from its first bytes where we know how."""

from __future__ import annotations

import os
import struct

from .file import JPEG_SIZE_MARKERS, read_image

HEAD_BYTES = 256 * 1024  # thumbnails and colour profiles stand before the size of a JPEG
ORIENTATION, TURNED = 0x0112, (5, 6, 7, 8)  # EXIF values that exchange the sides


def picture_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """(height, width); UserMistake for a file that is no picture."""
    with open(path, "rb") as file:
        head = file.read(HEAD_BYTES)
    size = _jpeg_size(head) if head.startswith(b"\xff\xd8") else None
    if head.startswith(b"\x89PNG\r\n\x1a\n") and len(head) >= 24 and b"eXIf" not in head:
        width, height = struct.unpack(">II", head[16:24])
        size = (height, width)
    if size is None:
        height, width = read_image(path).shape[:2]
        return height, width
    return size


def _jpeg_size(head: bytes) -> tuple[int, int] | None:
    at, turned = 2, False
    while at + 9 <= len(head) and head[at] == 0xFF:
        marker = head[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        length = int.from_bytes(head[at + 2 : at + 4], "big")
        if marker == 0xE1 and head[at + 4 : at + 10] == b"Exif\0\0":
            turned = _orientation(head[at + 10 : at + 2 + length]) in TURNED
        if marker in JPEG_SIZE_MARKERS:
            height, width = struct.unpack(">HH", head[at + 5 : at + 9])
            return (width, height) if turned else (height, width)
        at += 2 + length
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
