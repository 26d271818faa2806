"""Picture file -> uint8 (H, W, 3) RGB, or a sentence about what is wrong with the file; and back into a file.

OpenCV decodes a cut-off JPEG into grey stripes without an error and allocates whatever a header claims, so the size and
the end of the file are looked at before decoding (JPEG, PNG; other formats are left to OpenCV's own checks).
EXIF orientation is applied, 16-bit samples keep their high byte, alpha is dropped, grey becomes three equal channels,
CMYK becomes RGB without a colour profile. A JPEG whose coded pixels were overwritten in the middle still decodes (libjpeg
only warns), so that damage is not found here.
"""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np

from ..errors import UserMistake
from ..ground.files import replacing
from ..ground.regular import check_regular
from .headers import JPEG, PNG, PNG_HEAD_BYTES, jpeg_segments, jpeg_size, png_size

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")  # what a folder is searched for
MAX_PIXELS = 200_000_000  # 600 MB as RGB; the largest phone cameras make 200 megapixels
MAX_FILE_BYTES = 512 * 1024 * 1024


def read_image(path: str | os.PathLike[str]) -> np.ndarray:
    """Read a picture as uint8 (H, W, 3) RGB; UserMistake if it is missing, empty, cut off, too large or no picture."""
    return decode_image(read_file(path), str(path))


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


def decode_image(data: bytes, name: str = "image") -> np.ndarray:
    """Encoded bytes -> uint8 (H, W, 3) RGB; ``name`` stands in the error."""
    return cv2.cvtColor(_decode(data, name, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def check_image(data: bytes, name: str = "image") -> None:
    """Raise what ``decode_image`` would raise; a JPEG is decoded at an eighth of its size, 3x faster at 12 megapixels."""
    _decode(data, name, cv2.IMREAD_REDUCED_COLOR_8 if data.startswith(JPEG) else cv2.IMREAD_COLOR)


def _decode(data: bytes, name: str, flags: int) -> np.ndarray:
    """Encoded bytes -> uint8 (H, W, 3) BGR."""
    if not data:
        raise UserMistake(f"cannot read the picture {name}", found="an empty file", expected="a picture")
    size = _look_before_decoding(data, name)
    if size is not None and size[0] * size[1] > MAX_PIXELS:
        raise _too_large(name, f"{size[1]} x {size[0]} pixels", f"at most {MAX_PIXELS:,} pixels")
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise UserMistake(f"cannot read the picture {name}", found=str(error.err), expected="a picture") from None
    if image is None:
        raise UserMistake(
            f"cannot read the picture {name}",
            found=f"{len(data):,} bytes that OpenCV cannot decode, beginning with {data[:8]!r}",
            expected="JPEG, PNG, WebP, BMP or TIFF",
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


def _look_before_decoding(data: bytes, name: str) -> tuple[int, int] | None:
    """(height, width) as the header claims, None where we do not know the format; raises when the end is missing."""
    if data.startswith(PNG):
        if len(data) < PNG_HEAD_BYTES or b"IEND" not in data[PNG_HEAD_BYTES:]:
            raise _cut_off(name, "PNG", len(data))
        return png_size(data)
    if not data.startswith(JPEG):
        return None
    size, end = None, len(JPEG)
    for marker, start, end in jpeg_segments(data):
        size = jpeg_size(data, marker, start) or size
    if b"\xff\xd9" not in data[end:]:
        raise _cut_off(name, "JPEG", len(data))
    return size


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
            f"cannot write the picture {path}", found=str(error.err), expected="one of " + " ".join(SUFFIXES)
        ) from None
    except OSError as error:
        raise UserMistake(
            f"cannot write the picture {path}",
            found=error.strerror or str(error),
            attempt="check the folder, its permissions and the free space",
        ) from None
