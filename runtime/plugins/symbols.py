"""Sizes as TensorRT's plugin functions see them: numbers where the graph fixes them, its own symbols where it leaves them open.

An expression over numbers alone is computed here, and only what an open size takes part in is handed to TensorRT: constants
stay plain integers, so that shapes, types of kernels and float bits do not depend on how its library folds them.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..errors import UserMistake
from .expressions import INTEGERS, Algebra, parse
from .schema import OpSchema

Size = Any  # int, or a ShapeExpr of tensorrt.plugin


def algebra(trtp: Any) -> Algebra:
    """The operators of our expressions on integers and ShapeExprs of ``tensorrt.plugin``."""
    symbolic: dict[str, Callable[[Any, Any], Any]] = {
        "+": operator.add,
        "-": operator.sub,
        "*": operator.mul,
        "//": operator.floordiv,
        "==": operator.eq,
        "<": operator.lt,
        "cdiv": trtp.cdiv,
        "min": trtp.min,
        "max": trtp.max,
    }

    def on_both(name: str) -> Callable[[Size, Size], Size]:
        def apply(left: Size, right: Size) -> Size:
            if isinstance(left, int) and isinstance(right, int):
                return INTEGERS[name](left, right)
            return symbolic[name](trtp.ShapeExpr(left) if isinstance(left, int) else left, right)

        return apply

    return {name: on_both(name) for name in symbolic}


def graph_sizes(desc: Any) -> list[Size]:
    """The sizes of a TensorDesc: numbers where they are constant, else its ShapeExprs (fake ones in the first call)."""
    return [size if size.is_fake or not size.is_constant else int(size.constant_value()) for size in desc.shape_expr]


def tuning_sizes(desc: Any) -> list[Size]:
    """The sizes during autotuning, where nothing may be computed with symbols: numbers, or None where open."""
    return [int(size) if size >= 0 else None for size in desc.shape]


def bind(schema: OpSchema, shapes: Sequence[Sequence[Size]], attributes: Mapping[str, Any]) -> dict[str, Size]:
    """Symbols and attributes -> sizes; a number is preferred where one input fixes what another leaves open.

    Raises:
        UserMistake: an attribute is missing, or a shape is not what the schema says, as far as it is known.
    """
    names: dict[str, Size] = {}
    for attribute in schema.attributes:
        if attribute.name not in attributes:
            raise UserMistake(
                f"{schema.name} needs the attribute {attribute.name}", found=", ".join(attributes) or "none"
            )
        names[attribute.name] = attribute.in_expressions(attributes[attribute.name])
    for tensor, shape in zip(schema.inputs, shapes, strict=True):
        if len(shape) != len(tensor.shape):
            raise _unfit(schema, tensor.name, tensor.shape, f"{len(shape)} axes")
        for size, symbol in zip(shape, tensor.shape, strict=True):
            if symbol.isidentifier() and (symbol not in names or not isinstance(names[symbol], int)):
                names[symbol] = size
    fixed = known(names)
    for tensor, shape in zip(schema.inputs, shapes, strict=True):
        for size, text in zip(shape, tensor.shape, strict=True):
            if not isinstance(size, int) or any(name not in fixed for name in parse(text).names):
                continue  # not known before the engine runs
            try:
                wanted = parse(text).value(fixed)
            except ZeroDivisionError:
                raise _unfit(schema, tensor.name, tensor.shape, f"{text} divides by 0") from None
            if wanted != size:
                raise _unfit(schema, tensor.name, tensor.shape, f"{text} is {size}, the others make it {wanted}")
    return names


def known(names: Mapping[str, Size]) -> dict[str, int]:
    """The names that are numbers."""
    return {name: size for name, size in names.items() if isinstance(size, int)}


def _unfit(schema: OpSchema, tensor: str, shape: Sequence[str], found: str) -> UserMistake:
    return UserMistake(
        f"a node {schema.name} has an input that its kernel cannot read",
        found=f"{tensor}: {found}",
        expected=f"({', '.join(shape)})",
        because="kernels run on the GPU unchecked, so shapes have to hold before",
    )
