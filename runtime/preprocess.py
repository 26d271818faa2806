"""Pictures -> the tensor a model was trained on: resize, crop, scale, normalise, as the bundle's input contract says.

    pictures (H, W, 3) uint8 RGB, any sizes  ->  (B, 3, height, width) float32

The contract travels in the bundle, so that the calibrator, the parity check and the device all do the same thing.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from .errors import UserMistake
from .image_file import read_image
from .placement import placement
from .resize import resize_window

__all__ = ["ImageContract", "Picture", "pixels", "preprocess", "read_image"]

Picture = np.ndarray | str | os.PathLike[str]


@dataclass(frozen=True)
class ImageContract:
    """What one input picture goes through. ``mean`` and ``std`` are in units after ``scale``, in the order ``colour``.

    fit "crop"       short side to floor(size / crop_fraction), then the centre (timm's evaluation rule)
    fit "stretch"    both sides to floor(size / crop_fraction), then the centre (timm: squash)
    fit "letterbox"  long side to floor(size / crop_fraction), the rest filled with the mean colour (timm: border)

    anchor "centre"  a letterboxed picture lies in the middle, its sides rounded to the nearest pixel
    anchor "corner"  it lies in the top left corner, its sides rounded down (DAMO-YOLO: keep_ratio)
    """

    size: tuple[int, int]  # (height, width)
    resize: str = "bicubic"  # or "bilinear"
    antialias: bool = True
    crop_fraction: float = 0.875
    fit: str = "crop"
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    colour: str = "RGB"  # or "BGR"
    scale: float = 1 / 255
    channels: int = 3
    anchor: str = "centre"  # or "corner"

    def __post_init__(self) -> None:
        for holds, name, value, expected in (
            (len(self.size) == 2 and min(self.size) >= 1, "size", self.size, "(height, width), both at least 1"),
            (self.resize in ("bicubic", "bilinear"), "resize", self.resize, "bicubic or bilinear"),
            (0 < self.crop_fraction <= 1, "crop_fraction", self.crop_fraction, "more than 0, at most 1"),
            (self.fit in ("crop", "stretch", "letterbox"), "fit", self.fit, "crop, stretch or letterbox"),
            (len(self.mean) == 3, "mean", self.mean, "three numbers"),
            (len(self.std) == 3 and min(self.std) > 0, "std", self.std, "three numbers above 0"),
            (self.colour in ("RGB", "BGR"), "colour", self.colour, "RGB or BGR"),
            (self.channels == 3, "channels", self.channels, "3"),
            (self.anchor in ("centre", "corner"), "anchor", self.anchor, "centre or corner"),
            (
                self.anchor == "centre" or self.fit == "letterbox",
                "anchor",
                self.anchor,
                "centre, as only a letterboxed picture can lie in a corner",
            ),
        ):
            if not holds:
                raise UserMistake(f"input contract: {name} is not usable", found=repr(value), expected=expected)

    def to_json(self) -> dict[str, Any]:
        """A dict of plain JSON values; ``from_json`` gives the same contract back."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> ImageContract:
        """The contract from a manifest; UserMistake names a field that is unknown, missing or of the wrong kind."""
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
        try:
            return cls(**values)
        except TypeError as error:
            raise UserMistake("the input contract cannot be read", found=str(error)) from None


def preprocess(images: Sequence[Picture], contract: ImageContract) -> np.ndarray:
    """Pictures (paths, or uint8/uint16 arrays (H, W), (H, W, 1), (H, W, 3) RGB, (H, W, 4) RGBA) -> float32 (B, 3, H, W)."""
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
    if not isinstance(image, (np.ndarray, str, os.PathLike)):
        raise UserMistake("this is not a picture", found=type(image).__name__, expected="a path or a uint8 array")
    return as_rgb(image if isinstance(image, np.ndarray) else read_image(image))


def as_rgb(image: np.ndarray) -> np.ndarray:
    """Any picture array -> uint8 (H, W, 3); UserMistake for floats and shapes that are no picture."""
    if image.dtype == np.uint16:
        image = (image >> 8).astype(np.uint8)
    if image.ndim == 2:
        image = image[:, :, None]
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] not in (1, 3, 4) or 0 in image.shape:
        raise UserMistake(
            "this array is not a picture",
            found=f"{image.dtype} of shape {image.shape}",
            expected="uint8 (height, width, 3), RGB, values 0..255",
            attempt="a tensor that is already normalised goes to session.run, not here",
        )
    return np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image[:, :, :3]


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
