"""Which tensors of a file may fill a network: numbers in floating point, and whole numbers where the network counts with them.

    tensors of any dtype -> float32 where they are floating, as they are elsewhere -> comparison with the network

An integer that stands in for a weight is a code without its scale, or was cut off: the graph would agree with PyTorch,
which was given the same, and both would answer nonsense.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ...runtime.errors import UserMistake

FLOATS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
TRY = "the checkpoint in floating point that it was made from"


def as_float32(tensors: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    """Every floating tensor in float32, others as they are; UserMistake for what holds no plain finite numbers."""
    for name, value in tensors.items():
        if kind := _no_numbers(value):
            raise UserMistake(
                f"{source}: weights of a kind that cannot be read",
                found=f"{name}: {kind}",
                expected="plain tensors in float32, float16, bfloat16 or float64",
                attempt=TRY,
            )
    read = {name: v.detach().float() if v.is_floating_point() else v.detach() for name, v in tensors.items()}
    broken = [name for name, value in read.items() if value.is_floating_point() and not value.isfinite().all()]
    if broken and all(bool(tensors[name].isfinite().all()) for name in broken):
        largest = float(tensors[broken[0]].abs().max())
        raise UserMistake(
            f"{source}: weights beyond float32",
            found=f"{largest:.3g} in {broken[0]} ({_kind(tensors[broken[0]])})",
            expected=f"at most {torch.finfo(torch.float32).max:.3g}",
            because="the network computes in float32, where they are infinite",
            attempt="an earlier checkpoint of the same training",
        )
    if broken:
        raise UserMistake(
            f"{source}: weights that are not numbers",
            found=f"NaN or infinity in {len(broken)} tensors, first {broken[0]}",
            attempt="an earlier checkpoint of the same training",
        )
    return read


def _no_numbers(value: Tensor) -> str:
    """What keeps a tensor from being plain numbers, in words; empty where nothing does."""
    if value.is_quantized:
        return f"quantised, {_kind(value)}"
    if value.layout is not torch.strided:
        return f"{str(value.layout).removeprefix('torch.')}"
    if value.is_meta:
        return "a shape without values (device meta)"
    if value.is_complex():
        return f"{_kind(value)}, whose imaginary part no network here has"
    if value.is_floating_point() and value.dtype not in FLOATS:
        return f"{_kind(value)}, whose scale, where there is one, stands elsewhere"
    return ""


def check_kinds(state: dict[str, Tensor], template: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    """``state`` in the dtypes of the network, whose names and shapes it has; UserMistake where a kind of number differs."""
    wrong = [name for name, value in template.items() if name in state and not _may_fill(name, state[name], value)]
    if wrong:
        first = wrong[0]
        raise UserMistake(
            f"{source}: numbers of another kind than the network's",
            found=f"{_kind(state[first])} in {first}" + (f" and {len(wrong) - 1} more" if wrong[1:] else ""),
            expected=f"{_kind(template[first])}, as the network has it; floating types may differ",
            because="whole numbers in place of weights are codes without their scale, or weights that were cut off",
            attempt=TRY,
        )
    return {name: value.to(template[name].dtype) if name in template else value for name, value in state.items()}


def _may_fill(name: str, value: Tensor, place: Tensor) -> bool:
    """``num_batches_tracked`` counts training steps and is no part of the answer, so it may be of any kind."""
    if name.endswith("num_batches_tracked"):
        return True
    return value.is_floating_point() == place.is_floating_point() and (
        (value.dtype is torch.bool) == (place.dtype is torch.bool)
    )


def _kind(value: Tensor) -> str:
    return str(value.dtype).removeprefix("torch.")
