"""What a model expects of a picture: it travels in the bundle, so that calibration, parity and device prepare alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from numbers import Integral, Real
from typing import Any

from ..errors import UserMistake

# what a picture is enlarged to is known before it is: a small crop of a large side would be no picture but an attack
MAX_SIDE, MAX_PIXELS = 16_384, 2**26
LEAST_CROP = 0.1
LARGEST = 1e9  # of mean, std and scale, and its inverse the smallest: float32 holds the pixels that come of them
CHANNELS = (1, 3, 4)  # grey; red, green, blue; and these with alpha
FLOAT32, BYTES = "float32", "uint8"
CHANNELS_FIRST, CHANNELS_LAST = "NCHW", "NHWC"
SIDES = {CHANNELS_FIRST: (2, 3), CHANNELS_LAST: (1, 2)}  # the axes of height and width
NEWER = {"dtype": FLOAT32, "layout": CHANNELS_FIRST}  # fields that bundles before them lack, and what they mean there


@dataclass(frozen=True)
class ImageContract:
    """What one input picture goes through. ``mean`` and ``std`` are in units after ``scale``, in the order ``colour``, one a channel.

    channels 1       grey, as Pillow's mode L: (19595 R + 38470 G + 7471 B) / 65536, rounded
    channels 4       red, green, blue and alpha, which is 255 where a picture has none; ``colour`` orders the first three

    dtype "uint8"    the graph takes pixels as they are, 0 to 255, and computes scale, mean and std itself
    layout "NHWC"    channels are the last axis of the graph's input, as in files that come from TensorFlow

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
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    colour: str = "RGB"  # or "BGR"
    scale: float = 1 / 255
    channels: int = 3
    anchor: str = "centre"  # or "corner"
    dtype: str = FLOAT32  # of the graph's input; or "uint8"
    layout: str = CHANNELS_FIRST  # or "NHWC"

    def __post_init__(self) -> None:
        for name, holds, expected in (
            ("size", _sides(self.size), f"(height, width), 1 to {MAX_SIDE:,} each, {MAX_PIXELS:,} pixels at most"),
            ("resize", self.resize in ("bicubic", "bilinear"), "bicubic or bilinear"),
            ("antialias", isinstance(self.antialias, bool), "true or false"),
            ("crop_fraction", _between(self.crop_fraction, LEAST_CROP, 1), f"from {LEAST_CROP} to 1"),
            ("fit", self.fit in ("crop", "stretch", "letterbox"), "crop, stretch or letterbox"),
            ("channels", type(self.channels) is int and self.channels in CHANNELS, "1, 3 or 4"),
            ("mean", _numbers(self.mean, self.channels, -LARGEST, LARGEST), _words(self.channels)),
            ("std", _numbers(self.std, self.channels, 1 / LARGEST, LARGEST), f"{_words(self.channels)} above 0"),
            ("colour", self.colour in ("RGB", "BGR"), "RGB or BGR"),
            ("scale", _between(self.scale, 1 / LARGEST, LARGEST), "a number above 0"),
            (
                "mean",
                self.fit != "letterbox" or _fills(self.mean, self.scale),
                "a colour that fills a letterbox, 0 to 255 after scale",
            ),
            ("colour", self.colour == "RGB" or self.channels != 1, "RGB, as grey has no order of colours"),
            ("dtype", self.dtype in (FLOAT32, BYTES), f"{FLOAT32} or {BYTES}"),
            ("layout", self.layout in SIDES, " or ".join(SIDES)),
            (
                "dtype",
                self.dtype != BYTES or self.plain,
                "float32 beside a scale, mean or std: a graph that takes bytes takes pixels as they are",
            ),
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
        for name in ("size", "mean", "std"):  # lists too are taken; a contract is a key of what is worked out once
            object.__setattr__(self, name, tuple(getattr(self, name)))

    @property
    def plain(self) -> bool:
        """Whether pixels reach the network as they are, 0 to 255."""
        return self.scale == 1 and not any(self.mean) and all(value == 1 for value in self.std)

    @property
    def face(self) -> tuple[int, str, str]:
        """What the graph's input looks like beside its size: (channels, dtype, layout)."""
        return self.channels, self.dtype, self.layout

    def shape(self, batch: int, size: tuple[int, int] | None = None) -> tuple[int, int, int, int]:
        """The input of the graph for so many pictures, of another ``size`` where one is given."""
        height, width = size or self.size
        return (
            (batch, height, width, self.channels)
            if self.layout == CHANNELS_LAST
            else (batch, self.channels, height, width)
        )

    def sides(self, shape: Sequence[int]) -> tuple[int, int]:
        """(height, width) of an input of the graph."""
        high, wide = SIDES[self.layout]
        return shape[high], shape[wide]

    def with_channels(self, channels: int) -> ImageContract:
        """The same for a network of other channels; mean and std as ``spread`` makes them."""
        mean, std = spread(self.mean, channels), spread(self.std, channels)
        return replace(self, mean=mean, std=std, channels=channels, colour=self.colour if channels > 1 else "RGB")

    def usual(self) -> ImageContract:
        """What is assumed for an input like this one where nothing says how its pictures are prepared."""
        known = replace(ImageContract(self.size).with_channels(self.channels), layout=self.layout)
        return replace(known.raw(), dtype=BYTES) if self.dtype == BYTES else known

    def raw(self) -> ImageContract:
        """The same pictures as bytes 0 to 255, not prepared any further."""
        return replace(self, mean=(0.0,) * self.channels, std=(1.0,) * self.channels, scale=1.0)

    def to_json(self) -> dict[str, Any]:
        """A dict of plain JSON values; ``from_json`` gives the same contract back. Without what older versions lack and mean."""
        fields = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}
        return {key: value for key, value in fields.items() if NEWER.get(key) != value}

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


def spread(values: Sequence[float], channels: int) -> tuple[float, ...]:
    """One number a channel: as they are, one for all, or the mean of them for all where there is another number of them.

    So timm does it for a network of other channels than its weights were published with.
    """
    if len(values) == channels:
        return tuple(values)
    alike = all(value == values[0] for value in values)
    return (values[0] if alike else sum(values) / len(values),) * channels


def _numbers(values: object, count: int, low: float, high: float) -> bool:
    return (
        isinstance(values, (tuple, list))
        and len(values) == count
        and all(_between(value, low, high) for value in values)
    )


def _words(channels: object) -> str:
    known = {"1": "one number", "4": "four numbers"}
    return known.get(str(channels), "three numbers") + ", as many as channels"


def _sides(size: object) -> bool:
    if not isinstance(size, (tuple, list)) or len(size) != 2:
        return False
    whole = all(
        isinstance(side, Integral) and not isinstance(side, bool) and 1 <= int(side) <= MAX_SIDE for side in size
    )
    return whole and size[0] * size[1] <= MAX_PIXELS


def _fills(mean: tuple[float, ...], scale: float) -> bool:
    """Whether the mean is a colour of bytes; of what is no number another line tells."""
    count = len(mean) if isinstance(mean, (tuple, list)) else -1
    return not (_numbers(mean, count, -LARGEST, LARGEST) and _between(scale, 1 / LARGEST, LARGEST)) or all(
        0 <= round(value / scale) <= 255 for value in mean
    )
