"""Which tensors of a file may fill a network: numbers in floating point, and whole numbers where the network counts with them.

    Stored of any dtype -> float32 where they are floating, as they are elsewhere -> comparison with the network

An integer that stands in for a weight is a code without its scale, or was cut off: the graph would agree with PyTorch,
which was given the same, and both would answer nonsense.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ...runtime.errors import UserMistake
from .files.stored import Stored
from .files.zipped import NotWhole

UNFOLDED, SMALL = 4, 64_000_000  # times the file's size, and bytes beside, that tensors may take
TRY = "the checkpoint in floating point that it was made from"


def values_of(tensors: Mapping[str, Stored], source: str, size_bytes: int) -> dict[str, Tensor]:
    """Every tensor read, floating ones in float32; UserMistake for what holds no plain finite numbers.

    ``size_bytes`` is that of the file: what unfolds to far more out of it is no network's weights.
    """
    for name, value in tensors.items():
        if kind := _no_numbers(value):
            raise UserMistake(
                f"{source}: weights of a kind that cannot be read",
                found=f"{name}: {kind}",
                expected="plain tensors in float32, float16, bfloat16 or float64",
                attempt=TRY,
            )
    if (unfolded := sum(value.nbytes for value in tensors.values())) > UNFOLDED * size_bytes + SMALL:
        largest = max(tensors, key=lambda name: tensors[name].nbytes)
        raise UserMistake(
            f"{source}: tensors that are far larger than the file",
            found=f"{unfolded / 1e6:,.0f} MB out of {size_bytes / 1e6:,.1f} MB, {largest} of shape {tensors[largest].shape}",
            expected="tensors that stand in the file with all their values",
            because="a view that repeats its values is no weight of a network",
            attempt="torch.save({k: v.contiguous() for k, v in state.items()}, FILE)",
        )
    read: dict[str, Tensor] = {}
    for name, value in tensors.items():
        found = _value(value, source).detach()
        read[name] = found.float() if found.is_floating_point() else found
        if read[name].is_floating_point() and not is_finite(read[name]):
            raise _not_finite(name, found, source)
    return read


def is_finite(value: Tensor) -> bool:
    """Whether no value is NaN or infinite: those leave no sum finite, and a sum costs half of asking each."""
    return bool(value.sum().isfinite()) or bool(value.isfinite().all())  # finite ones may overflow together


def _value(stored: Stored, source: str) -> Tensor:
    if stored.values is None:
        raise AssertionError("only a kind that is told has no values")
    try:
        return stored.values()
    except (NotWhole, OSError) as error:
        raise UserMistake(
            f"{source}: the values of a tensor cannot be read",
            found=str(error)[:160],
            expected="a whole file that nobody writes to",
            attempt="copy or download it again",
        ) from None


def _not_finite(name: str, value: Tensor, source: str) -> UserMistake:
    if bool(value.isfinite().all()):
        return UserMistake(
            f"{source}: weights beyond float32",
            found=f"{float(value.abs().max()):.3g} in {name} ({_kind(value)})",
            expected=f"at most {torch.finfo(torch.float32).max:.3g}",
            because="the network computes in float32, where they are infinite",
            attempt="an earlier checkpoint of the same training",
        )
    return UserMistake(
        f"{source}: weights that are not numbers",
        found=f"NaN or infinity in {name}",
        attempt="an earlier checkpoint of the same training",
    )


def _no_numbers(value: Stored) -> str:
    """What keeps a tensor from being plain numbers, in words; empty where nothing does."""
    if value.kind:
        return value.kind
    if value.dtype.startswith("complex"):
        return f"{value.dtype}, whose imaginary part no network here has"
    if value.dtype.startswith("float8"):
        return f"{value.dtype}, whose scale, where there is one, stands elsewhere"
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
