"""Fourier transforms as products with constant matrices: TensorRT has no DFT, OpenVINO takes another axis than opset 20 says, and
ONNX Runtime's is a plain loop whose angles are products in float32 (findings/dft_of_other_lengths_loses_three_digits.sh).

    x (..., n, ..., 1 or 2) > DFT (..., m, ..., 2)
    re, im (..., n, ...) > MatMul with cos and sin (m, n), of a complex x with both behind each other (m, 2 n) > re, im (..., m, ...)

Real and imaginary parts are values of their own between the transforms of torch.fft.rfft2, fft2 and their inverses, and numbers that
everything is divided by (norm="ortho") go into the matrices. Whoever still reads both parts on one axis gets them joined.
Spectral gating: Rao et al., Global Filter Networks, arXiv:2107.00645.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from ....graph.edit import add_constant, insert, replace_value, sweep
from ....graph.read import attribute, constant, is_op, sizes
from ..base import Pattern
from ..matchers.views import as_shape
from .matrices import backwards, backwards_to_reals, forwards
from .parts import apart, hand_on, scaled_after, together

AXIS_AS_INPUT = 20  # the opset since which the axis is the third input


class TransformsAsProducts(Pattern):
    """Write DFT as MatMul; refuses lengths that are not known, and what ONNX leaves undefined."""

    better_after = ("FoldConstants", "FoldShapes")

    def apply(self, model: ir.Model) -> int:
        count, opset = 0, model.graph.opset_imports.get("", AXIS_AS_INPUT)
        for node in list(model.graph):
            if not is_op(node, "DFT"):
                continue
            found = _read(node, opset)
            if isinstance(found, str):
                self.decline(node, found)
                continue
            _write(model, node, found)
            count += 1
        if count:
            sweep(model)
        return count


@dataclass(frozen=True)
class _Transform:
    matrix: np.ndarray  # (m, n) complex
    axis: int
    to_reals: bool


def _read(node: ir.Node, opset: int) -> _Transform | str:
    """What the node computes, or why it stays."""
    shape, value = sizes(node.inputs[0]), node.inputs[0]
    if shape is None or value is None or value.dtype is None or shape[-1] not in (1, 2):
        return f"its input is {shape}, expected a known shape whose last axis is 1 (real) or 2 (complex)"
    told = [node.inputs[index] if len(node.inputs) > index else None for index in (1, 2)]
    numbers = [None if each is None else constant(each) for each in told]
    if any(each is not None and number is None for each, number in zip(told, numbers, strict=True)):
        return "its length or axis is computed in the graph, expected constants"
    length, axis = (None if number is None else int(number.ravel()[0]) for number in numbers)
    if opset < AXIS_AS_INPUT:
        axis = attribute(node, "axis", 1)
    axis = (-2 if axis is None else axis) % len(shape)
    size = shape[axis]
    if not isinstance(size, int) or axis == len(shape) - 1:
        return f"the length of axis {axis} is {size}, expected a known one"
    if sum(not isinstance(side, int) for side in shape) > 1:
        return f"its input is {shape}, expected at most one open size"
    complex_, inverse, onesided = (
        shape[-1] == 2,
        bool(attribute(node, "inverse", 0)),
        bool(attribute(node, "onesided", 0)),
    )
    if onesided and complex_ != inverse:
        return "half a spectrum of complex values, expected of reals, or back to reals"
    halves = onesided and inverse
    length = length or (2 * (size - 1) if halves else size)
    if size > (length // 2 + 1 if halves else length):
        return f"a transform of {length} cuts off some of the {size} values, expected all of them"
    if halves:
        return _Transform(backwards_to_reals(length, size), axis, True)
    if inverse:
        return _Transform(backwards(length, size), axis, False)
    return _Transform(forwards(length, size, length // 2 + 1 if onesided else length), axis, False)


def _write(model: ir.Model, node: ir.Node, made: _Transform) -> None:
    value = node.inputs[0]
    assert value is not None
    parts = apart(model, node, value)
    output, scale = scaled_after(node.outputs[0])
    matrix = made.matrix * (parts.scale * scale)
    rows = [(matrix.real, -matrix.imag)] if made.to_reals else [(matrix.real, -matrix.imag), (matrix.imag, matrix.real)]
    source = parts.real
    if parts.imaginary is not None:
        shape = list(sizes(source) or ())
        shape[made.axis] = 2 * matrix.shape[1]
        source = insert(node, "Concat", [source, parts.imaginary], axis=made.axis, shape=shape)
    real, *imaginary = (
        _product(model, node, np.concatenate(row, axis=1) if parts.imaginary is not None else row[0], source, made.axis)
        for row in rows
    )
    last = imaginary[0] if imaginary else None
    *single, whole = together(model, node, real, last)
    replace_value(output, whole)
    hand_on(whole, real, last, single)


def _product(model: ir.Model, before: ir.Node, matrix: np.ndarray, value: ir.Value, axis: int) -> ir.Value:
    """``matrix`` (m, n) times ``value`` (..., n, ...) along ``axis``."""
    assert value.dtype is not None
    shape = list(sizes(value) or ())
    matrix, behind = matrix.astype(value.dtype.numpy()), shape[axis + 1 :]
    made = [*shape[:axis], matrix.shape[0], *behind]
    if not behind:
        return insert(before, "MatMul", [value, add_constant(model, "dft", matrix.T)], shape=made)
    width = (
        int(np.prod([size for size in behind if isinstance(size, int)]))
        if all(isinstance(size, int) for size in behind)
        else None
    )
    flat = as_shape(model, before, value, [*shape[: axis + 1], width]) if len(behind) > 1 else value
    product = insert(
        before, "MatMul", [add_constant(model, "dft", matrix), flat], shape=[*made[: axis + 1], (sizes(flat) or ())[-1]]
    )
    return as_shape(model, before, product, made) if len(behind) > 1 else product
