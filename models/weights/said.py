"""The words in which others record how pictures are prepared -> the fields of our input contract.

    timm          mean, std, input_size or img_size, interpolation, crop_pct, crop_mode: train.py's args, pretrained_cfg
    transformers  image_mean, image_std, size, crop_size, crop_pct, resample, do_*: preprocessor_config.json

Sources: timm's ``resolve_data_config`` and ``create_transform``, transformers' image processors. Only what is recorded is
returned; a value that cannot be used raises UserMistake, which names the flag that says it instead.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ...runtime.errors import UserMistake
from ...runtime.pictures.contract import CHANNELS, ImageContract

FITS = {"center": "crop", "squash": "stretch", "border": "letterbox"}  # timm's crop_mode
PIL = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}
LARGEST_PX = 8192  # of a side that anybody trains at; position tables grow with its square
RESIZES = ("bicubic", "bilinear")
Flagged = frozenset[str]  # fields that the user says, so that what is recorded of them is not looked at


def timm_says(words: Mapping[str, Any], origin: str, flagged: Flagged = frozenset()) -> dict[str, Any]:
    """Fields of the contract, ``size`` among them."""
    fields: dict[str, Any] = {}
    for name in ("mean", "std"):
        if words.get(name) is not None and name not in flagged:
            fields[name] = three_numbers(words[name], name, origin)
            fields["scale"] = 1 / 255
    if words.get("interpolation") and "resize" not in flagged:
        fields["resize"] = _resize(words["interpolation"], origin)
        fields["antialias"] = True
    share = words.get("crop_pct") or words.get("eval_crop_ratio")  # the second of DeiT's trainings
    if share and "crop_fraction" not in flagged:
        fields["crop_fraction"] = _fraction(share, origin)
    if words.get("crop_mode"):
        fields["fit"] = _one_of(FITS, words["crop_mode"], "crop_mode", origin)
    if size := timm_size(words):
        fields["size"] = size
    seen, resized = (size_px(words.get(name)) for name in ("val_crop_size", "val_resize_size"))
    if seen and resized:  # of torchvision's trainings
        fields |= {"size": seen, "fit": "crop", "crop_fraction": fraction_of(min(seen), min(resized))}
    return {name: value for name, value in fields.items() if name not in flagged}


def timm_size(words: Mapping[str, Any]) -> tuple[int, int] | None:
    """(height, width): the network's own argument first, as positions are learned for it; else what it was trained with."""
    for key in ("model_args", "model_kwargs"):
        if isinstance(inner := words.get(key), Mapping) and (size := size_px(inner.get("img_size"))):
            return size
    whole = words.get("input_size")
    if isinstance(whole, (list, tuple)) and len(whole) == 3:
        return size_px(whole[1:])
    return size_px(whole) or size_px(words.get("img_size"))  # DeiT's trainings say input_size 224


def transformers_says(words: Mapping[str, Any], origin: str, flagged: Flagged = frozenset()) -> dict[str, Any]:
    """The same of an image processor."""
    fields: dict[str, Any] = {}
    plain, raw = words.get("do_normalize") is False, words.get("do_rescale") is False
    for name, key, none in (("mean", "image_mean", 0.0), ("std", "image_std", 1.0)):
        value = none if plain else words.get(key)
        if value is not None and name not in flagged:
            fields[name] = three_numbers(value, key, origin)
    factor = words.get("rescale_factor")
    factor = 1 / 255 if factor is None else factor
    if not _number(factor) or not 0 < factor <= 1:
        raise _unusable("rescale_factor", factor, "more than 0, at most 1", origin, "--mean and --std")
    if raw and (plain or max(fields.get("mean", (0,))) > 1):
        factor = 1.0  # else pictures of 0..1 are what such a processor is given
    elif words.get("rescale_offset") and "mean" in fields:  # EfficientNet's: a pixel is scaled to -1..1 first
        fields["mean"] = tuple(value + 1 for value in fields["mean"])
    if fields:
        fields["scale"] = float(factor)
    if words.get("do_flip_channel_order") and "colour" not in flagged:
        fields["colour"] = "BGR"
    if words.get("resample") is not None and "resize" not in flagged:
        fields["resize"] = _resize(PIL.get(words["resample"], words["resample"]), origin)
        fields["antialias"] = True
    return fields | _transformers_crop(words, origin, flagged)


def _transformers_crop(words: Mapping[str, Any], origin: str, flagged: Flagged) -> dict[str, Any]:
    """Which part of a picture is seen. ``size`` is that after resizing, ``crop_size`` what the network gets of it.

    ConvNeXT's processor, which VAN has too: ``crop_pct`` in place of ``crop_size``, and no crop from 384 pixels on.
    """
    if words.get("do_resize") is False:
        return {}  # pictures of any size then reach the network, which a bundle does not take
    size, share = words.get("size"), words.get("crop_pct")
    shortest = size.get("shortest_edge") if isinstance(size, Mapping) else size if share else None
    seen = size_px(words.get("crop_size")) if words.get("do_center_crop") else None
    fields: dict[str, Any] = {}
    if seen and (resized := shortest or min(size_px(size) or (0,))):
        fields = {
            "size": seen,
            "fit": "crop" if shortest else "stretch",
            "crop_fraction": fraction_of(min(seen), resized),
        }
    elif isinstance(shortest, int):
        cropped = shortest < 384
        fields = {"size": (shortest, shortest), "fit": "crop" if cropped else "stretch"}
        fields["crop_fraction"] = _fraction(share or 0.875, origin) if cropped else 1.0
    elif whole := size_px(size):
        fields = {"size": whole, "fit": "stretch", "crop_fraction": 1.0}
    return {name: value for name, value in fields.items() if name not in flagged}


