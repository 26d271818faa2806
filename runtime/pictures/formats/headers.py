"""What a picture file says of itself, before anything is decoded: its size, how to turn it, how deep its samples are.

The decoder and whoever asks for a size read it here, so that they cannot differ: EXIF is read by this file and by no
library (of two EXIF segments of a JPEG the first that says an orientation counts, a PNG's ``eXIf`` may stand behind the
pixels, the number may be of any whole type).  A TIFF is turned by OpenCV, whatever it is told.

Of GIF, JPEG 2000, AVIF and Netpbm the size alone is read, so that a small file that claims a huge picture is refused.

EXIF 2.3, tag 274; PNG (third edition), eXIf and sBIT; TIFF 6.0, tags 258, 262, 281, 284 and 341; RIFF container of WebP.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from .pnm import Netpbm, is_scaled, netpbm

JPEG, PNG, RIFF, WEBP = b"\xff\xd8", b"\x89PNG\r\n\x1a\n", b"RIFF", b"WEBP"
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # the last two are BigTIFF
GIF = (b"GIF87a", b"GIF89a")
HEAD_BYTES = 64 * 1024  # where the boxes of JPEG 2000 and AVIF say how large the picture is
PNG_HEAD_BYTES = 26  # up to the bit depth and the type of colour
EXIF_MARKER, EXIF = 0xE1, b"Exif\0\0"
SIZE_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # the SOFn markers
CODED_PIXELS = 0xDA  # from behind this segment on, 0xFFD9 can only be the end of the picture
END_OF_PICTURE = 0xD9
MARKER = re.compile(rb"\xff[\x02-\xcf\xd9-\xfe]")  # that has content, or is the end of the picture
MOST_PARTS = 1 << 17  # segments or chunks of a file; one of 200 megapixels has 75,000
WIDTH, HEIGHT, SAMPLE_BITS, INVERSION = 256, 257, 258, 262  # tags of TIFF and EXIF
ORIENTATION, HIGHEST, PLANES, HIGHEST_OF_TYPE = 274, 281, 284, 341
WHOLE_TYPES = {1: "B", 3: "H", 4: "I", 6: "b", 7: "B", 8: "h", 9: "i", 16: "Q"}  # TIFF's types of whole numbers
MOST_VALUES = 16  # of a tag: those asked for have one a channel
TURNS = {  # EXIF orientation -> (rows and columns change places, rows backwards, columns backwards)
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}


@dataclass(frozen=True)
class Header:
    """What stands in a file; None and 0 where it does not say."""

    kind: str = (
        ""  # "JPEG", "PNG", "WebP", "TIFF", "GIF", "JPEG 2000", "AVIF", "Netpbm", or "" for what is left to OpenCV
    )
    size: tuple[int, int] | None = None  # (height, width) as stored, before it is turned
    orientation: int = 1  # how it must be turned after OpenCV has decoded it (1 to 8 as EXIF counts)
    bits: int = 0  # declared: white is 2 ** bits - 1
    stretched: bool = False  # samples of so many bits may be spread over the whole type, as PNG demands
    inverted: bool = False  # 0 is white
    sample_bits: int = 8  # as stored
    pixels_at: int = 0  # where the coded pixels begin
    planes: bool = False  # the channels stand one behind the other
    complete: bool = True  # nothing that says more can follow
    netpbm: Netpbm | None = None  # of samples that the decoder leaves as they are

    @property
    def upright(self) -> tuple[int, int] | None:
        """(height, width) as the picture is seen."""
        return self.size[::-1] if self.size and TURNS.get(self.orientation, (False,))[0] else self.size


def header(data: bytes) -> Header:
    """Of a file, or of its beginning (``complete`` tells whether that was enough)."""
    if data.startswith(JPEG):
        return _jpeg(data)
    if data.startswith(PNG):
        return _png(data)
    if data.startswith(RIFF) and data[8:12] == WEBP:
        chunks = _chunks(data, 12, "<4sI", 0)
        return Header(
            "WebP", orientation=next((exif_orientation(body) or 1 for name, body in chunks if name == b"EXIF"), 1)
        )
    if data.startswith(TIFF):
        return _tiff(data)
    if (found := netpbm(data)) is not None:
        # 65535 is what programs write who know nothing of the depth
        bits = found.white.bit_length() if 255 < found.white < 0xFFFF and not is_scaled(found) else 0
        return Header("Netpbm", (found.height, found.width), bits=bits, sample_bits=found.sample_bits, netpbm=found)
    return _boxes(data)


def _boxes(data: bytes) -> Header:
    """GIF, and the two that are made of boxes: the largest size that any of them claims."""
    if data[:6] in GIF and len(data) >= 10:
        width, height = struct.unpack_from("<HH", data, 6)
        return Header("GIF", (height, width))
    if data[4:8] == b"jP  " and (at := data.find(b"ihdr", 0, HEAD_BYTES)) > 0 and at + 12 <= len(data):
        height, width = struct.unpack_from(">II", data, at + 4)
        return Header("JPEG 2000", (height, width))
    if data[4:8] == b"ftyp" and data[8:12] in (b"avif", b"avis"):
        sizes = [
            struct.unpack_from(">II", data, found.end() + 4)[::-1]  # behind version and flags
            for found in re.finditer(b"ispe", data[:HEAD_BYTES])
            if found.end() + 12 <= len(data)
        ]
        return Header("AVIF", max(sizes, key=lambda size: size[0] * size[1], default=None))
    return Header()


def turned(image: np.ndarray, orientation: int) -> np.ndarray:
    """(H, W, ...) as it is stored -> as it is seen."""
    if orientation not in TURNS:
        return image
    transposed, rows, columns = TURNS[orientation]
    image = image.swapaxes(0, 1) if transposed else image
    return np.ascontiguousarray(image[:: -1 if rows else 1, :: -1 if columns else 1])


def exif_orientation(exif: bytes) -> int:
    """1 to 8, or 0 where the first directory says none."""
    values = tags(exif.removeprefix(EXIF), (ORIENTATION,)).get(ORIENTATION, (0,))
    return values[0] if values[0] in (1, *TURNS) else 0


def depth_of_tags(found: dict[int, tuple[int, ...]]) -> int:
    """Bits of a TIFF's samples where a tag names white: the highest value is 1023, 4095 ...; else 0."""
    said = [max(found[tag]) for tag in (HIGHEST_OF_TYPE, HIGHEST) if tag in found]
    return next((value.bit_length() for value in said if 255 <= value <= 0xFFFF and value & (value + 1) == 0), 0)


