"""The sizes of every input of a file: those that it fixes, and for each open axis a smallest, usual and largest one.

--opt-shapes ids:1x16,mask:1x16      as trtexec spells it; with one input the name may be left out
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ....models.graph_file import FileTensor
from ....runtime.bundle.manifest import MAX_ELEMENTS
from ....runtime.errors import UserMistake
from ...run import arguments
from ...run.feeds import Bound

if TYPE_CHECKING:
    from ....models.graph_file import GraphFile
    from ...plan.settings import Settings

OPEN_BATCH = (1, 1, 8)
SIDE_PX, LENGTH = 224, 16  # of an open axis that nobody gave a size: behind the channels of a map, and elsewhere
MAP_RANK = 4
KEYS = ("min", "opt", "max")


@dataclass(frozen=True)
class InputSizes:
    """One input; ``shape`` has the file's name where the size is open in what is written."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]
    min: tuple[int, ...]
    opt: tuple[int, ...]
    max: tuple[int, ...]

    def at(self, key: str) -> Bound:
        """Name, type and sizes at "min", "opt" or "max"."""
        sizes: tuple[int, ...] = getattr(self, key)
        return self.name, self.dtype, sizes

    def to_json(self) -> dict[str, object]:
        """As the manifest has it."""
        is_open = any(isinstance(size, str) for size in self.shape)
        bounds = {key: list(getattr(self, key)) if is_open else None for key in KEYS}
        return {"name": self.name, "dtype": self.dtype, "shape": list(self.shape), **bounds}


def input_sizes(
    file: GraphFile, asked: Settings, given: dict[str, np.ndarray] | None
) -> tuple[tuple[InputSizes, ...], list[str]]:
    """The sizes, and notes on those that were assumed. ``given``: arrays of --data, whose sizes are the usual ones.

    Raises:
        UserMistake: flags, arrays and file contradict each other.
    """
    told = {key: _flag(file, getattr(asked, f"{key}_shapes"), f"--{key}-shapes") for key in KEYS}
    for name, array in (given or {}).items():
        told["opt"].setdefault(name, array.shape)
    low, high = OPEN_BATCH[::2] if asked.batch is None else arguments.batch(asked.batch)
    first = _open_batch(file)
    fixed = asked.batch is None or arguments.batch(asked.batch) == (file.batch, file.batch)
    if first is None and (asked.dynamic or not fixed):
        raise UserMistake(
            "The batch of this file is fixed",
            found="--dynamic" if asked.batch is None else f"--batch {asked.batch}",
            expected=f"no --batch: {file.inputs[0]}",
            because="the file was written for this size",
            attempt="leave --batch out, or export the network again with the axis open",
        )
    sizes: dict[str, tuple[int, int, int]] = {} if first is None else {first: (low, low, high)}
    notes: list[str] = []
    for one in file.inputs:
        for axis, size in enumerate(_declared(one)):
            if isinstance(size, str):
                usual = _at(told["opt"], one, axis)
                asked_for = tuple(_at(told[key], one, axis) for key in KEYS)
                known = sizes.get(size)
                if usual is None and known is None and not any(asked_for):
                    usual = _assumed(one, axis)
                    notes.append(
                        f"the size {size} of {one.name} is open: {usual} was assumed (--min-shapes, --opt-shapes, --max-shapes)"
                    )
                sizes[size] = _range(size, known, asked_for, usual)
    found = tuple(_with(one, sizes) for one in file.inputs)
    _check(file, told, sizes)
    for made in found:
        if math.prod(made.max) > MAX_ELEMENTS:
            raise UserMistake(
                f"The input {made.name} is too large at its largest",
                found="x".join(map(str, made.max)),
                expected=f"at most {MAX_ELEMENTS:,} values",
                attempt="--max-shapes with smaller sizes",
            )
    return found, notes


def _declared(one: FileTensor) -> tuple[int | str, ...]:
    if one.shape is None:
        raise UserMistake(
            f"The file does not say how many axes {one.name} has",
            found=str(one),
            expected="a shape for each input, with names where sizes are open",
            attempt="onnx.tools.update_model_dims.update_inputs_outputs_dims writes one",
        )
    return one.shape


