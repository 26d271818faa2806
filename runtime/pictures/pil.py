"""A picture of Pillow -> the array that the same picture gives when it is read from its file (file.py).

Pillow itself is never imported: whoever has such a picture has it already. EXIF orientation is applied, 16-bit samples keep
their high byte, alpha is dropped, a palette, CMYK and bilevel become RGB. A picture that was turned by hand but still carries
its EXIF tag is turned again, as its file would be.
"""

from __future__ import annotations

from typing import Any, Protocol, TypeGuard

import numpy as np

from ..errors import UserMistake

CONVERTED = {  # mode -> the mode that Pillow turns it into; what stands behind the colours is alpha, and dropped
    **dict.fromkeys(("1", "RGBX", "CMYK", "YCbCr", "HSV"), "RGB"),
    **dict.fromkeys(("P", "PA", "RGBa"), "RGBA"),
    "La": "LA",
}
TURNS = {  # EXIF orientation -> (rows and columns change places, rows backwards, columns backwards)
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}
ORIENTATION = 0x0112  # the number of EXIF's tag


class PilPicture(Protocol):
    """As much of PIL.Image.Image as is used here."""

    @property
    def mode(self) -> str: ...
    @property
    def size(self) -> tuple[int, int]: ...
    def load(self) -> Any: ...
    def convert(self, mode: str) -> Any: ...
    def getexif(self) -> Any: ...


def is_pil(picture: object) -> TypeGuard[PilPicture]:
    """Whether this is a picture of Pillow, told by what it can do."""
    return all(hasattr(picture, name) for name in ("mode", "size", "load", "convert", "getbands", "getexif"))


def pil_pixels(picture: PilPicture) -> np.ndarray:
    """uint8 or uint16, (H, W) or (H, W, 3); UserMistake for a mode without colours or a file that cannot be read to its end."""
    try:
        picture.load()  # Pillow reads the file now, not when it was opened
        array = _samples(picture)
        turn = TURNS.get(picture.getexif().get(ORIENTATION))
    except (OSError, SyntaxError, ValueError) as error:
        raise UserMistake(
            "cannot read the PIL picture",
            found=f"mode {picture.mode}, {picture.size[0]} x {picture.size[1]} pixels: {error}",
            expected="a picture that is whole and still open",
        ) from None
    if turn is None:
        return array
    transposed, rows, columns = turn
    array = array.swapaxes(0, 1) if transposed else array
    return np.ascontiguousarray(array[:: -1 if rows else 1, :: -1 if columns else 1])


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
