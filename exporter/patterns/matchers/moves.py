"""Nodes that only move elements, run on element numbers: which element lands where, whatever nodes write it so.

    a value > its elements numbered > every node of a path, run on the numbers > where each element is now

An open axis is tried with ``OPEN_BATCH``.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ....graph.read import attribute, constant, sizes

OPEN_BATCH = 2


def number_elements(root: ir.Value) -> np.ndarray | None:
    """Numbers in the shape of ``root``; None where its last axis or more than one other is open."""
    shape = sizes(root)
    if shape is None or len(shape) < 2 or not isinstance(shape[-1], int):
        return None
    full = [size if isinstance(size, int) else OPEN_BATCH for size in shape]
    if sum(not isinstance(size, int) for size in shape) > 1:
        return None
    return np.arange(np.prod(full), dtype=np.int64).reshape(full)


def move(numbers: np.ndarray | None, path: list[tuple[ir.Node, ir.Value, ir.Value]]) -> np.ndarray | None:
    """The element numbers after every node of ``path``; None when a node moves them in a way unknown here."""
    for node, _, output in path:
        if numbers is None:
            return None
        if node.op_type in MOVES:
            try:
                numbers = MOVES[node.op_type](numbers, node, output)
            except (ValueError, IndexError, TypeError):  # a target that does not fit the tried batch
                return None
    return numbers


def _reshape(numbers: np.ndarray, node: ir.Node, _: ir.Value) -> np.ndarray | None:
    target = constant(node.inputs[1])
    if target is None:
        return None
    keep = not attribute(node, "allowzero", 0)
    return numbers.reshape([numbers.shape[i] if size == 0 and keep else int(size) for i, size in enumerate(target)])


def _transpose(numbers: np.ndarray, node: ir.Node, _: ir.Value) -> np.ndarray:
    return numbers.transpose(attribute(node, "perm", tuple(reversed(range(numbers.ndim)))))


def _slice(numbers: np.ndarray, node: ir.Node, _: ir.Value) -> np.ndarray | None:
    arrays = [constant(value) for value in node.inputs[1:]]
    if any(array is None for array in arrays) or len(arrays) < 2:
        return None
    starts, ends, *rest = [[int(number) for number in array.ravel()] for array in arrays if array is not None]
    axes = rest[0] if rest else list(range(len(starts)))
    steps = rest[1] if len(rest) > 1 else [1] * len(starts)
    index = [slice(None)] * numbers.ndim
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        if step < 1 or _is_open(node, axis):
            return None
        index[axis] = slice(start, end, step)
    return numbers[tuple(index)]


def _gather(numbers: np.ndarray, node: ir.Node, _: ir.Value) -> np.ndarray | None:
    index, axis = constant(node.inputs[1]), attribute(node, "axis", 0)
    return None if index is None or _is_open(node, axis) else numbers.take(index, axis=axis)


def _split(numbers: np.ndarray, node: ir.Node, output: ir.Value) -> np.ndarray | None:
    axis = attribute(node, "axis", 0)
    told = node.inputs[1] if len(node.inputs) > 1 else None
    parts = constant(told)
    if _is_open(node, axis) or "split" in node.attributes or (told is not None and parts is None):
        return None
    if parts is None:
        each = -(-numbers.shape[axis] // len(node.outputs))
        where = [each * (i + 1) for i in range(len(node.outputs) - 1)]
    else:
        where = [int(end) for end in np.cumsum(parts)[:-1]]
    return np.split(numbers, where, axis)[list(node.outputs).index(output)]


def _squeeze(numbers: np.ndarray, node: ir.Node, _: ir.Value) -> np.ndarray | None:
    axes = constant(node.inputs[1]) if len(node.inputs) > 1 else None
    return None if axes is None else numbers.squeeze(tuple(int(axis) for axis in axes.ravel()))


def _unsqueeze(numbers: np.ndarray, node: ir.Node, _: ir.Value) -> np.ndarray | None:
    axes = constant(node.inputs[1])
    return None if axes is None else np.expand_dims(numbers, tuple(int(axis) for axis in axes.ravel()))


def _is_open(node: ir.Node, axis: int) -> bool:
    """Whether the axis that a node cuts is of open size: what it takes of the tried one says nothing of another."""
    shape = sizes(node.inputs[0])
    return shape is None or not isinstance(shape[axis], int)


MOVES = {
    "Reshape": _reshape,
    "Transpose": _transpose,
    "Slice": _slice,
    "Gather": _gather,
    "Split": _split,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Identity": lambda numbers, node, output: numbers,
}
