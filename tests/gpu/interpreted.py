"""bfloat16 in Triton's interpreter, which computes with the integers that hold the bits wherever it is not told better.

Loads, stores and casts to and from float32 it does itself. Here: constants, products, arithmetic, and casts from and to
integers, each through float32 and rounded once, as a GPU does it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import numpy as np

from .formats import from_bits, to_bits

ARITHMETIC = (np.add, np.subtract, np.multiply, np.divide, np.minimum, np.maximum, np.fmin, np.fmax)


@contextmanager
def bfloat16() -> Iterator[None]:
    """Inside, the interpreter computes with bfloat16 numbers."""
    import triton.language as tl
    from triton.runtime import interpreter

    builder, handle = interpreter.InterpreterBuilder, interpreter.TensorHandle
    dot, binary, cast = builder.create_dot, builder.binary_op, builder.cast_impl

    def is_bfloat16(type_: Any) -> bool:
        return bool(type_.scalar == tl.bfloat16)

    def wide(x: Any) -> Any:
        return handle(from_bits(x.data), tl.float32) if is_bfloat16(x.dtype) else x

    def narrow(x: Any) -> Any:
        return handle(to_bits(x.data), tl.bfloat16)

    def get_bf16(self: Any, value: float) -> Any:
        return narrow(self.get_fp32(value))

    def create_dot(self: Any, a: Any, b: Any, *rest: Any) -> Any:
        return dot(self, wide(a), wide(b), *rest)

    def binary_op(self: Any, left: Any, right: Any, op: Any) -> Any:
        found = binary(self, wide(left), wide(right), op)
        return narrow(found) if is_bfloat16(left.dtype) and op in ARITHMETIC else found

    def cast_impl(self: Any, source: Any, type_: Any) -> Any:
        if is_bfloat16(type_) and not is_bfloat16(source.dtype):
            return narrow(cast(self, source, tl.float32))
        return cast(self, wide(source), type_) if is_bfloat16(source.dtype) else cast(self, source, type_)

    ours = {"get_bf16": get_bf16, "create_dot": create_dot, "binary_op": binary_op, "cast_impl": cast_impl}
    with patch.multiple(builder, create=True, **ours):  # create: Triton before 3.9 has no get_bf16 here
        yield
