"""Pictures of one channel or of four, for networks that were published for three.

A builder takes ``in_chans``, as timm's do; mean and std become averages, and weights of three channels are adapted as timm adapts them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..runtime.errors import UserMistake
from ..runtime.pictures.contract import CHANNELS, ImageContract

if TYPE_CHECKING:
    from torch import Tensor

    from .spec import ModelSpec

ARGUMENT, USUAL = "in_chans", 3


def checked(asked: Any) -> int:
    """How many channels a network is built for; UserMistake for a number of them that no picture has."""
    if type(asked) is int and asked in CHANNELS:
        return asked
    raise UserMistake(
        "Pictures do not have so many channels",
        found=f"{ARGUMENT}={asked}",
        expected="1 (grey), 3 (red, green, blue) or 4 (with alpha)",
        because="a picture file brings no others",
        attempt="a function that returns the network, exported to ONNX by yourself: --model net.onnx takes arrays by name",
    )


def contract_for(published: ImageContract, channels: int, who: str) -> tuple[ImageContract, tuple[str, ...]]:
    """The contract for so many channels, and what is assumed then: averages of what ``who`` says for another number of them."""
    if channels == published.channels:
        return published, ()
    contract = published.with_channels(channels)
    mean, std = contract.mean[0], contract.std[0]
    many = f"{channels} channel" + ("s" if channels > 1 else "")
    told = f"assumed for {many}, since {who} says mean and std of {published.channels}"
    return contract, (f"{told}: their averages, {mean:.4g} and {std:.4g} (--mean, --std)",)


def adapted(
    state: dict[str, Tensor], spec: ModelSpec, image_size: tuple[int, int]
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Weights of three channels in the first convolutions -> those of the network, as timm adapts them; and a note."""
    channels = spec.config.get(ARGUMENT, USUAL)
    if channels == USUAL or not spec.first_layers:
        return state, ()
    import torch
    from timm.models import adapt_input_conv

    with torch.device("meta"):
        wanted = spec.build(image_size=image_size).state_dict()
    changed = {}
    for name in (f"{layer}.weight" for layer in spec.first_layers):
        if name not in state or name not in wanted or state[name].shape == wanted[name].shape:
            continue
        try:
            made = adapt_input_conv(channels, state[name])
        except (AssertionError, NotImplementedError):
            continue  # the comparison with the network tells that it does not fit
        if made.shape == wanted[name].shape:
            changed[name] = made
    if not changed:
        return state, ()
    many = f"{channels} channel" + ("s" if channels > 1 else "")
    told = f"{', '.join(changed)} adapted from {USUAL} to {many}, as timm does it (adapt_input_conv)"
    return {**state, **changed}, (told,)
