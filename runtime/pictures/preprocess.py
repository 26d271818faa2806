"""Pictures -> the tensor a model was trained on: resize, crop, scale, normalise, as the bundle's input contract says.

    pictures (H, W, 3) uint8 RGB, any sizes  ->  (B, 3, height, width) float32

The contract travels in the bundle, so that the calibrator, the parity check and the device all do the same thing.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from ..errors import UserMistake
from .contract import ImageContract
from .depth import NORMALISED, eight_bits, value_range
from .file import read_image
from .pil import PilPicture, is_pil, pil_pixels
from .placement import placement
from .resize import resize_window

__all__ = ["ImageContract", "Picture", "pixels", "preprocess", "read_image"]

Picture = np.ndarray | str | os.PathLike[str] | PilPicture


def preprocess(images: Sequence[Picture], contract: ImageContract) -> np.ndarray:
    """Pictures (paths, PIL pictures, uint8/uint16 arrays (H, W), (H, W, 1), (H, W, 3) RGB, (H, W, 4) RGBA) -> float32 (B, 3, H, W)."""
    if isinstance(images, (str, os.PathLike)) or getattr(images, "ndim", 4) != 4:
        raise UserMistake("preprocess takes a sequence of pictures", found=type(images).__name__, attempt="[image]")
    height, width = contract.size
    batch = np.empty((len(images), 3, height, width), np.float32)
    gain = (contract.scale / np.array(contract.std, np.float64)).astype(np.float32)[:, None, None]  # (3, 1, 1)
    shift = (-np.array(contract.mean, np.float64) / contract.std).astype(np.float32)[:, None, None]
    for row, image in zip(batch, images, strict=True):
        planes = fit_image(pixels(image), contract).transpose(2, 0, 1)  # (3, height, width)
        np.multiply(planes if contract.colour == "RGB" else planes[::-1], gain, out=row, dtype=np.float32)
        row += shift
    return batch


def pixels(image: Picture) -> np.ndarray:
    """One picture, read if it is a path -> uint8 (H, W, 3) RGB; UserMistake for what is no picture."""
    if isinstance(image, np.ndarray):
        return as_rgb(image)
    if isinstance(image, (str, os.PathLike)):
        return as_rgb(read_image(image))
    if is_pil(image):
        return as_rgb(pil_pixels(image))
    raise UserMistake(
        "this is not a picture", found=type(image).__name__, expected="a path, a uint8 array or a picture of PIL"
    )


def as_rgb(image: np.ndarray) -> np.ndarray:
    """Any picture array -> uint8 (H, W, 3); UserMistake for floats, unknown depths and shapes that are no picture."""
    if image.ndim == 2:
        image = image[:, :, None]
    if image.ndim != 3 or image.shape[2] not in (1, 3, 4) or 0 in image.shape or image.dtype.kind not in "biuf":
        said = value_range(image)
        raise UserMistake(
            "this array is not a picture",
            found=f"{image.dtype} of shape {image.shape}" + (f", {said}" if said else ""),
            expected="uint8 (height, width, 3), RGB, values 0..255",
            attempt=NORMALISED,
        )
    image = eight_bits(image[:, :, :3])  # without alpha, which is 65535 beside colours of any depth
    return np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image


def fit_image(image: np.ndarray, contract: ImageContract) -> np.ndarray:
    """uint8 (H, W, 3) RGB -> uint8 (height, width, 3) of the contract: resized, then cropped or padded."""
    height, width = contract.size
    place = placement((image.shape[0], image.shape[1]), contract)
    part = resize_window(image, place.resized, contract.resize, contract.antialias, place.window)
    if part.shape[:2] == (height, width):
        return part
    fill = [round(m / contract.scale) for m in (contract.mean if contract.colour == "RGB" else contract.mean[::-1])]
    canvas = np.empty((height, width, 3), np.uint8)
    canvas[:] = fill
    top, left = place.corner
    canvas[top : top + part.shape[0], left : left + part.shape[1]] = part
    return canvas
