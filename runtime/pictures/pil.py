"""A picture of Pillow -> the array that the same picture gives when it is read from its file (file.py).

Pillow itself is never imported: whoever has such a picture has it already. EXIF orientation is applied, samples of more
than 8 bits are judged in depth.py, alpha is dropped unless it is asked for, a palette, CMYK and bilevel become RGB. A picture that was turned by hand
but still carries its EXIF tag is turned again, as its file would be.
"""

from __future__ import annotations

from typing import Any, Protocol, TypeGuard

import numpy as np

from ..errors import UserMistake
from .depth import BRIGHT, eight_bits
from .formats.headers import (
    HEIGHT,
    INVERSION,
    ORIENTATION,
    SAMPLE_BITS,
    TURNS,
    WIDTH,
    depth_of_tags,
    exif_orientation,
    turned,
)

CONVERTED = {  # mode -> the mode that Pillow turns it into; what stands behind the colours is alpha, and dropped
    **dict.fromkeys(("1", "RGBX", "CMYK", "YCbCr", "HSV"), "RGB"),
    **dict.fromkeys(("P", "PA", "RGBa"), "RGBA"),
    "La": "LA",
}
OTHER_SOURCES = (
    "xmp",
    "XML:com.adobe.xmp",
    "Raw profile type exif",
)  # of an orientation, for Pillow and not for file.py


class PilPicture(Protocol):
    """As much of PIL.Image.Image as is used here."""

    @property
    def mode(self) -> str: ...
    @property
    def size(self) -> tuple[int, int]: ...
    @property
    def info(self) -> Any: ...
    def load(self) -> Any: ...
    def convert(self, mode: str) -> Any: ...
    def getexif(self) -> Any: ...


def is_pil(picture: object) -> TypeGuard[PilPicture]:
    """Whether this is a picture of Pillow, told by what it can do."""
    return all(hasattr(picture, name) for name in ("mode", "size", "load", "convert", "getbands", "getexif"))


def pil_pixels(picture: PilPicture, alpha: bool = False) -> np.ndarray:
    """uint8, (H, W) or (H, W, 3), with ``alpha`` (H, W, 4) where it has one; UserMistake for a mode without colours, an unknown depth, or a file that is cut off."""
    try:
        reduced = ";16" in str(getattr(picture, "tile", "")) and not picture.mode.startswith("I")
        found = {tag: _numbers(value) for tag, value in dict(getattr(picture, "tag_v2", None) or {}).items()}
        picture.load()  # Pillow reads the file now, not when it was opened
        _check_turned(picture, found)
        array = _samples(picture)
        veil = _alpha(picture) if alpha else None
        orientation = _orientation(picture)
    except (OSError, SyntaxError, ValueError) as error:
        raise UserMistake(
            "cannot read the PIL picture",
            found=f"mode {picture.mode}, {picture.size[0]} x {picture.size[1]} pixels: {error}",
            expected="a picture that is whole and still open",
        ) from None
    if reduced and array.size and 0 < array.max() < BRIGHT >> 8:
        raise UserMistake(
            "the PIL picture is nearly black",
            found=f"the high bytes of 16-bit colours, up to {array.max()}",
            because="Pillow drops the low bytes, in which samples of 10 or 12 bits stand",
            attempt="give the path of the file",
        )
    sample_bits = max(found.get(SAMPLE_BITS, (0,)))
    bits = sample_bits if 8 < sample_bits < 16 else depth_of_tags(found)
    inverted = array.dtype == np.uint16 and found.get(INVERSION) == (0,)
    levels = eight_bits(array, "the PIL picture", bits=bits, inverted=inverted)
    if veil is not None:
        colours = levels.reshape(*levels.shape[:2], -1)
        levels = np.dstack([*([colours] * (3 // colours.shape[2])), veil])
    return turned(levels, orientation)


def _alpha(picture: PilPicture) -> np.ndarray | None:
    """uint8 (H, W); None where nothing is transparent."""
    with_alpha = picture.mode in ("LA", "La", "RGBA", "RGBa", "PA")
    if not with_alpha and "transparency" not in picture.info:
        return None
    if picture.mode not in ("RGBA", "LA"):
        picture = picture.convert("LA" if picture.mode == "La" else "RGBA")
    return np.asarray(picture)[..., -1]


def _check_turned(picture: PilPicture, found: dict[int, tuple[int, ...]]) -> None:
    """UserMistake for a TIFF that Pillow was to turn on its side and that lies as it did.

    Pillow 13 maps an uncompressed one from its path with the sides already exchanged: its pixels are out of order.
    """
    stored = (*found.get(WIDTH, ()), *found.get(HEIGHT, ()))
    on_its_side = TURNS.get((*found.get(ORIENTATION, ()), 1)[0], (False,))[0]
    if on_its_side and picture.size == stored and stored[0] != stored[1]:
        raise UserMistake(
            "the PIL picture is out of order",
            found="a TIFF on its side that Pillow has mapped from its path",
            expected=f"{stored[1]} x {stored[0]} pixels, as the file says",
            attempt='give the path of the file, or Image.open(open(path, "rb"))',
        )


def _orientation(picture: PilPicture) -> int:
    """What EXIF says; Pillow looks into XMP and text as well, which no other reader of the file does."""
    own = exif_orientation(exif) if isinstance(exif := picture.info.get("exif"), bytes) else 0
    values = _numbers(picture.getexif().get(ORIENTATION))
    return own if any(name in picture.info for name in OTHER_SOURCES) else (*values, 1)[0]


def _numbers(value: Any) -> tuple[int, ...]:
    """Of a tag of Pillow's: a number, several, or bytes."""
    values = value if isinstance(value, (tuple, bytes)) else (value,)
    return tuple(one for one in values if isinstance(one, int))


def _samples(picture: PilPicture) -> np.ndarray:
    mode = picture.mode
    if mode in ("L", "RGB") or mode.startswith("I;16"):
        array = np.asarray(picture)
        return array.astype(np.uint16) if mode.startswith("I;16") else array  # of a big-endian file too
    if mode in CONVERTED:
        return _samples(picture.convert(CONVERTED[mode]))
    if mode in ("LA", "RGBA"):
        return np.asarray(picture)[..., : len(mode) - 1]
    if mode == "I":  # what Pillow made of 16 bits of grey before its version 10
        wide = np.asarray(picture)
        if wide.size and 0 <= wide.min() and wide.max() <= 0xFFFF:
            return wide.astype(np.uint16)
    raise UserMistake(
        f"a PIL picture of mode {mode} has no colours to look at",
        found=f"mode {mode}, {picture.size[0]} x {picture.size[1]} pixels",
        expected="one of L, LA, RGB, RGBA, I;16, " + ", ".join(CONVERTED),
        attempt='image.convert("RGB"), after bringing the values to 0..255',
    )
