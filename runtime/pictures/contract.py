"""What a model expects of a picture: it travels in the bundle, so that calibration, parity and device prepare alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ..errors import UserMistake


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