def _open_batch(file: GraphFile) -> str | None:
    """The name of the first axis of the first input that has axes, where it is open."""
    first = next((one.shape[0] for one in file.inputs if one.shape), None)
    return first if isinstance(first, str) else None


def _at(told: dict[str, tuple[int, ...]], one: FileTensor, axis: int) -> int | None:
    sizes = told.get(one.name)
    return sizes[axis] if sizes is not None and axis < len(sizes) else None


def _assumed(one: FileTensor, axis: int) -> int:
    return SIDE_PX if one.shape is not None and len(one.shape) == MAP_RANK and axis > 1 else LENGTH


def _range(
    name: str, known: tuple[int, int, int] | None, asked: tuple[int | None, ...], usual: int | None
) -> tuple[int, int, int]:
    """Smallest, usual, largest of an open size: what was asked, else what is known of it from another input, else the usual."""
    first = next((size for size in (usual, asked[1], asked[0], asked[2]) if size), 1)
    before = known or (first, first, first)
    low, middle, high = asked
    middle = middle or min(max(before[1], low or before[1]), high or max(before[1], low or 1))
    found = (low or min(before[0], middle), middle, high or max(before[2], middle))
    if sorted(found) != list(found):
        raise UserMistake(
            f"The size {name} does not grow from min to max",
            found=f"min {found[0]}, opt {found[1]}, max {found[2]}",
            expected="min <= opt <= max",
            attempt="--min-shapes, --opt-shapes and --max-shapes with sizes that rise",
        )
    return found


def _with(one: FileTensor, sizes: dict[str, tuple[int, int, int]]) -> InputSizes:
    """A size that has one value only is written as a number."""
    declared = _declared(one)
    columns = [(size,) * 3 if isinstance(size, int) else sizes[size] for size in declared]
    shape = tuple(low if low == high else name for name, (low, _, high) in zip(declared, columns, strict=True))
    low, usual, high = (tuple(column[at] for column in columns) for at in range(3))
    return InputSizes(one.name, one.dtype, shape, low, usual, high)


def _flag(file: GraphFile, words: str | None, flag: str) -> dict[str, tuple[int, ...]]:
    """``ids:1x16,mask:1x16`` -> sizes by input."""
    found: dict[str, tuple[int, ...]] = {}
    names = [one.name for one in file.inputs]
    for word in (words or "").split(","):
        if not word.strip():
            continue
        name, _, sizes = word.strip().rpartition(":")
        name = name or (names[0] if len(names) == 1 else "")
        parts = sizes.lower().split("x")
        if name not in names or not all(part.isdigit() and int(part) > 0 for part in parts):
            raise UserMistake(
                f"{flag} cannot be read",
                found=word.strip(),
                expected=", ".join(f"{one.name}:" + "x".join(map(str, one.shape or ())) for one in file.inputs),
                attempt=arguments.nearest(name, names) or f"{flag} {names[0]}:1x16",
            )
        found[name] = tuple(map(int, parts))
    return found


def _check(
    file: GraphFile, told: dict[str, dict[str, tuple[int, ...]]], sizes: dict[str, tuple[int, int, int]]
) -> None:
    """What was asked for each input is what it gets: fixed axes are the file's, and a name has one size."""
    for key, given in told.items():
        for one in file.inputs:
            if (wanted := given.get(one.name)) is None:
                continue
            at = KEYS.index(key)
            gets = tuple(size if isinstance(size, int) else sizes[size][at] for size in _declared(one))
            if wanted != gets:
                raise UserMistake(
                    f"The sizes of {one.name} contradict the file",
                    found=f"{key} {'x'.join(map(str, wanted))}",
                    expected=f"{one}"
                    + (f", which is {'x'.join(map(str, gets))} here" if len(gets) == len(wanted) else ""),
                    because="the file fixes a size, or another input has the same open one",
                    attempt="the sizes of the file",
                )
