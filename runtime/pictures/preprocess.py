"""Pictures -> the tensor a model was trained on: resize, crop, scale, normalise, as the bundle's input contract says.

    pictures (H, W, 3) uint8 RGB, any sizes  ->  (B, 3, height, width) float32; grey, alpha, bytes, channels last as it says

The contract travels in the bundle, so that the calibrator, the parity check and the device all do the same thing.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np

from ..errors import UserMistake
from .contract import BYTES, CHANNELS, CHANNELS_LAST, ImageContract
from .depth import NORMALISED, eight_bits, value_range
from .file import read_image
from .pil import PilPicture, is_pil, pil_pixels
from .placement import placement
from .resize import KEPT, resize_window

__all__ = ["ImageContract", "Picture", "pixels", "preprocess", "read_image"]

Picture = np.ndarray | str | os.PathLike[str] | PilPicture


def preprocess(images: Sequence[Picture], contract: ImageContract, memory: np.ndarray | None = None) -> np.ndarray:
    """Pictures (paths, PIL pictures, uint8/uint16 arrays (H, W), (H, W, 1), (H, W, 3) RGB, (H, W, 4) RGBA) -> what the graph takes.

    float32 (B, C, H, W), or as the contract says uint8 and (B, H, W, C); in ``memory`` where that is of this shape and type.
    """
    if isinstance(images, (str, os.PathLike)) or getattr(images, "ndim", 4) != 4:
        raise UserMistake("preprocess takes a sequence of pictures", found=type(images).__name__, attempt="[image]")
    shape = contract.shape(len(images))
    fits = memory is not None and memory.shape == shape and memory.dtype == contract.dtype
    batch = memory if memory is not None and fits else np.empty(shape, contract.dtype)
    for row, image in zip(batch, images, strict=True):
        levels = fit_image(pixels(image, contract.channels), contract)  # (height, width, C) uint8
        if contract.dtype == BYTES:
            seen = ordered(levels, contract)
            row[:] = seen if contract.layout == CHANNELS_LAST else seen.transpose(2, 0, 1)
        elif contract.layout == CHANNELS_LAST:
            cv2.LUT(np.ascontiguousarray(ordered(levels, contract)), _table(contract), row)
        else:
            planes = KEPT.planes(contract.channels, contract.size)
            cv2.split(levels, planes)
            for out, (place, table) in zip(row, _tables(contract), strict=True):
                cv2.LUT(planes[place], table, out)
    return batch


@lru_cache(maxsize=16)
def _table(contract: ImageContract) -> np.ndarray:
    """float32 (1, 256, C): what each byte becomes in the network's channels; rounded after times, and after plus."""
    gain = (contract.scale / np.array(contract.std, np.float64)).astype(np.float32)
    shift = (-np.array(contract.mean, np.float64) / contract.std).astype(np.float32)
    return (np.arange(256, dtype=np.float32)[:, None] * gain + shift)[None]


@lru_cache(maxsize=16)
def _tables(contract: ImageContract) -> list[tuple[int, np.ndarray]]:
    """For each channel of the network: which one of the picture it is, and its own table, float32 (1, 256)."""
    places = ordered(np.arange(contract.channels)[None, None], contract)[0, 0]
    whole = _table(contract)
    return [(int(place), np.ascontiguousarray(whole[:, :, channel])) for channel, place in enumerate(places)]


def ordered(levels: np.ndarray, contract: ImageContract) -> np.ndarray:
    """(H, W, C), RGB -> the colours in the order of the network; alpha stays behind them."""
    if contract.colour == "RGB":
        return levels
    return levels[:, :, ::-1] if contract.channels == 3 else levels[:, :, [2, 1, 0, 3]]


def pixels(image: Picture, channels: int = 3) -> np.ndarray:
    """One picture, read if it is a path -> uint8 (H, W, channels): grey, RGB or RGBA; UserMistake for what is no picture."""
    alpha = channels == 4
    if isinstance(image, np.ndarray):
        return as_channels(image, channels)
    if isinstance(image, (str, os.PathLike)):
        return as_channels(read_image(image, alpha), channels)
    if is_pil(image):
        return as_channels(pil_pixels(image, alpha), channels)
    raise UserMistake(
        "this is not a picture", found=type(image).__name__, expected="a path, a uint8 array or a picture of PIL"
    )


def as_rgb(image: np.ndarray) -> np.ndarray:
    """Any picture array -> uint8 (H, W, 3); UserMistake for floats, unknown depths and shapes that are no picture."""
    return as_channels(image, 3)


def as_channels(image: np.ndarray, channels: int) -> np.ndarray:
    """Any picture array -> uint8 (H, W, channels), 1, 3 or 4; raises as ``as_rgb``.

    Grey of colours is that of Pillow's mode L, alpha of a picture without is 255.
    """
    if image.ndim == 2:
        image = image[:, :, None]
    if image.ndim != 3 or image.shape[2] not in CHANNELS or 0 in image.shape or image.dtype.kind not in "biuf":
        said = value_range(image)
        raise UserMistake(
            "this array is not a picture",
            found=f"{image.dtype} of shape {image.shape}" + (f", {said}" if said else ""),
            expected="uint8 (height, width, 3), RGB, values 0..255",
            attempt=NORMALISED,
        )
    colours = eight_bits(image[:, :, :3])  # without alpha, which is 65535 beside colours of any depth
    if channels == 1:
        return colours if colours.shape[2] == 1 else grey(colours)
    rgb = np.repeat(colours, 3, axis=2) if colours.shape[2] == 1 else colours
    return rgb if channels == 3 else np.dstack([rgb, alpha_of(image)])


def grey(image: np.ndarray) -> np.ndarray:
    """uint8 (H, W, 3) RGB -> (H, W, 1), to the bit as Pillow's mode L (ITU-R 601-2 luma in 16 bits); OpenCV's versions differ."""
    red, green, blue = (image[:, :, channel].astype(np.uint32) for channel in range(3))
    return ((19595 * red + 38470 * green + 7471 * blue + 0x8000) >> 16).astype(np.uint8)[:, :, None]


def alpha_of(image: np.ndarray) -> np.ndarray:
    """uint8 (H, W): alpha of a picture array, 255 where it has none; of 16 bits the upper eight."""
    if image.shape[2] < 4:
        return np.full(image.shape[:2], 255, np.uint8)
    return image[:, :, 3] if image.dtype == np.uint8 else (image[:, :, 3] >> 8).astype(np.uint8)


def fit_image(image: np.ndarray, contract: ImageContract) -> np.ndarray:
    """uint8 (H, W, C), RGB -> uint8 (height, width, C) of the contract: resized, then cropped or padded."""
    height, width = contract.size
    place = placement((image.shape[0], image.shape[1]), contract)
    part = resize_window(image, place.resized, contract.resize, contract.antialias, place.window)
    if part.shape[:2] == (height, width):
        return part
    fill = np.array([[[round(m / contract.scale) for m in contract.mean]]], np.uint8)  # in the network's order
    canvas = np.repeat(np.repeat(ordered(fill, contract), height, axis=0), width, axis=1)
    top, left = place.corner
    canvas[top : top + part.shape[0], left : left + part.shape[1]] = part
    return canvas
