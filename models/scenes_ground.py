"""What lies behind the things of a scene: crops of photographs that installed packages ship, or drawn noise.

    split, size -> uint8 (H, W, 3) RGB

The held-out scenes have photographs of their own. Where none is installed the ground is noise, and the scenes are others.
"""

from __future__ import annotations

import importlib.util
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

_SKIMAGE, _SKLEARN = ("skimage", "data"), ("sklearn", "datasets/images")
_TRAIN = {
    _SKIMAGE: ("chelsea.png", "coffee.png", "motorcycle_left.png", "brick.png", "grass.png", "ihc.png", "camera.png"),
    _SKLEARN: ("china.jpg",),
}
_HELD_OUT = {
    _SKIMAGE: ("astronaut.png", "rocket.jpg", "gravel.png", "hubble_deep_field.jpg"),
    _SKLEARN: ("flower.jpg",),
}
PHOTOGRAPHS = {"train": _TRAIN, "calibration": _TRAIN, "held_out": _HELD_OUT}


@lru_cache(maxsize=4)
def photographs(split: str) -> tuple[np.ndarray, ...]:
    """uint8 RGB, in the order of the table above; those that are not installed are missing."""
    found = []
    for (package, folder), names in PHOTOGRAPHS[split].items():
        spec = importlib.util.find_spec(package)  # finds the folder without importing the package
        for root in (spec.submodule_search_locations or ()) if spec else ():
            files = [Path(root) / folder / name for name in names]
            pictures = [cv2.imread(str(path), cv2.IMREAD_COLOR) for path in files if path.is_file()]
            found += [picture[..., ::-1] for picture in pictures if picture is not None]
    return tuple(found)


def noise(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """uint8 (H, W, 3): three octaves of smooth noise."""
    total = np.zeros((*size, 3), np.float32)
    for cells, share in ((2, 0.55), (6, 0.3), (24, 0.15)):
        coarse = rng.integers(0, 256, (cells, cells, 3)).astype(np.float32)
        total += share * cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_LINEAR)
    return np.rint(total).clip(0, 255).astype(np.uint8)


def ground(rng: np.random.Generator, split: str, size: tuple[int, int]) -> np.ndarray:
    """One background; the crop takes a quarter to all of a photograph's shorter side, then flips and colours change."""
    pictures = photographs(split)
    if not pictures or rng.random() < 0.12:
        return noise(rng, size)
    picture = pictures[rng.integers(len(pictures))]
    height, width = size
    whole = min(picture.shape[0] / height, picture.shape[1] / width)
    zoom = whole * rng.uniform(0.25, 1.0)
    rows, columns = max(int(height * zoom), 1), max(int(width * zoom), 1)
    top, left = rng.integers(picture.shape[0] - rows + 1), rng.integers(picture.shape[1] - columns + 1)
    crop = picture[top : top + rows, left : left + columns]
    crop = crop[:: rng.choice((-1, 1)), :: rng.choice((-1, 1)), rng.permutation(3)]
    crop = cv2.resize(np.ascontiguousarray(crop), (width, height), interpolation=cv2.INTER_LINEAR)
    gain, shift = rng.uniform(0.6, 1.25, 3), rng.uniform(-30, 30, 3)
    return np.rint(crop * gain + shift).clip(0, 255).astype(np.uint8)
