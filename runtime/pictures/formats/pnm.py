"""Netpbm pictures (PBM, PGM, PPM, PAM): what their header says, and samples whose white is not the whole type.

    P5 640 480 100 <bytes>     white is 100

OpenCV hands the samples of the binary forms out as they are stored, whatever their header calls white, so that such a picture
would be dark; of the written-out forms it rounds down.

netpbm.sourceforge.net/doc: pbm, pgm, ppm, pam.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

TOKEN = re.compile(rb"(?:\s|#[^\n]*\n)*([0-9]+)")
FIELD = re.compile(rb"^(WIDTH|HEIGHT|DEPTH|MAXVAL)\s+([0-9]+)\s*$", re.MULTILINE)
BITMAPS, WRITTEN_OUT, BINARY, FREE = (b"P1", b"P4"), (b"P2", b"P3"), (b"P5", b"P6"), b"P7"
HEAD_BYTES = 1 << 16  # of comments, and there are none in most
LARGEST = 0xFFFF


@dataclass(frozen=True)
class Netpbm:
    """The header of one."""

    magic: bytes
    height: int
    width: int
    channels: int
    white: int  # the value of a sample that is white; 1 of a bitmap
    samples_at: int

    @property
    def sample_bits(self) -> int:
        return 16 if self.white > 255 else 8

    @property
    def least_bytes(self) -> int:
        """How long a file with such a header is at least."""
        samples = self.height * self.width * self.channels
        if self.magic == b"P4":
            return self.samples_at + self.height * ((self.width + 7) // 8)
        if self.magic in (*BINARY, FREE):
            return self.samples_at + samples * (self.sample_bits // 8)
        return self.samples_at + samples  # a digit each


def netpbm(data: bytes) -> Netpbm | None:
    """The header of a file that begins as one of these; None for another file, and where the header is none."""
    magic = bytes(data[:2])
    if magic == FREE:
        return _free(data)
    if magic not in (*BITMAPS, *WRITTEN_OUT, *BINARY):
        return None
    numbers: list[int] = []
    at = len(magic)
    while len(numbers) < (2 if magic in BITMAPS else 3):
        found = TOKEN.match(data, at, HEAD_BYTES)
        if found is None or len(found[1]) > 9:
            return None
        numbers.append(int(found[1]))
        at = found.end()
    width, height, white = (*numbers, 1)[:3]
    if not (0 < white <= LARGEST and width and height):
        return None
    return Netpbm(magic, height, width, 3 if magic in (b"P3", b"P6") else 1, white, at + 1)


def _free(data: bytes) -> Netpbm | None:
    end = data.find(b"ENDHDR\n", 0, HEAD_BYTES)
    said = {name: int(value) for name, value in FIELD.findall(data[: max(end, 0)]) if len(value) < 10}
    width, height, depth, white = (said.get(name, 0) for name in (b"WIDTH", b"HEIGHT", b"DEPTH", b"MAXVAL"))
    if not (0 < white <= LARGEST and width and height and depth):
        return None
    return Netpbm(FREE, height, width, depth, white, end + len(b"ENDHDR\n"))


def is_scaled(found: Netpbm) -> bool:
    """Whether white is not the largest value of a sample, nor of whole bits, so that ``scaled`` is needed."""
    whole = found.white >= 255 and found.white & (found.white + 1) == 0
    return found.magic not in BITMAPS and not whole


def scaled(found: Netpbm, data: bytes, stored: np.ndarray) -> np.ndarray | None:
    """uint8 of the same shape as ``stored``, which OpenCV decoded: white is 255. None where the samples cannot be had.

    Rounded to the nearest, as Pillow does; a sample above white is white.
    """
    if found.magic in WRITTEN_OUT and found.sample_bits == 8:  # OpenCV has rounded these down
        text = re.sub(rb"#[^\n]*", b"", data[found.samples_at - 1 :])
        words = text.split(None, found.height * found.width * found.channels)
        shape = (found.height, found.width, found.channels)
        try:
            samples = np.array([int(word) for word in words[: shape[0] * shape[1] * shape[2]]], np.int64).reshape(shape)
        except ValueError:
            return None
        stored = np.broadcast_to(samples[..., ::-1], (*shape[:2], 3))  # BGR
    elif found.magic == FREE and found.white == 1:  # OpenCV takes its bytes for the bits of a bitmap
        return None
    wide = np.minimum(stored.astype(np.int64), found.white)
    return ((wide * 510 + found.white) // (2 * found.white)).astype(np.uint8)
