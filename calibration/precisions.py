"""The precisions, one row each: everything that is asked of one is said here (its name and its limits in runtime/ground/limits.py).

Others may add rows, ``edgesmith.register_precision(...)``: most often ``replace(PRECISIONS["int8"], name="mine", like="int8",
...)``, a precision that engines take for int8 and whose form or codes are its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from ..runtime.errors import UserMistake
from ..runtime.ground.limits import BF16, FP8, FP16, FP32, INT4, INT8, NVFP4
from ..runtime.ground.registry import Registry, named

if TYPE_CHECKING:
    from .nouns import WeightScales

AUTO = "auto"  # no precision: the fastest that holds the budget is chosen among them
SPELT_AUTO = (AUTO, "mixed")
QDQ_OPSET = 19  # the first whose QuantizeLinear and DequantizeLinear take 16-bit scales


class Codes(Enum):
    """What a quantised number is stored as; the value is how a report says it."""

    INT8 = "int8"  # integers of [-127, 127], one scale a channel
    E4M3 = "fp8 e4m3"  # floats up to 448, one scale a channel
    INT4 = "int4"  # integers of [-8, 7], one scale a block
    E2M1 = "fp4 e2m1"  # floats up to 6, one scale a block of 16, and those in E4M3


@dataclass(frozen=True)
class Precision:
    """One precision. The first five fields belong to all, the next to floats, and from ``codes`` on to quantised ones."""

    name: str
    spellings: tuple[str, ...]  # in which users ask for it
    bits: int  # of a weight
    jump: float  # relative error of one value that rounding alone does not explain (exporter/bundle/jump.py)
    near: tuple[str, ...] = ()  # what to take where it cannot be had, the nearest first
    dtype: str = ""  # of numpy
    onnx: str = ""  # the same as onnx_ir.DataType names it
    largest: float = float("inf")  # number that it holds
    smallest: float = 0.0  # number with all its digits; 1 / largest may be less
    # the graph is raised to it where the target allows that: older ones have fewer operators of the type
    best_opset: int = 0
    codes: Codes | None = None
    weights_only: bool = False  # activations stay in floating point
    form: str = ""  # of calibration/forms, where it has one alone; else the engine's kernels decide
    block: int = 0  # values that share a scale, where the type fixes that
    # DequantizeLinear has blocks from 21 and FLOAT4E2M1 from 23; the parsers that have the type read it
    least_opset: int = 0
    first_chip: int = 0  # compute capability that computes in it
    chips: str = ""  # the same in words
    units: str = "kernels"  # what older chips lack
    like: str = ""  # whose kernels compute it, where engines do not know it by its own name
    # outputs that it is held at where neither labels nor a budget say what may be lost; trained networks lost nothing at 30 dB
    floor_db: float | None = None
    quantise_weight: Callable[..., WeightScales] | None = None  # array, axis, rule, low, block; else that of its codes

    @property
    def quantised(self) -> bool:
        return self.codes is not None

    @property
    def engine_name(self) -> str:
        """What targets and chips know it by."""
        return self.like or self.name


# chips: measured with the builder of TensorRT-RTX 1.7 for each of its chips; Xavier, Orin and Thor as NVIDIA documents them.
# jump: some hundred times the unit roundoff of the type; of what is quantised, an error only 10 dB below the value (8 dB in
# four bits), where good layers have 20 and more.
PRECISIONS: Registry[Precision] = Registry(
    "precision",
    {
        row.name: row
        for row in (
            Precision(
                FP32, (FP32, "float32", "32", "full"), 32, 1e-4, dtype="float32", onnx="FLOAT", smallest=2.0**-126,
            ),
            Precision(
                FP16, (FP16, "float16", "16", "half"), 16, 2e-2, dtype="float16", onnx="FLOAT16", largest=65504.0,
                smallest=2.0**-14,
            ),
            Precision(
                BF16, (BF16, "bfloat16"), 16, 1e-1, dtype="bfloat16", onnx="BFLOAT16", largest=3.3895e38,
                smallest=2.0**-126, best_opset=22,
            ),
            Precision(
                INT8, (INT8, "8", "i8", "w8a8"), 8, 0.3, (FP16,), codes=Codes.INT8, first_chip=72, chips="sm72 (Xavier)",
                floor_db=30.0,
            ),
            Precision(
                FP8, (FP8, "float8", "e4m3"), 8, 0.3, (INT8,), codes=Codes.E4M3, first_chip=89,
                chips="sm89 (Ada), sm110 (Thor) and sm120 (Blackwell)", units="tensor cores",
            ),
            Precision(
                INT4, (INT4, "4", "i4", "w4a16"), 4, 0.4, (INT8,), codes=Codes.INT4, weights_only=True, least_opset=21,
                first_chip=80, chips="sm80 (Ampere, Orin included)",
            ),
            Precision(
                NVFP4, (NVFP4, "fp4"), 4, 0.4, (INT4, INT8), codes=Codes.E2M1, weights_only=True, block=16,
                least_opset=23, first_chip=100, chips="sm110 (Thor), sm120 and sm121 (Blackwell)", units="tensor cores",
            ),
        )
    },
)  # fmt: skip


def register_precision(precision: Precision) -> Precision:
    """Add a precision of one's own; UserMistake when its name or a spelling is taken, or no engine would know it.

    It is quantised (``codes``), and ``like`` one of ours: an engine computes it with the kernels that it has for that one.
    """
    name = named(precision, Precision, "register_precision")
    own = (name, *precision.spellings)
    if taken := [word for word in own if word in SPELT_AUTO or word in _spellings(but=name)]:
        raise UserMistake(
            f"{taken[0]} means another precision already",
            found=f"register_precision: {name}, spelt {', '.join(precision.spellings)}",
            expected="a name and spellings that nobody has taken",
            because="--precision finds one by any of its spellings",
            attempt=f'spellings=("{name}",), with a name of its own',
        )
    PRECISIONS.check(name, precision)
    like = PRECISIONS.get(precision.like)
    if name not in PRECISIONS and (not precision.quantised or like is None or not like.quantised):
        raise UserMistake(
            f"No engine knows the precision {name}",
            found=f"codes = {precision.codes and precision.codes.name}, like = {precision.like!r}",
            expected="codes, and like = one of " + ", ".join(quantised_names()),
            because="an engine computes what was added with the kernels that it has for one of ours, and those quantise",
            attempt='replace(PRECISIONS["int8"], name=..., spellings=..., like="int8")',
        )
    return PRECISIONS.add(name, precision)


def _spellings(but: str) -> set[str]:
    return {word for name, row in PRECISIONS.items() if name != but for word in (name, *row.spellings)}


def quantised_names() -> tuple[str, ...]:
    """The precisions that quantise."""
    return tuple(name for name, row in PRECISIONS.items() if row.quantised)


def weights_only(name: str) -> bool:
    """Whether activations stay in floating point; "auto" is no precision, and says no."""
    row = PRECISIONS.get(name)
    return row is not None and row.weights_only
