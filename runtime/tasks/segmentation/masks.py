"""Masks as files: a PNG whose values are the numbers of the classes, grey of 1 to 16 bits or with a palette.

A palette holds the colours that a mask is shown in, and its index is the class (Pascal VOC). OpenCV would read the colours; so such
a file is read as the grey one that it is without its palette: the pixels of both kinds are stored alike (PNG specification, 11.2.2).
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator

import cv2
import numpy as np

from ...errors import UserMistake
from ...pictures.file import MAX_PIXELS, read_file

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY, PALETTE = 0, 3  # kinds of colour
COLOURED = {2: "RGB", 4: "grey with alpha", 6: "RGB with alpha"}
ATTEMPT = "save it as a grey PNG: cv2.imwrite('mask.png', classes.astype('uint8'))"


def read_mask(path: str | os.PathLike[str]) -> np.ndarray:
    """(H, W) uint8 or uint16, the classes; UserMistake for a file that is no such PNG."""
    return decode_mask(read_file(path), str(path))


def decode_mask(data: bytes, name: str = "mask") -> np.ndarray:
    """The bytes of such a file; ``name`` stands in the error."""
    if not data.startswith(SIGNATURE):
        raise _no_mask(name, "a file that is no PNG", "other formats of pictures change values, or hold colours")
    parts = list(_chunks(data))
    if len(parts) < 3 or parts[0][0] != b"IHDR" or len(parts[0][1]) != 13 or parts[-1][0] != b"IEND":
        raise _no_mask(name, f"{len(data):,} bytes of a PNG that was cut off or damaged", "", "copy the file again")
    width, height, bits, kind = struct.unpack(">IIBB", parts[0][1][:10])
    if kind in COLOURED:
        raise _no_mask(name, f"a PNG in {COLOURED[kind]}", "a colour does not say which class it stands for")
    if not 0 < width * height <= MAX_PIXELS:
        raise _no_mask(name, f"{width} x {height} pixels", "", f"masks of at most {MAX_PIXELS:,} pixels")
    head = parts[0][1][:9] + bytes([GREY]) + parts[0][1][10:]
    pixels = [part for part in parts if part[0] == b"IDAT"]
    grey = SIGNATURE + b"".join(_chunk(*part) for part in ((b"IHDR", head), *pixels, (b"IEND", b"")))
    try:
        found = cv2.imdecode(np.frombuffer(grey, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        found = None
    if found is None or found.shape != (height, width):
        raise _no_mask(name, "a PNG that OpenCV cannot decode", "", "copy the file again")
    return np.asarray(found // (255 // (2**bits - 1)) if bits < 8 else found)  # few bits are spread over eight


def encode_mask(classes: np.ndarray) -> bytes:
    """(H, W) uint8 or uint16 -> a grey PNG."""
    fine, data = cv2.imencode(".png", classes)
    assert fine, "one channel of whole numbers can always be written"
    return bytes(data)


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(kind, content) of each whole part of the file."""
    at = len(SIGNATURE)
    while at + 12 <= len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        if at + 12 + length > len(data):
            return
        yield data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        at += 12 + length


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _no_mask(name: str, found: str, because: str, attempt: str = ATTEMPT) -> UserMistake:
    return UserMistake(
        f"{name} is no mask of classes",
        found=found,
        expected="a PNG, grey or with a palette, whose values are the numbers of the classes",
        because=because,
        attempt=attempt,
    )