def fraction_of(seen: int, resized: int) -> float:
    """The crop fraction f with floor(seen / f) = resized, exactly."""
    fraction = min(seen / resized, 1.0)
    return math.nextafter(fraction, 0) if math.floor(seen / fraction) < resized else fraction


def size_px(value: Any) -> tuple[int, int] | None:
    """(height, width) out of a side, a pair or a mapping with height and width."""
    if isinstance(value, Mapping):
        value = (value.get("height"), value.get("width"))
    pair = value if isinstance(value, (list, tuple)) and len(value) != 1 else (value, value)
    pair = [_whole(side[0] if isinstance(side, (list, tuple)) and len(side) == 1 else side) for side in pair]
    whole = len(pair) == 2 and all(
        isinstance(side, int) and not isinstance(side, bool) and 0 < side <= LARGEST_PX for side in pair
    )
    return (pair[0], pair[1]) if whole else None


def _whole(side: Any) -> Any:
    """A side as a whole number where it is a text or a float of one: 224 of "224" and of 224.0."""
    if isinstance(side, str) and len(side) < 10 and side.strip().isdecimal():
        return int(side)
    return int(side) if isinstance(side, float) and side.is_integer() else side


def _resize(value: Any, origin: str) -> str:
    return _one_of({name: name for name in RESIZES}, str(value).lower(), "interpolation", origin)


def _fraction(value: Any, origin: str) -> float:
    if not _number(value) or not 0 < value <= 1:
        raise _unusable("crop_pct", value, "more than 0, at most 1", origin, "--crop 0.9")
    return float(value)


def _one_of(known: Mapping[str, str], value: Any, name: str, origin: str) -> str:
    if not isinstance(value, str) or value not in known:
        attempt = "--resize bicubic, and measure" if name == "interpolation" else "a checkpoint without it"
        raise _unusable(name, value, "one of " + ", ".join(known), origin, attempt)
    return known[value]


def three_numbers(value: Any, name: str, origin: str) -> tuple[float, ...]:
    """The same with one number taken for three channels, as most pictures have them."""
    found = channel_numbers(value, name, origin)
    return found * 3 if len(found) == 1 else found


def channel_numbers(value: Any, name: str, origin: str) -> tuple[float, ...]:
    """One number, or one a channel (3 or 4), also of a text with commas; UserMistake for anything else, and a std of 0."""
    parts: Any = value.strip("[]() ").replace(",", " ").split() if isinstance(value, str) else value
    parts = parts if isinstance(parts, (list, tuple)) else [parts]
    try:
        numbers = [float(part) for part in parts if not isinstance(part, bool)]
    except (TypeError, ValueError, OverflowError):  # the last: a whole number of 400 digits
        numbers = []
    usable = len(numbers) == len(parts) in CHANNELS and all(map(math.isfinite, numbers))
    if not usable or (name.endswith("std") and min(numbers) <= 0):
        flag = name.removeprefix("--").removeprefix("image_")
        raise UserMistake(
            f"{origin}: {name} cannot be used",
            found="a tensor or another object" if isinstance(value, Mapping) else str(value)[:120],
            expected="three finite numbers, or one for all channels" + (", above 0" if flag == "std" else ""),
            because="(x - mean) / std is computed for each channel of a picture",
            attempt=f"--{flag} 0.5,0.5,0.5",
        )
    return tuple(numbers)


def check_units(contract: ImageContract, origin: str) -> None:
    """UserMistake where mean and std are those of pictures of 0..255 and the contract's are of 0..1, or the other way round."""
    most = 255 * contract.scale  # of a pixel before mean and std
    spread = [most / std for std in contract.std]  # from black to white after them
    if max(spread) <= 300 and min(spread) >= 0.1 and max(map(abs, contract.mean)) <= most:
        return
    factor = 255 if most > 1 else 1 / 255
    mean, std = (",".join(f"{value * factor:.4g}" for value in values) for values in (contract.mean, contract.std))
    raise UserMistake(
        f"{origin}: mean and std are not those of pictures of 0..{most:g}",
        found=f"mean {contract.mean}, std {contract.std}",
        expected=f"a mean within 0..{most:g}, and a std that leaves pictures between 0.1 and 300 wide",
        because=f"a pixel is multiplied by {contract.scale:.4g} first",
        attempt=f"--mean {mean} --std {std}",
    )


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _unusable(name: str, value: Any, expected: str, origin: str, attempt: str) -> UserMistake:
    return UserMistake(
        f"{origin}: the preprocessing that it records cannot be used",
        found=f"{name} = {value!r}"[:160],
        expected=expected,
        because="pictures prepared in another way than in the training are answered wrongly",
        attempt=attempt,
    )
