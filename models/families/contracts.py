"""The input contracts that several families share: a centre crop of a picture, normalised.

They are those of the authors' or timm's evaluation.
"""

from __future__ import annotations

from typing import Any

from ...runtime.pictures.contract import ImageContract

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
HALVES = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}


def crop_contract(crop_fraction: float, norm: dict[str, Any], size: int = 224) -> ImageContract:
    """A square of ``size`` pixels out of the middle, resized with an antialiased bicubic filter; ``norm`` is one of the above."""
    return ImageContract(
        size=(size, size),
        resize="bicubic",
        antialias=True,
        crop_fraction=crop_fraction,
        fit="crop",
        colour="RGB",
        **norm,
    )
