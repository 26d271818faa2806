"""Masks as files: what a PNG with a palette, of few bits or of many holds, and what is no mask."""

from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np
import pytest

from edgesmith.runtime.errors import UserMistake
from edgesmith.runtime.tasks.segmentation.masks import SIGNATURE, decode_mask, encode_mask, read_mask

VALUES = np.arange(40, dtype=np.uint8).reshape(5, 8)


def png(values: np.ndarray, bits: int, kind: int, *extra: tuple[bytes, bytes]) -> bytes:
    """A PNG by hand: the rows packed, no filter. ``kind`` 0 grey, 3 palette."""
    height, width = values.shape
    rows = b""
    for row in values:
        spread = np.unpackbits(row[:, None], axis=1)[:, 8 - bits :] if bits < 8 else None
        rows += b"\0" + (row.tobytes() if spread is None else np.packbits(spread.ravel()).tobytes())
    head = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)
    palette = (
        [(b"PLTE", np.random.default_rng(0).integers(0, 256, 3 * 2**bits, np.uint8).tobytes())] if kind == 3 else []
    )
    parts = [(b"IHDR", head), *palette, *extra, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return SIGNATURE + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in parts
    )


@pytest.mark.parametrize("kind", [0, 3])
@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_the_values_are_the_classes_whatever_they_are_shown_in(bits: int, kind: int):
    values = VALUES & (2**bits - 1)
    found = decode_mask(png(values, bits, kind))
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, values)


def test_what_else_stands_in_the_file_changes_nothing():
    transparent = png(VALUES, 8, 3, (b"tRNS", bytes(100)), (b"tEXt", b"Title\0mask"))
    np.testing.assert_array_equal(decode_mask(transparent), VALUES)


def test_sixteen_bits_and_what_is_written_here_are_read_again(tmp_path):
    wide = np.array([[0, 256, 65535]], np.uint16)
    np.testing.assert_array_equal(decode_mask(encode_mask(wide)), wide)
    (tmp_path / "m.png").write_bytes(encode_mask(VALUES))
    np.testing.assert_array_equal(read_mask(tmp_path / "m.png"), VALUES)
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "m.png"), cv2.IMREAD_UNCHANGED), VALUES)


def coloured() -> bytes:
    return bytes(cv2.imencode(".png", np.zeros((4, 4, 3), np.uint8))[1])


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "no PNG"),
        (bytes(cv2.imencode(".jpg", VALUES)[1]), "no PNG"),
        (coloured(), "RGB"),
        (png(VALUES, 8, 3)[:-20], "cut off"),
        (SIGNATURE, "cut off"),
        (png(VALUES, 8, 0).replace(struct.pack(">II", 8, 5), struct.pack(">II", 2**20, 2**20)), "1048576 x 1048576"),
        (png(VALUES, 8, 0).replace(struct.pack(">II", 8, 5), struct.pack(">II", 0, 5)), "0 x 5"),
        (png(VALUES, 8, 0).replace(b"IDAT", b"IDAX"), "cannot decode"),
    ],
)
def test_what_is_no_mask_is_told(data: bytes, says: str):
    with pytest.raises(UserMistake, match="is no mask of classes") as caught:
        decode_mask(data, "m.png")
    assert says in str(caught.value) and "m.png" in str(caught.value)
