"""How pictures are prepared: as the checkpoint records it, else as the family does, and as flags say above both.

weights, --mean --std --crop --resize --colour -> ModelSpec, ImageContract and what has to be told
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ...models.weights.place import NAMED
from ...models.weights.recorded import Recorded, recorded
from ...models.weights.said import RESIZES, check_units, three_numbers
from ...runtime.errors import UserMistake
from ..run.arguments import check_word
from .settings import Settings

if TYPE_CHECKING:
    from ...runtime.pictures.contract import ImageContract

COLOURS = ("rgb", "bgr")


def asked_fields(asked: Settings) -> dict[str, Any]:
    """Fields of the contract that flags say; UserMistake for what is none."""
    fields: dict[str, Any] = {}
    for name in ("mean", "std"):
        if (value := getattr(asked, name)) is not None:
            fields[name] = three_numbers(
                value if isinstance(value, (str, float, int)) else list(value), f"--{name}", "export"
            )
    if asked.crop is not None:
        if not 0 < asked.crop <= 1:  # NaN is not either
            raise UserMistake(
                "--crop is out of range",
                found=f"--crop {asked.crop:g}",
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
    return fields


def recorded_at(weights: str, fields: Mapping[str, Any]) -> Recorded:
    """What the checkpoint records; what ``fields`` say in its place is not even looked at."""
    return Recorded() if weights in NAMED else recorded(weights, frozenset(fields))


def contract_words(contract: ImageContract) -> str:
    """In one line, for the plan."""
    mean, std = (" ".join(f"{value:.4g}" for value in values) for values in (contract.mean, contract.std))
    seen = f"{contract.fit}, {contract.crop_fraction:.4g} of it, {contract.resize}"
    return f"{seen}, {contract.colour}, x {contract.scale:.4g}, mean {mean}, std {std}"


def prepared(contract: ImageContract, fields: Mapping[str, Any]) -> ImageContract:
    """The contract with what the flags say; UserMistake for numbers in the units of other pictures."""
    changed = replace(contract, **fields)
    if "mean" in fields or "std" in fields:
        check_units(changed, "--mean and --std")
    return changed
