"""Samples of any depth -> bytes: one rule for files, arrays and pictures of PIL.

16 bits keep their high byte where white is known to be 65535: the file says so, a sample reaches a quarter of it, or all are
bytes that were spread over 16 bits.  A camera's 10, 12 or 14 bits in 16-bit samples would be black that way, and from one picture nobody can tell them from a dark
picture of 16 bits (guessed from each picture, a video would flicker).  So a depth that the file declares is used, and
otherwise a dark picture is refused with its range and with what to do.  Floats and other integers have no white at all.
"""

from __future__ import annotations

import numpy as np

from ..errors import UserMistake

BRIGHT = 1 << 14  # a 16-bit picture reaches a quarter of white, samples of 14 bits do not
DEPTHS = (8, 10, 12, 14)  # of cameras
NORMALISED = "a tensor that is already normalised goes to session.run, not here"


def eight_bits(
    samples: np.ndarray,
    what: str = "this array",
    *,
    bits: int = 0,
    stretched: bool = False,
    inverted: bool = False,
    file: bool = False,
) -> np.ndarray:
    """uint8, or uint16 of a known depth -> uint8 of the same shape; UserMistake for all else.

    ``bits``: declared, 0 where nothing is; ``stretched``: as PNG has it, samples of so many bits may be spread over all 16;
    ``inverted``: 0 is white, and the decoder has left it so.  ``file``: the words are for somebody who gave a file.
    """
    if samples.dtype == np.uint8:
        return samples
    if samples.dtype != np.uint16:
        raise _no_white(samples, what)
    highest = int(samples.max(initial=0))
    if bits and highest >> bits:
        bits = 16 if stretched else 0  # the file is mistaken
    elif bits and stretched and not (samples & ((1 << (16 - bits)) - 1)).any():
        bits = 16
    if not bits and highest < BRIGHT and not _spread_bytes(samples):
        raise _unknown_white(samples, what, file)
    eight = (samples >> ((bits or 16) - 8)).astype(np.uint8)
    return 255 - eight if inverted else eight


def _spread_bytes(samples: np.ndarray) -> bool:
    """Whether 8 bits were shifted, or multiplied by 257, to 16; so are those of a black picture."""
    return not (samples & 0xFF).any() or not (samples % 257).any()


def value_range(values: np.ndarray) -> str:
    """ "values from a to b" of numbers, "" where there is no number."""
    if values.dtype.kind not in "biuf" or not values.size:
        return ""
    known = values[np.isfinite(values)] if values.dtype.kind == "f" else values
    odd = "" if known.size == values.size else ", and NaN or infinity"
    return f"values from {known.min():.6g} to {known.max():.6g}{odd}" if known.size else "NaN or infinity only"


def to_bytes_words(values: np.ndarray) -> str:
    """What to do with an array whose type says nothing of white, by the range of its values."""
    kind = values.dtype.kind
    known = values[np.isfinite(values)] if kind == "f" else values
    if kind not in "biuf" or not known.size:
        return NORMALISED
    low, high = known.min().item(), known.max().item()
    if kind == "b":
        return "image.astype(np.uint8) * 255"
    if low < 0 or high > 0xFFFF:
        return NORMALISED if kind == "f" else "bring the values to 0..255, then image.astype(np.uint8)"
    if kind == "f":
        turn = "(image * 255).round()" if high <= 1 else "image.round()" if high <= 255 else "(image / highest * 255)"
        return f"{turn}.astype(np.uint8); {NORMALISED}"
    return "image.astype(np.uint8)" if high <= 255 else "image.astype(np.uint16), which is then 16 bits deep"


def _unknown_white(samples: np.ndarray, what: str, file: bool) -> UserMistake:
    highest = int(samples.max())
    bits = next(depth for depth in DEPTHS if highest < 1 << depth)
    shift = "image.astype(np.uint8)" if bits == 8 else f"(image >> {bits - 8}).astype(np.uint8)"
    attempt = f"{shift} if white is {(1 << bits) - 1}, (image >> 8).astype(np.uint8) if it is a dark picture of 16 bits"
    if file:
        attempt += "\nin a file: save it with 8 bits, or with its depth (MaxSampleValue of a TIFF, sBIT of a PNG)"
    return UserMistake(
        f"{what} may be of {bits} or of 16 bits",
        found=f"uint16, {value_range(samples)}: {bits} bits, or 16 and dark",
        expected=f"uint8, or 16 bits with white at 65535 (a sample of {BRIGHT} or more)",
        because="read as 16 bits it would be black, or nearly",
        attempt=attempt,
    )


def _no_white(samples: np.ndarray, what: str) -> UserMistake:
    said = value_range(samples)
    return UserMistake(
        f"{what} is not a picture of 8 or 16 bits",
        found=f"{samples.dtype} of shape {samples.shape}" + (f", {said}" if said else ""),
        expected="uint8 (height, width, 3), RGB, values 0..255",
        because="which of its values is white would be a guess",
        attempt=to_bytes_words(samples),
    )
