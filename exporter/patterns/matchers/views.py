"""Reshapes and transposes that follow each other become one, or none."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from ....graph.edit import drop_unread, insert, replace_value, shared_constant, sweep
from ....graph.read import attribute, constant, sizes


def reshaped(model: ir.Model, before: ir.Node, value: ir.Value, shape: Sequence[int | str | None]) -> ir.Value:
    """``value`` seen as ``shape``, of which at most one size is open (written -1)."""
    target = np.array([size if isinstance(size, int) else -1 for size in shape], np.int64)
    assert (target == -1).sum() <= 1, f"more than one open size in {shape}"
    return insert(before, "Reshape", [value, shared_constant(model, "target", target)], shape=shape)


def as_shape(model: ir.Model, before: ir.Node, value: ir.Value, shape: Sequence[int | str | None]) -> ir.Value:
    """``value`` as it is where it has ``shape`` already, else seen so; the one open size may have two names."""
    have = sizes(value)
    fixed = [size if isinstance(size, int) else None for size in have or ()]
    same = (
        have is not None and None not in have and fixed == [size if isinstance(size, int) else None for size in shape]
    )
    named_apart = same and have != tuple(shape) and (fixed.count(None) > 1 or 0 in fixed)
    return value if same and not named_apart else reshaped(model, before, value, shape)


def merge_views(model: ir.Model) -> None:
    """What a pass wrote beside views that were there already becomes as few as they can be."""
    while merge_reshapes(model) + merge_transposes(model):
        pass
    sweep(model)


def merge_reshapes(model: ir.Model) -> int:
    """Reshape of a Reshape is one Reshape; a Reshape to the shape that a value has already is none."""
    count = 0
    for node in list(model.graph):
        if node.op_type != "Reshape" or node.domain:
            continue
        source, target = node.inputs[0], constant(node.inputs[1])
        first = source.producer() if source is not None else None
        if (
            first is not None
            and first.op_type == "Reshape"
            and not first.domain
            and target is not None
            and 0 not in target
        ):
            source = first.inputs[0]
            node.replace_input_with(0, source)
            drop_unread(first)
            count += 1
        before, after = sizes(source), sizes(node.outputs[0])
        known = before is not None and before == after and None not in before
        if (
            known
            and sum(not isinstance(size, int) for size in before or ()) <= 1
            and not node.outputs[0].is_graph_output()
        ):
            replace_value(node.outputs[0], source)  # type: ignore[arg-type]
            model.graph.remove(node, safe=True)
            count += 1
    return count


def merge_transposes(model: ir.Model) -> int:
    """Transpose of a Transpose is one Transpose, or none where they undo each other."""
    count = 0
    for node in list(model.graph):
        source = node.inputs[0] if node.op_type == "Transpose" and not node.domain else None
        first = source.producer() if source is not None else None
        if first is None or first.op_type != "Transpose" or first.domain or not first.attributes or not node.attributes:
            continue
        inner, outer = attribute(first, "perm"), attribute(node, "perm")
        perm = [inner[axis] for axis in outer]
        if perm == sorted(perm):
            if node.outputs[0].is_graph_output():
                continue
            replace_value(node.outputs[0], first.inputs[0])  # type: ignore[arg-type]
            model.graph.remove(node, safe=True)
        else:
            node.replace_input_with(0, first.inputs[0])
            node.attributes["perm"] = ir.AttrInt64s("perm", perm)
        drop_unread(first)
        count += 1
    return count
