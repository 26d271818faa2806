"""Arithmetic on shapes leaves the graph: targets of Reshape become constants, with the open batch spelled -1.

A graph with an open batch computes each target at run time, and an attention block pays for it on every call:

    k (batch, H, N, D) > Shape > Slice, Slice, Slice > Concat > Reshape to (-1, N, D) > Transpose > Reshape back

Sizes are followed as numbers and names ("batch"), through the few integer operators that exporters use. A target with
one open size becomes a constant with -1 there; one whose open sizes stand where the input has them uses 0 (copy).
Reshapes and Expands to the shape that a value has already go. Shapes that the exporter lost are filled in on the way.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ....graph.edit import replace_value, shared_constant, sweep
from ....graph.read import attribute, constant, sizes
from ..base import Pattern

Size = int | str | None  # None: nothing is known
LONGEST = 16  # elements of an integer vector that is followed


class FoldShapes(Pattern):
    """Make shape arithmetic constant; declines where a target has two open sizes that the input does not have."""

    better_after = ("CleanUp",)

    def apply(self, model: ir.Model) -> int:
        data: dict[ir.Value, np.ndarray] = {}
        count = 0
        for node in list(model.graph):
            _fill_shape(node)
            _follow(node, data)
            output = node.outputs[0]
            known = data.get(output)
            if node.op_type == "Shape" and known is not None and all(isinstance(size, int) for size in known):
                if not output.is_graph_output() and output.uses():
                    replace_value(output, shared_constant(model, output.name or "shape", known.astype(np.int64)))
                    count += 1
            elif node.op_type in ("Reshape", "Expand") and not node.domain and len(node.inputs) > 1:
                count += self._target(model, node, data)
        if count:
            sweep(model)
        return count

    def _target(self, model: ir.Model, node: ir.Node, data: dict[ir.Value, np.ndarray]) -> int:
        source, target = node.inputs[:2]
        have = sizes(source)
        told = data.get(target) if target is not None else None
        if told is None:
            return 0
        wanted = told.tolist()
        if node.op_type == "Expand":
            same = (
                have is not None and len(have) >= len(wanted) and None not in have and _expands_to_itself(have, wanted)
            )
            return _bypass(node) if same else 0
        resolved = reshaped(have, wanted, bool(attribute(node, "allowzero", 0)))
        if resolved is None:
            return 0
        if node.outputs[0].shape is None or None in (sizes(node.outputs[0]) or ()):
            node.outputs[0].shape = ir.Shape(resolved)
        if have is not None and None not in have and tuple(resolved) == have:
            return _bypass(node)
        if constant(target) is not None:
            return 0
        spelled = _spell(have, resolved)
        if spelled is None:
            self.decline(node, f"target {resolved} has more open sizes than -1 and 0 can spell, input {have}")
            return 0
        node.replace_input_with(1, shared_constant(model, "target", np.array(spelled, np.int64)))
        node.attributes.pop("allowzero", None)
        return 1


def _bypass(node: ir.Node) -> int:
    """The node changes nothing: its readers read its input."""
    source = node.inputs[0]
    if source is None or (node.outputs[0].is_graph_output() and source.producer() is None):
        return 0
    if node.outputs[0].is_graph_output() and source.is_graph_output():
        return 0
    replace_value(node.outputs[0], source)
    node.graph.remove(node, safe=True)  # type: ignore[union-attr]
    return 1


def _spell(have: tuple[Size, ...] | None, wanted: list[Size]) -> list[int] | None:
    """Numbers, one -1, and 0 where the input has the same size at the same place; None when that is not enough."""
    spelled: list[int] = []
    opened = False
    for axis, size in enumerate(wanted):
        if isinstance(size, int):
            if size == 0:
                return None
            spelled.append(size)
        elif not opened and (size is None or not (have and axis < len(have) and have[axis] == size)):
            opened = True
            spelled.append(-1)
        elif size is not None and have and axis < len(have) and have[axis] == size:
            spelled.append(0)
        else:
            return None
    if not opened and spelled.count(0) == 1:  # one open size: -1 says it without leaning on the input's shape
        spelled[spelled.index(0)] = -1
    return spelled


def reshaped(have: tuple[Size, ...] | None, wanted: list[Size], allowzero: bool) -> list[Size] | None:
    """The shape that Reshape gives, -1 and 0 resolved where possible; None when the target's length is unknown."""
    result = list(wanted)
    for axis, size in enumerate(wanted):
        if size == 0 and not allowzero:
            result[axis] = have[axis] if have and axis < len(have) else None
    if -1 in result:
        result[result.index(-1)] = _remainder(have, [size for size in result if size != -1])
    return result