def tags(tiff: bytes, wanted: Sequence[int]) -> dict[int, tuple[int, ...]]:
    """The whole numbers that the first directory of a TIFF has under the ``wanted`` tags; of a tag twice the first."""
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2], "")
    big = order and tiff[2:4] in (b"+\0", b"\0+")
    entry_bytes, head = (20, order + "HHQ") if big else (12, order + "HHI")
    found: dict[int, tuple[int, ...]] = {}
    try:
        if not order:
            return {}
        (start,) = struct.unpack_from(order + ("Q" if big else "I"), tiff, 8 if big else 4)
        (count,) = struct.unpack_from(order + ("Q" if big else "H"), tiff, start)
        first = start + (8 if big else 2)
        for entry in range(first, first + entry_bytes * min(count, 0xFFFF), entry_bytes):
            tag, kind, values = struct.unpack_from(head, tiff, entry)
            if tag not in wanted or tag in found or kind not in WHOLE_TYPES or not 0 < values <= MOST_VALUES:
                continue
            form, at = f"{order}{values}{WHOLE_TYPES[kind]}", entry + struct.calcsize(head)
            if struct.calcsize(form) > entry + entry_bytes - at:
                (at,) = struct.unpack_from(order + ("Q" if big else "I"), tiff, at)
            found[tag] = struct.unpack_from(form, tiff, at)
    except (struct.error, OverflowError):  # a directory or a value that stands outside of the file
        pass
    return found


def jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """(marker, where its content begins, where the next begins) of each segment, that of the coded pixels the last."""
    at = len(JPEG)
    for _ in range(MOST_PARTS):
        found = MARKER.search(data, at)  # behind fill bytes, and what else libjpeg skips
        if found is None or found.end() + 2 > len(data) or data[found.end() - 1] == END_OF_PICTURE:
            return
        marker, start = data[found.end() - 1], found.end() + 2
        at = found.end() + int.from_bytes(data[found.end() : start], "big")
        yield marker, start, at
        if marker == CODED_PIXELS:
            return


def _jpeg(data: bytes) -> Header:
    size, orientation, end, marker = None, 0, len(JPEG), 0
    for marker, start, end in jpeg_segments(data):
        if marker == EXIF_MARKER and data[start : start + len(EXIF)] == EXIF:
            orientation = orientation or exif_orientation(data[start:end])
        elif marker in SIZE_MARKERS and start + 5 <= len(data):
            height, width = struct.unpack_from(">HH", data, start + 1)
            size = height, width
    return Header("JPEG", size, orientation or 1, pixels_at=end, complete=marker == CODED_PIXELS)


def _png(data: bytes) -> Header:
    if len(data) < PNG_HEAD_BYTES:
        return Header("PNG", complete=False)
    width, height, sample_bits, colour_type = struct.unpack_from(">IIBB", data, 16)
    orientation = bits = 0
    name = b""
    for name, body in _chunks(data, len(PNG), ">I4s", 4):
        if name == b"eXIf":
            orientation = orientation or exif_orientation(body)
        elif name == b"sBIT" and sample_bits == 16:
            bits = max(body[:3] if colour_type in (2, 6) else body[:1], default=0)  # without alpha
    bits = bits if 8 <= bits <= 16 else 0
    return Header("PNG", (height, width), orientation or 1, bits, True, False, sample_bits, complete=name == b"IEND")


def _chunks(data: bytes, at: int, form: str, check_bytes: int) -> Iterator[tuple[bytes, bytes]]:
    """(name, content) of each chunk of a PNG or a WebP; of one that is not all there, as much as there is."""
    for _ in range(MOST_PARTS):
        if at + 8 > len(data):
            return
        one, other = struct.unpack_from(form, data, at)
        length, name = (one, other) if isinstance(one, int) else (other, one)
        yield name, data[at + 8 : at + 8 + length] if name in (b"eXIf", b"sBIT", b"EXIF") else b""
        at += 8 + length + (check_bytes or length % 2)  # RIFF fills up to an even length


def _tiff(data: bytes) -> Header:
    found = tags(data, (SAMPLE_BITS, INVERSION, HIGHEST, PLANES, HIGHEST_OF_TYPE))
    sample_bits = max(found.get(SAMPLE_BITS, (1,)))
    inverted = found.get(INVERSION) == (0,)
    # OpenCV spreads packed samples of 10, 12 and 14 bits over 16
    bits = 16 if 8 < sample_bits < 16 else depth_of_tags(found) if sample_bits == 16 else 0
    planes = found.get(PLANES) == (2,) and len(found.get(SAMPLE_BITS, ())) > 1
    return Header("TIFF", None, 1, bits, False, inverted, sample_bits, planes=planes)
