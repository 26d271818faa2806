"""What a fused op takes and gives, and how its kernels are launched: the part of a declaration that travels to a device.

Written in exporter/plugins, carried as JSON in the kernel pack, read by the TensorRT plugins, the C++ plugin and the GPU
check. Shapes, grids and scalars are expressions (expressions.py) over the symbols of the input shapes and the attributes.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from .expressions import parse

DOMAIN = "edgesmith"
VERSION = "1"
MAX_SHARED_BYTES = 48 * 1024  # whether TensorRT asks the driver for more is not known
TYPES = ("float32", "float16", "bfloat16")  # what T of an op can be


@dataclass(frozen=True)
class Tensor:
    """One input or output; ``type`` is "T" (the op's own) or fixed; a size is a symbol, a number or an expression."""

    name: str
    type: str
    shape: tuple[str, ...]

    def type_for(self, t: str) -> str:
        return t if self.type == "T" else self.type


@dataclass(frozen=True)
class Attribute:
    """One attribute; ``default`` None means that every node must give it."""

    name: str
    kind: str  # "int" or "float"
    default: int | float | None = None
    meaning: str = ""

    def in_expressions(self, value: float) -> int:
        """The number that stands for it in expressions: the value, or the bits of a float32."""
        return int(value) if self.kind == "int" else float_bits(float(value))


@dataclass(frozen=True)
class Launch:
    """One compiled kernel: which types and sizes it is for, and the grid, scalars and shared memory it is started with."""

    entry: str
    type: str
    when: str  # expression over constant sizes and attributes; "1" always
    grid: tuple[str, str, str]
    scalars: tuple[str, ...]
    threads: int
    shared_bytes: int
    file: str = ""
    sha256: str = ""


@dataclass(frozen=True)
class OpSchema:
    """The interface of one fused op."""

    name: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    attributes: tuple[Attribute, ...] = ()
    types: tuple[str, ...] = TYPES

    def bind(self, shapes: Sequence[Sequence[int]], attributes: Mapping[str, Any]) -> dict[str, int]:
        """Symbols and attributes -> numbers, for concrete input shapes; defaults filled in.

        Raises:
            ValueError: an attribute is missing or unknown, or a shape is not what the schema says.
        """
        known = {attribute.name: attribute for attribute in self.attributes}
        if unknown := set(attributes) - set(known):
            raise ValueError(f"{self.name} has no attribute {', '.join(sorted(unknown))}")
        if len(shapes) != len(self.inputs):
            raise ValueError(f"{self.name} takes {len(self.inputs)} inputs, found {len(shapes)}")
        names: dict[str, int] = {}
        for name, attribute in known.items():
            value = attributes.get(name, attribute.default)
            if value is None:
                raise ValueError(f"{self.name} needs the attribute {name}")
            names[name] = attribute.in_expressions(value)
        for tensor, shape in zip(self.inputs, shapes, strict=True):
            if len(shape) != len(tensor.shape):
                raise ValueError(f"{self.name}.{tensor.name} is {tensor.shape}, found {tuple(shape)}")
            for size, symbol in zip(shape, tensor.shape, strict=True):
                if symbol.isidentifier():
                    names.setdefault(symbol, int(size))
        for tensor, shape in zip(self.inputs, shapes, strict=True):
            wanted = tuple(parse(size).value(names) for size in tensor.shape)
            if wanted != tuple(shape):
                raise ValueError(f"{self.name}.{tensor.name} is {tensor.shape} = {wanted}, found {tuple(shape)}")
        return names

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> OpSchema:
        """The schema of ``to_json``; KeyError or TypeError when something is missing."""
        inputs, outputs = ([Tensor(t["name"], t["type"], tuple(t["shape"])) for t in data[key]]
                           for key in ("inputs", "outputs"))  # fmt: skip
        attributes = tuple(Attribute(**attribute) for attribute in data["attributes"])
        return cls(data["name"], tuple(inputs), tuple(outputs), attributes, tuple(data["types"]))


def chosen(launches: Sequence[Launch], t: str, names: Mapping[str, int]) -> list[Launch]:
    """The launches for type ``t`` and these sizes, in the order of the pack: the first is the default tactic."""
    return [launch for launch in launches if launch.type == t and parse(launch.when).value(names)]


def float_bits(value: float) -> int:
    """The 32 bits of a float32 as a signed integer."""
    return int(struct.unpack("<i", struct.pack("<f", value))[0])
