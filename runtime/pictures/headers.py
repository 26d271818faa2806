"""What the first bytes of a JPEG or a PNG say, before anything is decoded."""

from __future__ import annotations

import struct
from collections.abc import Iterator

JPEG, PNG = b"\xff\xd8", b"\x89PNG\r\n\x1a\n"
PNG_HEAD_BYTES = 24
SIZE_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # the SOFn markers
CODED_PIXELS = 0xDA  # from behind this segment on, 0xFFD9 can only be the end of the picture


def png_size(data: bytes) -> tuple[int, int]:
    """(height, width) of a PNG with a whole head."""
    width, height = struct.unpack(">II", data[16:PNG_HEAD_BYTES])
    return height, width


def jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """(marker, where its content begins, where the next begins) of each segment, that of the coded pixels the last."""
    at = len(JPEG)
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        start, at = at + 4, at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        yield marker, start, at
        if marker == CODED_PIXELS:
            return


def jpeg_size(data: bytes, marker: int, start: int) -> tuple[int, int] | None:
    """(height, width) where this segment says it."""
    if marker not in SIZE_MARKERS or start + 5 > len(data):
        return None
    height, width = struct.unpack(">HH", data[start + 1 : start + 5])
    return height, width
