"""Lists of tensors leave the graph: who reads an element of known place reads the value itself.

    x > SplitToSequence > SequenceAt 0, SequenceAt 1          x > Split > its outputs
    a, b > SequenceConstruct > SequenceAt 1                   b
    a list > ConcatFromSequence                               its elements > Concat
    a list > SequenceLength                                   a constant

torch writes ``split`` and ``unbind`` with lists and takes them out in its own simplification, which gemma4_vit of timm is exported
without (trace.py). TensorRT has no lists, a precision is given to tensors, and no pass looks through one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir as ir

from ....graph.edit import insert, insert_node, replace_value, shared_constant, sweep
from ....graph.read import attribute, constant, is_op, sizes
from ..base import Pattern

READERS = ("SequenceAt", "ConcatFromSequence", "SequenceLength")
WIDTHS_AS_INPUT = 13  # the opset since which the widths of a Split, and axes, are an input


class ListsApart(Pattern):
    """Read elements in place of lists; refuses lists that grow, places that are computed and parts of unknown number."""

    better_after = ("CleanUp",)

    def apply(self, model: ir.Model) -> int:
        count, elements = 0, dict[ir.Value, list[ir.Value]]()
        if model.graph.opset_imports.get("", 0) < WIDTHS_AS_INPUT:
            return 0
        for node in list(model.graph):
            if not is_op(node, READERS) or node.inputs[0] is None:
                continue
            found = _elements(model, node.inputs[0], elements)
            made = found if isinstance(found, str) else _read(model, node, found)
            if isinstance(made, str):
                self.decline(node, made)
                continue
            replace_value(node.outputs[0], made)
            count += 1
        if count or elements:  # parts that nobody came to read go again
            sweep(model)
        return count


def _elements(model: ir.Model, value: ir.Value, known: dict[ir.Value, list[ir.Value]]) -> list[ir.Value] | str:
    """The values in a list, made where it is split; or why they are not known."""
    maker = value.producer()
    if maker is None or maker.graph is not model.graph:
        return "its list comes from outside"
    if is_op(maker, "SequenceConstruct"):
        return [each for each in maker.inputs if each is not None]
    if not is_op(maker, "SplitToSequence"):
        return f"its list is made by {maker.op_type}, expected SplitToSequence or SequenceConstruct"
    if value not in known:
        widths = _widths(maker)
        if isinstance(widths, str):
            return widths
        known[value] = _split(model, maker, widths)
    return known[value]


def _widths(node: ir.Node) -> list[int] | str:
    """How wide each part is along the axis."""
    shape, told = sizes(node.inputs[0]), node.inputs[1] if len(node.inputs) > 1 else None
    split = None if told is None else constant(told)
    if shape is None or (told is not None and split is None):
        return f"a value of shape {shape} is split into widths that are computed, expected both to be known"
    if split is not None and split.ndim:
        return [int(width) for width in split]
    size, width = shape[attribute(node, "axis", 0)], 1 if split is None else int(split)
    if not isinstance(size, int) or width < 1:
        return f"an axis of size {size} is split into parts of {width}, expected known sizes"
    return [min(width, size - first) for first in range(0, size, width)]


def _split(model: ir.Model, node: ir.Node, widths: Sequence[int]) -> list[ir.Value]:
    value, shape = node.inputs[0], sizes(node.inputs[0])
    assert value is not None and shape is not None
    axis = attribute(node, "axis", 0) % len(shape)
    one_each = len(node.inputs) < 2 or node.inputs[1] is None
    told = shared_constant(model, "widths", np.array(widths, np.int64))
    split = insert_node(node, "Split", [value, told], axis=axis, outputs=len(widths))
    for part, width in zip(split.outputs, widths, strict=True):
        part.shape = ir.Shape([*shape[:axis], width, *shape[axis + 1 :]])
    if not one_each or attribute(node, "keepdims", 1):
        return list(split.outputs)
    axes, without = shared_constant(model, "axes", np.array([axis], np.int64)), [*shape[:axis], *shape[axis + 1 :]]
    return [insert(node, "Squeeze", [part, axes], shape=without) for part in split.outputs]


def _at(model: ir.Model, node: ir.Node, elements: list[ir.Value]) -> ir.Value | str:
    place = constant(node.inputs[1])
    if place is None:
        return "the place in the list is computed in the graph, expected a constant"
    if not -len(elements) <= int(place.item()) < len(elements):
        return f"place {int(place.item())} of a list of {len(elements)}"
    return elements[int(place.item())]


def _joined(model: ir.Model, node: ir.Node, elements: list[ir.Value]) -> ir.Value | str:
    axis, shape = attribute(node, "axis"), sizes(node.outputs[0])
    if attribute(node, "new_axis", 0):
        first = sizes(elements[0])
        if first is None:
            return "values of unknown shape are put onto an axis of their own"
        axis = axis % (len(first) + 1)
        axes, wide = shared_constant(model, "axes", np.array([axis], np.int64)), [*first[:axis], 1, *first[axis:]]
        elements = [insert(node, "Unsqueeze", [each, axes], shape=wide) for each in elements]
    return insert(node, "Concat", elements, axis=axis, shape=shape)


def _count(model: ir.Model, node: ir.Node, elements: list[ir.Value]) -> ir.Value | str:
    return shared_constant(model, "length", np.array(len(elements), np.int64))


HOW: dict[str, Callable[[ir.Model, ir.Node, list[ir.Value]], ir.Value | str]] = dict(
    zip(READERS, (_at, _joined, _count), strict=True)
)


def _read(model: ir.Model, node: ir.Node, elements: list[ir.Value]) -> ir.Value | str:
    return HOW[node.op_type](model, node, elements)
