"""Picture file -> uint8 (H, W, 3) RGB, or a sentence about what is wrong with the file; and back into a file.

OpenCV decodes a cut-off JPEG into grey stripes without an error and allocates whatever a header claims, so the size and
the end of the file are looked at before decoding (JPEG, PNG; other formats are left to OpenCV's own checks).
EXIF orientation is applied here and not by OpenCV, whose versions differ in it; samples of more than 8 bits are judged in
depth.py, alpha is dropped unless it is asked for, grey becomes three equal channels, CMYK becomes RGB without a colour profile. A JPEG whose coded pixels were overwritten in the middle still decodes (libjpeg
only warns), so that damage is not found here. OpenCV hands out the colours of a TIFF with alpha multiplied by it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from ..errors import UserMistake
from ..ground.files import replacing
from ..ground.regular import check_regular
from .depth import eight_bits
from .formats.headers import PNG_HEAD_BYTES, Header, header, turned
from .formats.pnm import is_scaled, scaled
from .formats.suffixes import WRITTEN, readable

if TYPE_CHECKING:
    from .video.memory import Memory

MAX_PIXELS = 200_000_000  # 600 MB as RGB; the largest phone cameras make 200 megapixels
MAX_FILE_BYTES = 512 * 1024 * 1024
AVIF_HEAD_BYTES = 64 * 1024  # where an AVIF says that it is turned
AS_STORED = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION


def read_image(path: str | os.PathLike[str], alpha: bool = False, memory: Memory | None = None) -> np.ndarray:
    """Read a picture as uint8 (H, W, 3) RGB; UserMistake if it is missing, empty, cut off, too large or no picture.

    With ``alpha`` as (H, W, 4) RGBA where the file has one; without, in a piece of ``memory`` where there is one.
    """
    return decode_image(read_file(path), str(path), alpha, memory)


def read_file(path: str | os.PathLike[str]) -> bytes:
    """The bytes of a picture file, not decoded; UserMistake if it is missing, a folder, unreadable or too large."""
    path = Path(path)
    try:
        if path.is_dir():
            raise UserMistake(f"cannot read the picture {path}", found="a folder", expected="a picture file")
        check_regular(path)
        found_bytes = path.stat().st_size
        if found_bytes > MAX_FILE_BYTES:
            raise _too_large(path, f"{found_bytes:,} bytes", f"at most {MAX_FILE_BYTES:,} bytes")
        return path.read_bytes()
    except FileNotFoundError:
        raise UserMistake(
            f"cannot read the picture {path}", found="no such file", attempt="check the path and the folder you are in"
        ) from None
    except OSError as error:
        raise UserMistake(f"cannot read the picture {path}", found=error.strerror or str(error)) from error


def decode_image(data: bytes, name: str = "image", alpha: bool = False, memory: Memory | None = None) -> np.ndarray:
    """Encoded bytes -> uint8 (H, W, 3) RGB, with ``alpha`` (H, W, 4) where there is one; ``name`` stands in the error.

    ``memory``: what the picture without alpha is put into. What OpenCV decodes into is its own.
    """
    head = _checked(data, name)
    avif = data[4:8] == b"ftyp"
    stored = _decode(data, name, AS_STORED if avif else AS_STORED | cv2.IMREAD_ANYDEPTH)
    if head.sample_bits == 16 and stored.dtype == np.uint8:
        raise UserMistake(
            f"the picture {name} has 16 bits that OpenCV reduces to 8 by itself",
            found=f"a {head.kind} of an unusual kind",
            because="samples of 10 or 12 bits would be black",
            attempt="save it as grey or RGB",
        )
    if head.netpbm is not None and is_scaled(head.netpbm):
        stored = _to_white(head, data, stored, name)
    image = eight_bits(
        stored,
        f"the picture {name}",
        bits=head.bits,
        stretched=head.stretched,
        inverted=head.inverted,
        file=True,
    )
    if alpha and head.kind != "JPEG" and (whole := _with_alpha(data, name)) is not None:
        veil = whole[:, :, 3] if whole.dtype == np.uint8 else (whole[:, :, 3] >> 8).astype(np.uint8)
        return cv2.cvtColor(turned(np.dstack([image, veil]), head.orientation), cv2.COLOR_BGRA2RGBA)
    seen = turned(image, head.orientation)
    return cv2.cvtColor(seen, cv2.COLOR_BGR2RGB, dst=None if memory is None else memory.take((*seen.shape[:2], 3)))


def _with_alpha(data: bytes, name: str) -> np.ndarray | None:
    """uint8 or uint16 (H, W, 4) BGRA, not turned; None where the file has no alpha."""
    whole = _decode(data, name, cv2.IMREAD_UNCHANGED)
    if whole.ndim != 3 or whole.shape[2] != 4 or whole.dtype not in (np.uint8, np.uint16):
        return None
    return whole


def _to_white(head: Header, data: bytes, stored: np.ndarray, name: str) -> np.ndarray:
    """Netpbm samples of an odd white -> uint8 whose white is 255."""
    found = head.netpbm
    assert found is not None
    image = scaled(found, data, stored) if stored.shape[:2] == head.size else None
    if image is None:
        raise UserMistake(
            f"cannot read the picture {name}",
            found=f"Netpbm samples up to {found.white} that cannot be read",
            expected=f"{found.width} x {found.height} samples, white at 255",
            attempt="save it again as PNG",
        )
    return image


def check_image(data: bytes, name: str = "image") -> None:
    """Raise what ``decode_image`` would raise; a JPEG is decoded at an eighth of its size, 3x faster at 12 megapixels."""
    if header(data).kind == "JPEG":
        _checked(data, name)
        _decode(data, name, cv2.IMREAD_REDUCED_COLOR_8)
    else:
        decode_image(data, name)


def _decode(data: bytes, name: str, flags: int) -> np.ndarray:
    """Encoded bytes -> (H, W, 3) BGR, or (H, W) of some formats of floats."""
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise UserMistake(f"cannot read the picture {name}", found=str(error.err), expected="a picture") from None
    if image is None:
        raise UserMistake(
            f"cannot read the picture {name}",
            found=f"{len(data):,} bytes that OpenCV cannot decode, beginning with {data[:8]!r}",
            expected="a picture: " + " ".join(readable()),
        )
    return image


def _too_large(name: object, found: str, expected: str) -> UserMistake:
    return UserMistake(
        f"the picture {name} is too large",
        found=found,
        expected=expected,
        because="it would be held in memory as a whole",
        attempt="shrink it first",
    )


def _cut_off(name: str, kind: str, size: int) -> UserMistake:
    return UserMistake(
        f"the picture {name} is cut off",
        found=f"a {kind} file of {size:,} bytes without its end",
        because="the missing part would be filled with grey without a word",
        attempt="copy or download the file again",
    )


def _checked(data: bytes, name: str) -> Header:
    """What the file says; UserMistake where it is empty, without its end, too large, or an AVIF that must be turned."""
    if not data:
        raise UserMistake(f"cannot read the picture {name}", found="an empty file", expected="a picture")
    head = header(data)
    if head.kind == "PNG" and (len(data) < PNG_HEAD_BYTES or data.find(b"IEND", PNG_HEAD_BYTES) < 0):
        raise _cut_off(name, "PNG", len(data))
    if head.kind == "JPEG" and data.find(b"\xff\xd9", head.pixels_at) < 0:
        raise _cut_off(name, "JPEG", len(data))
    if head.netpbm is not None and len(data) < head.netpbm.least_bytes:
        raise _cut_off(name, "Netpbm", len(data))
    if head.size is not None and head.size[0] * head.size[1] > MAX_PIXELS:
        raise _too_large(name, f"{head.size[1]} x {head.size[0]} pixels", f"at most {MAX_PIXELS:,} pixels")
    if head.planes and head.sample_bits > 8:
        raise UserMistake(
            f"the picture {name} keeps its channels one behind the other",
            found=f"a TIFF of {head.sample_bits} bits in planes (PlanarConfiguration 2)",
            because="OpenCV takes its planes for pixels, without a word",
            attempt="save it with the channels of a pixel together (PlanarConfiguration 1)",
        )
    if data[4:8] == b"ftyp" and any(turn in data[:AVIF_HEAD_BYTES] for turn in (b"irot", b"imir")):
        raise UserMistake(
            f"the picture {name} must be turned to be seen",
            found="an AVIF with a rotation or a mirror",
            because="OpenCV does not turn it",
            attempt="convert it to JPEG or PNG",
        )
    return head


def write_image(path: str | os.PathLike[str], image: np.ndarray) -> None:
    """uint8 (H, W, 3) RGB -> a file of the kind that the suffix says; it appears whole or not at all."""
    path = Path(path)
    try:
        done, data = cv2.imencode(path.suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        if not done:
            raise UserMistake(f"cannot write the picture {path}", found=f"{image.shape[1]} x {image.shape[0]} pixels")
        with replacing(path, hidden=True) as file:
            file.write(data.tobytes())
    except cv2.error as error:
        raise UserMistake(
            f"cannot write the picture {path}", found=str(error.err), expected="one of " + " ".join(WRITTEN)
        ) from None
    except OSError as error:
        raise UserMistake(
            f"cannot write the picture {path}",
            found=error.strerror or str(error),
            attempt="check the folder, its permissions and the free space",
        ) from None
