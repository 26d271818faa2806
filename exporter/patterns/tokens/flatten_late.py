"""Tokens between convolutions stay (B, H, W, C): the flattening to (B, HW, C) moves down to where it is really needed.

    m (B, H, W, C) > Reshape (B, HW, C) > LayerNormalization, MatMul, Add, Gelu, ... > Reshape (B, H, W, C)
    m (B, H, W, C) > LayerNormalization, MatMul, Add, Gelu, ...

The operators between look at channels alone, so they do not mind. What stands after the views, a transpose to a
convolution or the cut into windows, then follows the linear layer directly, where other rewrites look for it. OpenVINO
takes a linear layer of four axes for a slower kernel (1.10 of the plain export), so it keeps the views.
"""

from __future__ import annotations

import onnx_ir as ir

from ....graph.edit import drop_unread, insert, replace_value
from ....graph.read import attribute, constant, only_consumer, sizes
from ..base import Pattern
from ..matchers.views import merge_reshapes, merge_transposes, reshaped

ELEMENTWISE = frozenset({"Gelu", "Relu", "Sigmoid", "Tanh", "Erf", "HardSwish", "Identity", "Sqrt", "Neg"})
Map = tuple[int, int]


class FlattenLate(Pattern):
    """Sink the views that flatten a map, where the tokens become a map again; counts the operators passed."""

    better_after = ("TokensAsMaps",)

    def apply(self, model: ir.Model) -> int:
        maps = {size for node in model.graph if (size := _back_to_map(node)) is not None}
        count, moved = 0, bool(maps)
        while moved:
            passed = sum([_sink(model, node, maps) for node in list(model.graph) if node.graph is not None])
            count += passed
            moved = bool(passed) | bool(merge_reshapes(model)) | bool(merge_transposes(model))
        return count


def _back_to_map(node: ir.Node) -> Map | None:
    """(H, W) of a Reshape (B, HW, C) > (B, H, W, C), else None."""
    if node.op_type != "Reshape" or node.domain:
        return None
    before, after = sizes(node.inputs[0]), sizes(node.outputs[0])
    if before is None or after is None or len(before) != 3 or len(after) != 4 or before[2] != after[3]:
        return None
    height, width = after[1:3]
    if not isinstance(height, int) or not isinstance(width, int) or before[1] != height * width:
        return None
    return height, width


def _turned_next(node: ir.Node) -> bool:
    """Whether the product is wanted channels first: TensorRT writes it so, unless a view stands between."""
    reader = only_consumer(node.outputs[0])
    if reader is not None and reader.op_type == "Add":
        reader = only_consumer(reader.outputs[0])
    return reader is not None and reader.op_type == "Transpose" and tuple(attribute(reader, "perm", ())) == (0, 2, 1)


def _flattened(value: ir.Value | None, maps: set[Map]) -> ir.Value | None:
    """The (B, H, W, C) that ``value`` (B, HW, C) is a plain view of, else None."""
    node = value.producer() if value is not None else None
    if node is None or node.op_type != "Reshape" or node.domain:
        return None
    before, after = sizes(node.inputs[0]), sizes(value)
    if before is None or after is None or len(before) != 4 or len(after) != 3 or before[1:3] not in maps:
        return None
    same = before[0] == after[0] and before[3] == after[2] and after[1] == before[1] * before[2]  # type: ignore[operator]
    return node.inputs[0] if same else None


def _open(shape: tuple[int | str | None, ...]) -> int:
    return sum(not isinstance(size, int) for size in shape)


def _sink(model: ir.Model, node: ir.Node, maps: set[Map]) -> bool:
    """Move the flattening from an input of ``node`` to its output."""
    views = [_flattened(value, maps) for value in node.inputs]
    index = next((i for i, view in enumerate(views) if view is not None), None)
    if index is None or node.domain or len(node.outputs) != 1 or node.outputs[0].is_graph_output():
        return False
    shape, after = sizes(views[index]), sizes(node.outputs[0])
    if shape is None or after is None or len(after) != 3 or _open(shape) > 1 or _open(after) > 1:
        return False
    inputs = list(node.inputs)
    if node.op_type in ("Add", "Mul"):
        other = 1 - index
        if constant(inputs[other]) is None:
            if sizes(inputs[other]) != after or sizes(inputs[index]) != after:
                return False
            if sizes(views[other]) == shape:  # a view of another map of as many tokens is none of this one
                inputs[other] = views[other]
            else:
                inputs[other] = reshaped(model, node, inputs[other], shape)  # type: ignore[arg-type]
        elif len(sizes(inputs[other]) or ()) > 1:
            return False
    elif node.op_type == "MatMul":
        if index != 0 or len(sizes(inputs[1]) or ()) != 2 or _turned_next(node):
            return False
    elif node.op_type == "LayerNormalization":
        if attribute(node, "axis", -1) not in (-1, 2):
            return False
    elif node.op_type not in ELEMENTWISE:
        return False
    inputs[index] = views[index]
    attributes = {name: item.value for name, item in node.attributes.items()}
    if node.op_type == "LayerNormalization":
        attributes["axis"] = -1
    result = insert(node, node.op_type, inputs, name=node.name or "", shape=(*shape[:3], after[2]), **attributes)
    replace_value(node.outputs[0], reshaped(model, node, result, after))
    old = [value.producer() for value in node.inputs if value is not None]
    model.graph.remove(node, safe=True)
    for producer in old:
        drop_unread(producer)
    return True
