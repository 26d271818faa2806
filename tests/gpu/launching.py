"""One op on given arrays through the driver: buffers, launch rule of the pack, results; and what is wrong with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgesmith.exporter.plugins.declaration import FusedOp
from edgesmith.runtime.plugins.expressions import parse
from edgesmith.runtime.plugins.schema import Launch, OpSchema

from .driver import Driver, Function
from .fenced import NAN_BYTE, Fenced
from .formats import ON_DEVICE, codes, equal_share, for_device, from_device, relative_error, rounded
from .shapes import output_shapes

FIRST_GARBAGE, SECOND_GARBAGE = 0xFF, 0x5A  # in the outputs before a run; what depends on it was never written
FENCE_OF_OUTPUTS = 0xC3


@dataclass(frozen=True)
class Problem:
    """One op, its inputs as type ``t`` holds them, and the sizes that follow."""

    schema: OpSchema
    t: str
    arrays: tuple[np.ndarray, ...]
    attributes: Mapping[str, Any]
    names: Mapping[str, int]

    @property
    def output_shapes(self) -> list[tuple[int, ...]]:
        return output_shapes(self.schema, self.names)

    def bytes_moved(self) -> int:
        """Every input once and every output once: the least that a kernel can do."""
        inputs = sum(for_device(array, tensor.type_for(self.t)).nbytes
                     for array, tensor in zip(self.arrays, self.schema.inputs, strict=True))  # fmt: skip
        return inputs + sum(array.nbytes for array in self.empty_outputs())

    def empty_outputs(self) -> list[np.ndarray]:
        """Arrays of the host for the outputs, in the types of the device."""
        return [np.empty(shape, ON_DEVICE[tensor.type_for(self.t)])
                for shape, tensor in zip(self.output_shapes, self.schema.outputs, strict=True)]  # fmt: skip


def problem(schema: OpSchema, t: str, arrays: Sequence[np.ndarray], attributes: Mapping[str, Any]) -> Problem:
    """Round the inputs and bind the sizes; ValueError when they are not what the schema says."""
    held = tuple(rounded(array, t) if tensor.type == "T" else array.astype(tensor.type)
                 for array, tensor in zip(arrays, schema.inputs, strict=True))  # fmt: skip
    return Problem(schema, t, held, attributes, schema.bind([array.shape for array in held], attributes))


def launch_rule(launch: Launch, names: Mapping[str, int]) -> tuple[tuple[int, ...], list[int]]:
    """(grid, scalars) for these sizes."""
    grid = tuple(int(parse(text).value(names)) for text in launch.grid)
    return grid, [int(parse(text).value(names)) for text in launch.scalars]


def wanted_of(op: FusedOp, asked: Problem) -> list[np.ndarray]:
    """The outputs of the reference; float32 where the op's type is bfloat16."""
    result = op.reference(*asked.arrays, **asked.attributes)
    return list(result) if isinstance(result, tuple) else [result]


class Buffers:
    """Inputs and outputs of a problem on the device, each between fences."""

    def __init__(self, driver: Driver, asked: Problem) -> None:
        self.asked = asked
        self._sent = [for_device(array, tensor.type_for(asked.t))
                      for array, tensor in zip(asked.arrays, asked.schema.inputs, strict=True)]  # fmt: skip
        self._types = [tensor.type_for(asked.t) for tensor in asked.schema.outputs]
        self._all: list[Fenced] = []
        self.inputs = [self._place(Fenced(driver, array.nbytes, NAN_BYTE)) for array in self._sent]
        self.outputs = [self._place(Fenced(driver, a.nbytes, FENCE_OF_OUTPUTS)) for a in asked.empty_outputs()]
        for place, array in zip(self.inputs, self._sent, strict=True):
            place.fill(array)

    def _place(self, place: Fenced) -> Fenced:
        self._all.append(place)
        return place

    def close(self) -> None:
        """Free them all."""
        for place in self._all:
            place.close()

    def run(self, driver: Driver, function: Function, launch: Launch, garbage: int) -> list[np.ndarray]:
        """Launch over outputs full of garbage; the raw bytes of the outputs. Fences: ``complaints``."""
        for place in self.outputs:
            place.fill(garbage)
        grid, scalars = launch_rule(launch, self.asked.names)
        driver.launch(function, grid, launch.threads, launch.shared_bytes,
                      [place.address for place in self.inputs], scalars,
                      [place.address for place in self.outputs])  # fmt: skip
        driver.wait()
        return [place.read()[0] for place in self.outputs]

    def typed(self, raw: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Raw bytes of the outputs as arrays; bfloat16 as float32."""
        return [
            from_device(data.view(ON_DEVICE[type_]).reshape(shape), type_)
            for data, type_, shape in zip(raw, self._types, self.asked.output_shapes, strict=True)
        ]

    def complaints(self) -> list[str]:
        """Broken fences, and inputs that a kernel wrote into."""
        found = []
        for tensor, place in zip(self.asked.schema.outputs, self.outputs, strict=True):
            if broken := place.read()[1]:
                found.append(f"writes beside {tensor.name}, {place.count_bytes} bytes: at offsets {broken}")
        for tensor, place, sent in zip(self.asked.schema.inputs, self.inputs, self._sent, strict=True):
            data, broken = place.read()
            if broken or not np.array_equal(data, sent.reshape(-1).view(np.uint8)):
                found.append(f"writes into or beside its input {tensor.name}")
        return found


def compare(
    asked: Problem, got: Sequence[np.ndarray], wanted: Sequence[np.ndarray], limit: float
) -> list[dict[str, Any]]:
    """One row an output: its error, or for packed words the share of equal codes, and whether that is within the limit."""
    rows = []
    for tensor, mine, theirs in zip(asked.schema.outputs, got, wanted, strict=True):
        if tensor.type == "int32":
            bits = int(asked.attributes.get("bits", 32))
            share = equal_share(codes(mine, bits), codes(theirs, bits))
            rows.append({"output": tensor.name, "equal": share, "limit": 1.0, "ok": share == 1.0})
        else:
            error = relative_error(mine, theirs)
            rows.append({"output": tensor.name, "error": error, "limit": limit, "ok": error <= limit})
    return rows
