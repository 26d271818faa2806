"""What moves or fills nothing goes: pads of zero width, slices of everything, identity transposes, chains of views.

    Reshape of Reshape, Transpose of Transpose > one of them      Transpose 0, 1, 2, ..., Reshape to its own shape > nothing
    Slice from 0 to the end, Pad by 0, Concat of one value > nothing      Slice, Slice, Slice along one axis > Split

An axis of open size is never assumed to have the size of the example.
"""

from __future__ import annotations

import sys

import numpy as np
import onnx_ir as ir

from ....graph.edit import insert_node, replace_value, shared_constant, sweep
from ....graph.read import attribute, constant, sizes
from ..base import Pattern
from ..matchers.views import merge_reshapes, merge_transposes
from .fold_shapes import reshaped


class DropNoOps(Pattern):
    """Remove operators that change nothing and merge those that follow each other."""

    better_after = ("FoldConstants", "FoldShapes")

    def apply(self, model: ir.Model) -> int:
        count = 0
        while changed := merge_reshapes(model) + merge_transposes(model) + _drop(model) + split_slices(model):
            count += changed
            sweep(model)
        return count


def _drop(model: ir.Model) -> int:
    count = 0
    for node in list(model.graph):
        source, output = node.inputs[0] if node.inputs else None, node.outputs[0]
        if (
            node.domain
            or source is None
            or not _changes_nothing(node)
            or not (output.uses() or output.is_graph_output())
        ):
            continue
        if output.is_graph_output() and (source.producer() is None or source.is_graph_output()):
            continue
        replace_value(output, source)
        count += 1
    return count


def _changes_nothing(node: ir.Node) -> bool:
    source = node.inputs[0]
    shape = sizes(source)
    if node.op_type == "Transpose":
        return shape is not None and attribute(node, "perm") == tuple(range(len(shape)))
    if node.op_type == "Pad":
        pads = constant(node.inputs[1]) if len(node.inputs) > 1 else None  # an attribute up to opset 10
        return pads is not None and not pads.any()
    if node.op_type == "Reshape":
        target = constant(node.inputs[1]) if len(node.inputs) > 1 else None  # an attribute up to opset 4
        if target is None or shape is None or None in shape:
            return False
        return reshaped(shape, target.tolist(), bool(attribute(node, "allowzero", 0))) == list(shape)
    if node.op_type == "Concat":
        return len(node.inputs) == 1
    if node.op_type == "Slice":
        cut = _cut(node)
        return cut is not None and shape is not None and (cut[1], cut[2]) == (0, shape[cut[0]])
    return False


def _cut(node: ir.Node) -> tuple[int, int, int | str | None] | None:
    """(axis, first, one past the last) of a Slice along one axis with step 1; a name stands for an open end."""
    arrays = [constant(value) for value in node.inputs[1:]]
    shape = sizes(node.inputs[0])
    if shape is None or len(arrays) < 3 or any(array is None or array.size != 1 for array in arrays):
        return None
    start, end, axis, *step = [int(array.item()) for array in arrays if array is not None]
    if (step and step[0] != 1) or not -len(shape) <= axis < len(shape):
        return None
    size = shape[axis]
    if isinstance(size, int):
        first, last, _ = slice(start, end).indices(size)
        return axis % len(shape), first, last
    return (axis % len(shape), 0, size) if start == 0 and end >= sys.maxsize // 2 and size is not None else None


def split_slices(model: ir.Model) -> int:
    """Slices that cut one value into all of its parts, in order, become one Split."""
    count = 0
    if model.graph.opset_imports.get("", 0) < 13:
        return count  # the widths of a Split are no input yet
    cuts: dict[tuple[ir.Value, int], list[tuple[int, int, ir.Node]]] = {}
    for node in model.graph:
        source = node.inputs[0] if node.op_type == "Slice" and not node.domain else None
        cut = _cut(node) if source is not None else None
        if source is not None and cut and isinstance(cut[2], int) and not node.outputs[0].is_graph_output():
            cuts.setdefault((source, cut[0]), []).append((cut[1], cut[2], node))
    for (value, axis), parts in cuts.items():
        parts.sort(key=lambda part: part[0])
        bounds = [first for first, _, _ in parts] + [parts[-1][1]]
        size = (sizes(value) or ())[axis]
        seamless = [last for _, last, _ in parts] == bounds[1:]
        cutters = {node for *_, node in parts}
        everyone = {usage.node for usage in value.uses()} == cutters
        if len(parts) < 2 or bounds[0] != 0 or bounds[-1] != size or not seamless or not everyone:
            continue
        earliest = next(node for node in model.graph if node in cutters)
        widths = shared_constant(model, "widths", np.diff(bounds).astype(np.int64))
        split = insert_node(earliest, "Split", [value, widths], axis=axis, outputs=len(parts))
        for part, (_, _, node) in zip(split.outputs, parts, strict=True):
            part.shape = node.outputs[0].shape
            replace_value(node.outputs[0], part)
        count += 1
    return count