def _remainder(have: tuple[Size, ...] | None, others: list[Size]) -> Size:
    """What -1 stands for: the numbers divided, the names cancelled; None when that leaves more than one factor."""
    if have is None or None in have or None in others:
        return None
    names = [size for size in have if isinstance(size, str)]
    for size in others:
        if isinstance(size, str):
            if size not in names:
                return None
            names.remove(size)
    top = int(np.prod([size for size in have if isinstance(size, int)], dtype=np.int64))
    bottom = int(np.prod([size for size in others if isinstance(size, int)], dtype=np.int64))
    if bottom == 0 or top % bottom:
        return None
    factor = top // bottom
    if not names:
        return factor
    return names[0] if factor == 1 and len(names) == 1 else None


def _expands_to_itself(have: tuple[Size, ...], wanted: list[Size]) -> bool:
    tail = have[len(have) - len(wanted) :]
    return all(size == old or size == 1 for size, old in zip(wanted, tail, strict=True))


def _fill_shape(node: ir.Node) -> None:
    """Shapes that the exporter left out, for the operators that stand between shape arithmetic and attention."""
    output = node.outputs[0]
    if output.shape is not None and None not in (sizes(output) or (None,)):
        return
    have = sizes(node.inputs[0]) if node.inputs else None
    if have is None:
        return
    if node.op_type == "Transpose":
        perm = attribute(node, "perm", tuple(reversed(range(len(have)))))
        output.shape = ir.Shape([have[axis] for axis in perm])
    elif node.op_type in ("Softmax", "Identity", "Cast", "LayerNormalization", "Gelu"):
        output.shape = ir.Shape(have)
    elif node.op_type in ("Mul", "Add", "Sub", "Div"):
        other = sizes(node.inputs[1])
        if other is not None and (len(other) == 0 or set(other) == {1} and len(other) <= len(have)):
            output.shape = ir.Shape(have)
    elif node.op_type == "MatMul":
        other = sizes(node.inputs[1])
        if other is not None and len(other) == len(have) >= 2 and (other[:-2] == have[:-2]):
            output.shape = ir.Shape([*have[:-1], other[-1]])


def _follow(node: ir.Node, data: dict[ir.Value, np.ndarray]) -> None:
    """The integers that a node computes, if it is one that we follow: ``data`` holds them with their axes, as objects."""

    def known(value: ir.Value | None) -> np.ndarray | None:
        if value is None:
            return None
        if value not in data:
            array = constant(value)
            if array is None or array.dtype != np.int64 or array.size > LONGEST:
                return None
            data[value] = array.astype(object)
        return data[value]

    op, inputs = node.op_type, node.inputs
    if node.domain:
        return
    result: np.ndarray | None = None
    if op == "Shape":
        have = sizes(inputs[0])
        if have is not None:
            result = np.array(have[slice(attribute(node, "start", 0), attribute(node, "end"))], dtype=object)
    elif op in ("Reshape", "Expand") and len(inputs) > 1:
        known(inputs[1])  # known from here on
    elif op == "Concat":
        parts = [part for value in inputs if (part := known(value)) is not None]
        if len(parts) == len(inputs) and sum(part.size for part in parts) <= LONGEST:
            result = np.concatenate(parts, axis=attribute(node, "axis", 0))
    elif op == "Slice" and len(inputs) > 2 and (whole := known(inputs[0])) is not None:
        result = _cut(whole, [_number(value) for value in inputs[1:]])
    elif op == "Gather" and (whole := known(inputs[0])) is not None:
        index, axis = constant(inputs[1]), attribute(node, "axis", 0)
        length = whole.shape[axis] if whole.ndim else 0
        if index is not None and index.size <= LONGEST and ((index >= -length) & (index < length)).all():
            result = np.asarray(whole.take(index, axis), dtype=object)
    elif op in ("Squeeze", "Unsqueeze") and inputs[0] in data:
        told = constant(inputs[1]) if len(inputs) > 1 else np.array(attribute(node, "axes", ()))
        if told is not None and told.size:
            move = np.squeeze if op == "Squeeze" else np.expand_dims
            result = move(data[inputs[0]], tuple(int(axis) for axis in told.ravel()))
    elif op == "Identity" or (op == "Cast" and attribute(node, "to") == ir.DataType.INT64):
        result = data.get(inputs[0])  # type: ignore[arg-type]
    if result is not None:
        data[node.outputs[0]] = result


def _cut(whole: np.ndarray, bounds: list[int | None]) -> np.ndarray | None:
    """A Slice along one axis by start, end, axis and step; None where they are not all known, or run backwards."""
    if None in bounds or (len(bounds) < 3 and whole.ndim != 1):
        return None
    start, end, axis, step = [bound or 0 for bound in [*bounds, *(0, 1)[len(bounds) - 2 :]]]
    if step < 1:
        return None
    index = [slice(None)] * whole.ndim
    index[axis] = slice(max(start, -whole.shape[axis]), end, step)
    return whole[tuple(index)]


def _number(value: ir.Value | None) -> int | None:
    """The one number behind a constant, else None."""
    array = constant(value)
    return int(array.item()) if array is not None and array.size == 1 else None
