"""What a file of this folder declares: one fused op, the single source of everything that exists of it.

    schema      interface and output shapes                      runtime/plugins/schema.py, travels to the device
    reference   numpy, float64 inside: the definition            judges all others
    body        standard ONNX operators, as text                 functions.py -> FunctionProto in the model; shorter where
                all nodes of a model have an attribute at which half of it does nothing
    kernel      Triton source, launch rule, specialisations      compile.py -> PTX in the kernel pack

Generated from it and written nowhere else: the FunctionProto, the torch custom op, the TensorRT
quick-deployable plugin, the table of the C++ plugin, the page in docs/.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from ...runtime.plugins.expressions import parse
from ...runtime.plugins.schema import OpSchema

Reference = Callable[..., "np.ndarray | tuple[np.ndarray, ...]"]
Constants = Mapping[str, "int | float | bool"]


@dataclass(frozen=True)
class Variant:
    """One specialisation of a kernel: the type of T, the constants of the compiler, and when it may be taken."""

    type: str
    constants: Constants
    when: str = "1"  # over constant sizes and attributes, e.g. "D == 48"
    warps: int = 4
    stages: int = 2


@dataclass(frozen=True)
class Kernel:
    """A Triton kernel whose arguments are the inputs, then ``scalars``, then the outputs; ``_ptr`` ends a pointer's name.

    ``grid`` and ``scalars`` are expressions over the symbols of the schema, its attributes and the variant's constants.
    ``source`` names the file in kernels/ and the function in it.
    """

    source: str  # "ggem_pool:ggem_pool_kernel"
    grid: tuple[str, str, str]
    scalars: Mapping[str, str]
    variants: tuple[Variant, ...]

    def grid_for(self, variant: Variant) -> tuple[str, str, str]:
        """The grid with the variant's constants put in."""
        x, y, z = (_with_constants(text, variant.constants) for text in self.grid)
        return x, y, z


@dataclass(frozen=True)
class FusedOp:
    """One fused op of the domain ``edgesmith``; see the head of this file."""

    schema: OpSchema
    summary: str  # one sentence
    equation: str
    source: str  # paper and section or equation
    body: str
    reference: Reference
    body_at: Mapping[tuple[str, int], str] = field(default_factory=dict)  # (attribute, value): what is shorter there
    kernel: Kernel | None = None
    wins: str = "nothing is known"  # what the plain graph pays for, in words; docs/hardware.md: what was measured
    notes: tuple[str, ...] = field(default=())

    @property
    def name(self) -> str:
        return self.schema.name

    def variants_for(self, t: str, names: Mapping[str, int]) -> list[Variant]:
        """The specialisations for type ``t`` and these sizes and attributes, the default first; unknown sizes fit none."""
        found = []
        for variant in self.kernel.variants if self.kernel else ():
            condition = parse(variant.when)
            if variant.type == t and set(condition.names) <= set(names) and condition.value(names):
                found.append(variant)
        return found


def for_types(
    sizes: Mapping[str, Constants], *, when: str = "1", warps: int = 4, stages: int = 2
) -> tuple[Variant, ...]:
    """One variant a type: {"float16": {"BLOCK_M": 64}, ...}."""
    return tuple(Variant(type_, constants, when, warps, stages) for type_, constants in sizes.items())


def _with_constants(text: str, constants: Constants) -> str:
    """The expression with numbers in place of constants; spelled again from its names, so that no substring is hit."""
    names = {name for name in parse(text).names if name in constants}
    return re.sub(
        r"\b[A-Za-z_]\w*\b", lambda found: str(int(constants[found[0]])) if found[0] in names else found[0], text
    )
