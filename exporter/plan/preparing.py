"""How pictures are prepared: as the source or the checkpoint says, a contract file above it, and flags above both.

--mean --std --scale --crop --resize --colour --channels --input-dtype --layout, --contract -> ModelSpec, ImageContract
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields as fields_of
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from ...models.registry import find
from ...models.spec import face_words
from ...models.weights.place import NAMED
from ...models.weights.recorded import Recorded, recorded
from ...models.weights.said import RESIZES, channel_numbers, check_units
from ...runtime.errors import UserMistake
from ...runtime.pictures.contract import BYTES, CHANNELS, FLOAT32, LARGEST, SIDES
from ..run.arguments import check_word
from ..run.contract_file import OWN, read_contract
from .kinds import check_kinds
from .settings import Settings

if TYPE_CHECKING:
    from ...models.spec import ModelSpec
    from ...runtime.pictures.contract import ImageContract

COLOURS = ("rgb", "bgr")
FITS = ("crop", "stretch", "letterbox")
FLAGS = {"mean": "--mean", "std": "--std", "scale": "--scale", "crop_fraction": "--crop", "resize": "--resize",
         "colour": "--colour", "channels": "--channels", "dtype": "--input-dtype", "layout": "--layout"}  # fmt: skip


def with_contract_file(asked: Settings) -> tuple[Settings, dict[str, Any]]:
    """The settings with what ``--contract`` says where no flag says it, and what only a file can say."""
    if asked.contract is None:
        return asked, {}
    said = read_contract(asked.contract)
    own = {name: said.pop(name) for name in OWN if name in said}
    if "fit" in own:
        own["fit"] = str(own["fit"]).lower()
        check_word("fit of the contract", own["fit"], FITS)
    if not isinstance(own.get("antialias", True), bool):
        raise UserMistake(
            f"{asked.contract}: antialias cannot be used", found=str(own["antialias"]), expected="true or false"
        )
    said = {name: value for name, value in said.items() if getattr(asked, name) is None}
    check_kinds(fields_of(Settings), said)
    return replace(asked, **said), own


def asked_fields(asked: Settings) -> dict[str, Any]:
    """Fields of the contract that flags say; UserMistake for what is none. ``mean`` and ``std`` as many as were given."""
    fields: dict[str, Any] = {}
    for name in ("mean", "std"):
        if (value := getattr(asked, name)) is not None:
            fields[name] = channel_numbers(
                value if isinstance(value, (str, float, int)) else list(value), f"--{name}", "export"
            )
    if asked.scale is not None:
        fields["scale"] = scale_of(asked.scale)
    if asked.crop is not None:
        if not 0 < asked.crop <= 1:  # NaN is not either
            raise UserMistake(
                "--crop is out of range",
                found=f"--crop {str(asked.crop)[:40]}",
                expected="more than 0, at most 1: the share of a side that the centre crop keeps",
                attempt="--crop 0.9, or 1 for the whole picture",
            )
        fields["crop_fraction"] = float(asked.crop)
    if asked.resize is not None:
        check_word("--resize", asked.resize.lower(), RESIZES)
        fields["resize"] = asked.resize.lower()
    if asked.colour is not None:
        check_word("--colour", asked.colour.lower(), COLOURS)
        fields["colour"] = asked.colour.upper()
    if asked.channels is not None:
        check_word("--channels", asked.channels, CHANNELS)
        fields["channels"] = asked.channels
    if asked.input_dtype is not None:
        check_word("--input-dtype", asked.input_dtype.lower(), (FLOAT32, BYTES))
        fields["dtype"] = asked.input_dtype.lower()
    if asked.layout is not None:
        check_word("--layout", asked.layout.upper(), tuple(SIDES))
        fields["layout"] = asked.layout.upper()
    return fields


def scale_of(word: str | float) -> float:
    """What a pixel is multiplied by: ``255`` and ``1/255`` both make 0..1 of it, ``1`` leaves it as it is.

    A number of 1 or more is what pixels are divided by, one below is what they are multiplied with, and so is a fraction.
    """
    try:
        value = float(Fraction(str(word).replace(" ", "")))
    except (ValueError, ZeroDivisionError, OverflowError):
        value = math.nan
    if not 1 / LARGEST <= value <= LARGEST:  # NaN is not either
        raise UserMistake(
            "--scale cannot be used",
            found=f"--scale {word}"[:80],
            expected="what pixels of 0..255 are divided by: 255 or 1/255 for 0..1, 127.5 for 0..2, 1 for pixels as they are",
            attempt="--scale 255",
        )
    return 1 / value if value >= 1 else value


def recorded_at(weights: str, fields: Mapping[str, Any]) -> Recorded:
    """What the checkpoint records; what ``fields`` say in its place is not even looked at."""
    return Recorded() if weights in NAMED else recorded(weights, frozenset(fields))


def found_for(model: str, model_args: Mapping[str, Any], fields: Mapping[str, Any]) -> ModelSpec:
    """The model, built for as many channels as ``fields`` say where its builder can be told; UserMistake where it cannot."""
    spec = find(model, model_args)
    channels, argument = fields.get("channels"), spec.channels_argument
    if channels is None or channels == spec.contract.channels:
        return spec
    if argument and argument not in model_args:
        return find(model, {**model_args, argument: channels})
    told = f" --model-arg {argument}={model_args[argument]}" if argument else ""
    raise UserMistake(
        f"The contract contradicts the input of {spec.name}",
        found=f"--channels {channels}{told}",
        expected=face_words(*spec.contract.face),
        because="the file was written for it" if spec.file else "its layers are made for it",
        attempt="leave --channels out"
        + (", or a network of timm or a family of ours, whose channels can be chosen" if not argument else ""),
    )


def contract_words(contract: ImageContract) -> str:
    """In one line, for the plan."""
    seen = f"{contract.fit}, {contract.crop_fraction:.4g} of it, {contract.resize}"
    kind = {1: "grey", 4: f"{contract.colour} with alpha"}.get(contract.channels, contract.colour)
    if contract.layout != "NCHW":
        kind += f", {contract.layout}"
    if contract.dtype == BYTES:
        return f"{seen}, {kind}, bytes as they are"
    mean, std = (" ".join(f"{value:.4g}" for value in values) for values in (contract.mean, contract.std))
    return f"{seen}, {kind}, x {contract.scale:.4g}, mean {mean}, std {std}"


def prepared(spec: ModelSpec, contract: ImageContract, fields: Mapping[str, Any]) -> ImageContract:
    """The contract with what the flags say.

    Raises:
        UserMistake: numbers in the units of other pictures, as many as there are no channels, or what the network does not take.
    """
    fields = dict(fields)
    for name in ("mean", "std"):
        if name in fields:
            fields[name] = _per_channel(fields[name], contract.channels, FLAGS[name])
    if fields.get("dtype") == BYTES and contract.dtype != BYTES:
        contract = contract.raw()
    if fields.get("colour", "RGB") != "RGB" and contract.channels == 1:
        raise UserMistake(
            "Grey has no order of colours",
            found=f"--colour {fields['colour'].lower()}, 1 channel",
            expected="--colour rgb, whose grey it is",
            attempt="leave --colour out",
        )
    dtype = fields.get("dtype", contract.dtype)
    changed = replace(contract, **{**fields, "dtype": FLOAT32})
    if dtype == BYTES and not changed.plain:
        told = next(name for name in ("mean", "std", "scale") if name in fields)
        raise UserMistake(
            f"{spec.name} takes bytes, which are not prepared",
            found=f"{FLAGS[told]} {_spelt(fields[told])}",
            expected="pixels 0 to 255 as they are",
            because="the network itself computes scale, mean and std",
            attempt=f"leave {FLAGS[told]} out, or --input-dtype {FLOAT32}",
        )
    if "mean" in fields or "std" in fields or "scale" in fields:
        check_units(changed, "--mean, --std and --scale")
    changed = replace(changed, dtype=dtype)
    spec.check_contract(changed)
    return changed


def _per_channel(values: tuple[float, ...], channels: int, flag: str) -> tuple[float, ...]:
    """One number for all channels, or one each; UserMistake for another number of them."""
    if len(values) in (1, channels):
        return values * (channels // len(values))
    raise UserMistake(
        f"{flag} is for another number of channels",
        found=f"{flag} {_spelt(values)}",
        expected=f"{channels} number{'s' if channels > 1 else ''}" + (", or one for all" if channels > 1 else ""),
        because=f"pictures have {channels} channel{'s' if channels > 1 else ''} here",
        attempt=f"{flag} " + ",".join(["0.5"] * channels),
    )


def assumed(spec: ModelSpec, fields: Mapping[str, Any], contract: ImageContract) -> tuple[str, ...]:
    """What neither the source of the model nor the user says of how pictures are prepared, with what was taken for it."""
    if not spec.contract_assumed:
        return ()
    names = ["crop_fraction", "resize"]
    names = names if contract.dtype == BYTES else ["mean", "std", "scale", *names]
    unsaid = [name for name in (*names, *(["colour"] if contract.channels > 1 else [])) if name not in fields]
    if not unsaid:
        return ()
    told = ", ".join(f"{FLAGS[name]} {_spelt(getattr(contract, name))}" for name in unsaid)
    return (
        f"assumed, since {spec.contract_assumed} does not say how its pictures are prepared: {told}, as for ImageNet in timm",
    )


def _spelt(value: Any) -> str:
    """As it is typed."""
    if isinstance(value, tuple):
        return ",".join(f"{one:.4g}" for one in value)
    if isinstance(value, float):
        return f"1/{1 / value:.4g}" if 0 < value < 1 / 16 else f"{value:.4g}"
    return str(value).lower()
