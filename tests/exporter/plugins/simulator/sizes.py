"""Stand-ins for what only TensorRT's C++ library can make: symbolic sizes, their builder, kernel arguments, the registry."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

OPERATIONS: dict[str, Callable[[int, int], int]] = {  # by the names of trt.DimensionOperation
    "SUM": operator.add,
    "SUB": operator.sub,
    "PROD": operator.mul,
    "MAX": max,
    "MIN": min,
    "FLOOR_DIV": operator.floordiv,
    "CEIL_DIV": lambda a, b: -(-a // b),
    "EQUAL": lambda a, b: int(a == b),
    "LESS": lambda a, b: int(a < b),
}


class Size:
    """trt.IDimensionExpr: a number, or a function of the named sizes that are open."""

    def __init__(self, number: int | None, at: Callable[[Mapping[str, int]], int] | None = None) -> None:
        self.number, self._at = number, at

    @classmethod
    def named(cls, name: str) -> Size:
        return cls(None, lambda sizes: sizes[name])

    def at(self, sizes: Mapping[str, int]) -> int:
        """The number for these sizes."""
        if self.number is not None:
            return self.number
        assert self._at is not None
        return self._at(sizes)

    def is_constant(self) -> bool:
        return self.number is not None

    def get_constant_value(self) -> int:
        assert self.number is not None, "asked for the value of an open size"
        return self.number

    def is_size_tensor(self) -> bool:
        return False


class Builder:
    """trt.IExprBuilder; what is made of numbers alone is a number again, as TensorRT's is."""

    def constant(self, number: int) -> Size:
        assert type(number) is int and -(1 << 31) <= number < 1 << 31, f"{number!r} is no int32"
        return Size(number)

    def operation(self, kind: Any, left: Size, right: Size) -> Size:
        assert isinstance(left, Size) and isinstance(right, Size), (kind, left, right)
        compute = OPERATIONS[kind.name]
        if left.number is not None and right.number is not None:
            return Size(compute(left.number, right.number))
        return Size(None, lambda sizes: compute(left.at(sizes), right.at(sizes)))


class Shape(list[Size]):
    """trt.DimsExprs: made with a length or with its sizes."""

    def __init__(self, sizes: Any = 0) -> None:
        super().__init__([Size(0)] * sizes if isinstance(sizes, int) else sizes)


class Argument:
    """trt.ISymExpr: one scalar of a kernel; the bindings set these three."""

    type: Any = None
    dtype: Any = None
    expr: Any = None


class Arguments(dict[int, Argument]):
    """What TensorRT hands over to be filled with the scalars of a kernel."""

    nbSymExprs = 0  # TensorRT's spelling


class Registry:
    """trt.IPluginRegistry, as far as plugins written in Python use it."""

    def __init__(self) -> None:
        self._creators: dict[tuple[str, str, str], Any] = {}

    def register_creator(self, creator: Any, namespace: str) -> bool:
        key = (creator.name, creator.plugin_version, namespace)
        assert key not in self._creators, f"{key} is registered twice"
        self._creators[key] = creator
        return True

    def get_creator(self, name: str, version: str, namespace: str) -> Any:
        return self._creators.get((name, version, namespace))
