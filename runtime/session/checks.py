"""Do these arrays fit the graph? Asked before every run, so that an engine never sees a shape it was not built for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from ..bundle.manifest import TensorSpec
from ..errors import EngineFailed, UserMistake


def check_feeds(feeds: Mapping[str, np.ndarray], specs: Sequence[TensorSpec]) -> dict[str, np.ndarray]:
    """The feeds as contiguous arrays in the order of the specs; UserMistake names the first that does not fit."""
    if not isinstance(feeds, Mapping):
        raise UserMistake(
            "run takes inputs by name",
            found=type(feeds).__name__,
            attempt=f"session.run({{{specs[0].name!r}: array}}), or session(picture)",
        )
    names = [spec.name for spec in specs]
    if missing := [name for name in names if name not in feeds]:
        raise UserMistake(
            f"input {missing[0]!r} is missing", found=", ".join(map(str, feeds)), expected=", ".join(names)
        )
    if unknown := [name for name in feeds if name not in names]:
        raise UserMistake(f"there is no input {unknown[0]!r}", expected=", ".join(names))
    open_sizes: dict[str, tuple[str, int]] = {}
    return {spec.name: _check(feeds[spec.name], spec, open_sizes) for spec in specs}


def _check(array: np.ndarray, spec: TensorSpec, open_sizes: dict[str, tuple[str, int]]) -> np.ndarray:
    if type(array) is np.ndarray and _is_as_told(array, spec) and array.flags.c_contiguous:
        return array
    wanted = "(" + ", ".join(map(str, spec.shape)) + ")"
    if not isinstance(array, np.ndarray):
        raise UserMistake(f"input {spec.name!r} is no numpy array", found=type(array).__name__, attempt="np.asarray(x)")
    if str(array.dtype) != spec.dtype:  # numpy itself has no bfloat16
        cast = f"x.astype(np.{spec.dtype})" if hasattr(np, spec.dtype) else ""
        raise UserMistake(
            f"input {spec.name!r} has the wrong type",
            found=str(array.dtype),
            expected=spec.dtype,
            attempt=cast
            + (", or session(picture), which also scales and normalises" if spec.dtype == "float32" else ""),
        )
    if array.ndim != len(spec.shape):
        hint = "x[None] adds the batch" if array.ndim == len(spec.shape) - 1 else ""
        found = f"{array.ndim} axes, {array.shape}"
        raise UserMistake(f"input {spec.name!r} has the wrong rank", found=found, expected=wanted, attempt=hint)
    for axis, size in enumerate(array.shape):
        low, high = spec.limits(axis)
        if size < low or (high is not None and size > high):
            bounds = str(low) if low == high else f"{low} or more" if high is None else f"{low} to {high}"
            name = spec.shape[axis] if isinstance(spec.shape[axis], str) else "batch" if axis == 0 else f"axis {axis}"
            raise UserMistake(
                f"input {spec.name!r} has the wrong size",
                found=f"{array.shape}, {name} is {size}",
                expected=f"{wanted}, {name} {bounds}",
                attempt="" if axis == 0 else "session(picture) resizes by itself",
            )
        symbol = spec.shape[axis]
        if isinstance(symbol, str):
            other, before = open_sizes.setdefault(symbol, (spec.name, size))
            if before != size:
                raise UserMistake(f"inputs disagree on {symbol}", found=f"{other} {before}, {spec.name} {size}")
    return np.asarray(array, order="C")  # ascontiguousarray would give a scalar an axis


def check_results(
    results: Mapping[str, np.ndarray],
    specs: Sequence[TensorSpec],
    backend: str,
    feeds: Mapping[str, np.ndarray],
    inputs: Sequence[TensorSpec],
) -> dict[str, np.ndarray]:
    """The outputs in the order of the specs; EngineFailed when the graph is not the one that the manifest describes.

    A size that has a name in the manifest is that of the ``inputs`` of this name.
    """
    left = [spec for spec in specs if spec.name not in results or not _is_as_told(results[spec.name], spec)]
    sizes = {
        symbol: size
        for spec in (inputs if left else ())
        for symbol, size in zip(spec.shape, feeds[spec.name].shape, strict=True)
        if isinstance(symbol, str)
    }
    for spec in left:
        found = results.get(spec.name)
        wanted = tuple(sizes.get(size, size) if isinstance(size, str) else size for size in spec.shape)
        if found is None or str(found.dtype) != spec.dtype or not _fits(found.shape, wanted):
            raise EngineFailed(
                f"{backend} did not return {spec.name!r} as the bundle promises",
                found=", ".join(f"{name} {array.dtype} {array.shape}" for name, array in results.items()),
                expected=f"{spec.name} {spec.dtype} {wanted}",
                because="the graph is not the one that the manifest describes",
                attempt="copy the bundle again, or export it again",
            )
    return {spec.name: results[spec.name] for spec in specs}


def _is_as_told(array: np.ndarray, spec: TensorSpec) -> bool:
    """The short way for what has one size and is right, as nearly all is: caches are cold behind an engine, and words cost."""
    kind = _kind(spec.dtype)
    return kind is not None and array.shape == spec.shape and array.dtype == kind


@lru_cache(maxsize=32)
def _kind(name: str) -> np.dtype[Any] | None:
    """NumPy's type of this name; None where it has none, such as bfloat16."""
    try:
        return np.dtype(name)
    except TypeError:
        return None


def _fits(shape: tuple[int, ...], wanted: tuple[int | str, ...]) -> bool:
    """Whether an array of this shape is what is promised; a size that still has a name may be any."""
    return len(shape) == len(wanted) and all(
        isinstance(size, str) or size == found for found, size in zip(shape, wanted, strict=True)
    )


def at_least(batch: np.ndarray, least: int) -> np.ndarray:
    """Fill a batch up to the smallest size that the graph takes, with its own last entry."""
    return np.concatenate([batch, np.repeat(batch[-1:], least - len(batch), axis=0)]) if len(batch) < least else batch
