"""What a model expects of a picture: it travels in the bundle, so that calibration, parity and device prepare alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from numbers import Integral, Real
from typing import Any

from ..errors import UserMistake

# what a picture is enlarged to is known before it is: a small crop of a large side would be no picture but an attack
MAX_SIDE, MAX_PIXELS = 16_384, 2**26
LEAST_CROP = 0.1
LARGEST = 1e9  # of mean, std and scale, and its inverse the smallest: float32 holds the pixels that come of them


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
        for name, holds, expected in (
            ("size", _sides(self.size), f"(height, width), 1 to {MAX_SIDE:,} each, {MAX_PIXELS:,} pixels at most"),
            ("resize", self.resize in ("bicubic", "bilinear"), "bicubic or bilinear"),
            ("antialias", isinstance(self.antialias, bool), "true or false"),
            ("crop_fraction", _between(self.crop_fraction, LEAST_CROP, 1), f"from {LEAST_CROP} to 1"),
            ("fit", self.fit in ("crop", "stretch", "letterbox"), "crop, stretch or letterbox"),
            ("mean", _three(self.mean, -LARGEST, LARGEST), "three numbers"),
            ("std", _three(self.std, 1 / LARGEST, LARGEST), "three numbers above 0"),
            ("colour", self.colour in ("RGB", "BGR"), "RGB or BGR"),
            ("scale", _between(self.scale, 1 / LARGEST, LARGEST), "a number above 0"),
            (
                "mean",
                self.fit != "letterbox" or _fills(self.mean, self.scale),
                "a colour that fills a letterbox, 0 to 255 after scale",
            ),
            ("channels", type(self.channels) is int and self.channels == 3, "3"),
            ("anchor", self.anchor in ("centre", "corner"), "centre or corner"),
            (
                "anchor",
                self.anchor == "centre" or self.fit == "letterbox",
                "centre, as only a letterboxed picture can lie in a corner",
            ),
        ):
            if not holds:
                found = repr(getattr(self, name))[:200]
                raise UserMistake(f"input contract: {name} is not usable", found=found, expected=expected)

    def to_json(self) -> dict[str, Any]:
        """A dict of plain JSON values; ``from_json`` gives the same contract back."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> ImageContract:
        """The contract from a manifest; UserMistake names a field that is unknown, missing or of the wrong kind."""
        if not isinstance(fields, Mapping):
            raise UserMistake("the input contract cannot be read", found=repr(fields)[:200], expected="an object")
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
        try:
            return cls(**values)
        except TypeError as error:
            raise UserMistake("the input contract cannot be read", found=str(error)) from None


def _between(value: object, low: float, high: float) -> bool:
    """Whether it is a number in this range; NaN is in none."""
    return isinstance(value, Real) and not isinstance(value, bool) and low <= float(value) <= high


def _three(values: object, low: float, high: float) -> bool:
    return (
        isinstance(values, (tuple, list)) and len(values) == 3 and all(_between(value, low, high) for value in values)
    )


def _sides(size: object) -> bool:
    if not isinstance(size, (tuple, list)) or len(size) != 2:
        return False
    whole = all(
        isinstance(side, Integral) and not isinstance(side, bool) and 1 <= int(side) <= MAX_SIDE for side in size
    )
    return whole and size[0] * size[1] <= MAX_PIXELS


def _fills(mean: tuple[float, ...], scale: float) -> bool:
    """Whether the mean is a colour of bytes; of what is no number another line tells."""
    return not (_three(mean, -LARGEST, LARGEST) and _between(scale, 1 / LARGEST, LARGEST)) or all(
        0 <= round(value / scale) <= 255 for value in mean
    )
