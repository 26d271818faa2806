"""Complex values of a graph, (..., 2) with the parts on the last axis, as two values (...): how they are found and handed on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from ....graph.edit import insert, replace_value, shared_constant
from ....graph.read import attribute, constant, is_op, only_consumer, sizes


@dataclass(frozen=True)
class Parts:
    """``scale`` times (real + i imaginary); without ``imaginary`` it is real."""

    real: ir.Value
    imaginary: ir.Value | None = None
    scale: float = 1.0


def apart(model: ir.Model, before: ir.Node, value: ir.Value) -> Parts:
    """The parts of ``value``, whose last axis is known to be 1 or 2; nodes are added only where nobody holds them yet."""
    maker = value.producer()
    if maker is not None and (factor := scaled_by(maker, value)) is not None:
        inner, scale = factor
        parts = apart(model, before, inner)
        return Parts(parts.real, parts.imaginary, parts.scale * scale)
    shape = sizes(value) or ()
    if shape[-1] == 1:
        return Parts(_without_last(model, before, value))
    if is_op(maker, "Concat") and attribute(maker, "axis") in (-1, len(shape) - 1) and len(maker.inputs) == 2:
        real, imaginary = maker.inputs
        if real is not None and imaginary is not None and (sizes(real) or (0,))[-1] == 1:
            zero = _is_zero(imaginary)  # reals that were made complex
            if zero or (sizes(imaginary) or (0,))[-1] == 1:
                last = None if zero else _without_last(model, before, imaginary)
                return Parts(_without_last(model, before, real), last)
    real, imaginary = (_picked(model, before, value, index) for index in (0, 1))
    return Parts(real, imaginary)


def together(model: ir.Model, before: ir.Node, real: ir.Value, imaginary: ir.Value | None) -> list[ir.Value]:
    """The value (..., 1 or 2), behind the parts with that axis of their own (..., 1)."""
    axis, shape = shared_constant(model, "last", np.array([-1], np.int64)), sizes(real) or ()
    parts = [
        insert(before, "Unsqueeze", [part, axis], shape=[*shape, 1]) for part in (real, imaginary) if part is not None
    ]
    return [*parts, insert(before, "Concat", parts, axis=-1, shape=[*shape, 2]) if len(parts) > 1 else parts[0]]


def hand_on(whole: ir.Value, real: ir.Value, imaginary: ir.Value | None, parts: list[ir.Value]) -> None:
    """Who takes one part out of ``whole`` reads that part itself; the others go on reading ``whole``."""
    rank = len(sizes(whole) or ())
    plain = [real] if imaginary is None else [real, imaginary]
    for usage in list(whole.uses()):
        node = usage.node
        if node.graph is not whole.graph or node.inputs[0] is not whole:
            continue
        index = _index_on_last(node, rank, len(plain))
        if index is not None:
            replace_value(node.outputs[0], plain[index] if is_op(node, "Gather") else parts[index])
    for part, value in zip(parts, plain, strict=True):
        for usage in list(part.uses()):
            if is_op(usage.node, "Squeeze") and usage.node.graph is part.graph and _squeezes_last(usage.node, rank):
                replace_value(usage.node.outputs[0], value)


def scaled_by(node: ir.Node, value: ir.Value) -> tuple[ir.Value, float] | None:
    """The other input and the factor, where ``node`` multiplies or divides it by one number and the shape stays."""
    if not is_op(node, ("Mul", "Div")) or len(node.inputs) != 2:
        return None
    numbers = [constant(part) for part in node.inputs]
    for index, inner in enumerate(node.inputs):
        number = numbers[1 - index]
        if inner is None or number is None or number.size != 1 or numbers[index] is not None:
            continue
        if sizes(inner) != sizes(value) or (index and node.op_type == "Div"):
            continue
        factor = float(number.ravel()[0])
        if node.op_type == "Mul":
            return inner, factor
        return (inner, 1 / factor) if factor else None
    return None


def scaled_after(value: ir.Value) -> tuple[ir.Value, float]:
    """The value behind multiplications by one number that alone read it, and their product."""
    reader = only_consumer(value)
    if reader is None or (factor := scaled_by(reader, reader.outputs[0])) is None or factor[0] is not value:
        return value, 1.0
    last, scale = scaled_after(reader.outputs[0])
    return last, scale * factor[1]


def _without_last(model: ir.Model, before: ir.Node, value: ir.Value) -> ir.Value:
    """(..., 1) -> (...)."""
    maker, rank = value.producer(), len(sizes(value) or ())
    if is_op(maker, "Unsqueeze") and _squeezes_last(maker, rank):
        assert maker.inputs[0] is not None
        return maker.inputs[0]
    axis = shared_constant(model, "last", np.array([-1], np.int64))
    return insert(before, "Squeeze", [value, axis], shape=(sizes(value) or ())[:-1])


def _picked(model: ir.Model, before: ir.Node, value: ir.Value, index: int) -> ir.Value:
    """(..., 2) -> (...)."""
    which = shared_constant(model, f"part_{index}", np.array(index, np.int64))
    return insert(before, "Gather", [value, which], axis=-1, shape=(sizes(value) or ())[:-1])


def _squeezes_last(node: ir.Node, rank: int) -> bool:
    """Whether Squeeze or Unsqueeze is about the last axis of a value (..., 1) of ``rank`` and no other."""
    axes = constant(node.inputs[1]) if len(node.inputs) > 1 else None
    return axes is not None and axes.tolist() in ([-1], [rank - 1])


def _index_on_last(node: ir.Node, rank: int, size: int) -> int | None:
    """Which part Slice (which keeps the axis) or Gather of one index (which does not) takes; None for all else."""
    numbers = [None if (array := constant(value)) is None else array.ravel().tolist() for value in node.inputs[1:]]
    if is_op(node, "Gather") and numbers[0] is not None:
        index = constant(node.inputs[1])
        on_last = attribute(node, "axis", 0) in (-1, rank - 1) and index is not None and index.ndim == 0
        return numbers[0][0] % size if on_last and -size <= numbers[0][0] < size else None
    if not is_op(node, "Slice") or len(numbers) < 3 or any(each is None or len(each) != 1 for each in numbers):
        return None
    (start,), (stop,), (axis,), *step = numbers  # type: ignore[misc]
    if axis not in (-1, rank - 1) or step not in ([], [[1]]):
        return None
    picked = range(size)[start:stop]
    return picked[0] if len(picked) == 1 else None


def _is_zero(value: ir.Value | None) -> bool:
    """Whether all of it is 0: a constant, or one number expanded."""
    maker = value.producer() if value is not None else None
    array = constant(maker.inputs[0] if is_op(maker, "Expand") else value)
    return array is not None and not array.any()
