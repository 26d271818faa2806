"""Casts to the type that a value has already go; CastLike of two known types is a Cast.

torch writes a CastLike beside every bound of ``clamp`` and every ``type_as``, and takes them out in its own simplification, which
gemma4_vit of timm is exported without (trace.py): they keep a bound from being the constant that it is.
"""

from __future__ import annotations

import onnx_ir as ir

from ....graph.edit import insert, replace_value, sweep
from ....graph.read import attribute, is_op, sizes
from ..base import Pattern


class DropCasts(Pattern):
    """Remove casts that change nothing; declines a CastLike of values whose types nobody told."""

    def apply(self, model: ir.Model) -> int:
        count = 0
        for node in list(model.graph):
            if not is_op(node, ("Cast", "CastLike")) or node.inputs[0] is None:
                continue
            value, like = node.inputs[0], is_op(node, "CastLike")
            wanted = (
                node.inputs[1].dtype if like and node.inputs[1] is not None else ir.DataType(attribute(node, "to", 0))
            )
            if value.dtype is None or wanted is None:
                if like:
                    self.decline(node, f"a cast from {value.dtype} to {wanted}, expected two known types")
                continue
            if value.dtype == wanted:
                if node.outputs[0].is_graph_output() and (value.producer() is None or value.is_graph_output()):
                    continue  # an output needs a name of its own
                replace_value(node.outputs[0], value)
            elif like:
                told = {name: attribute(node, name) for name in ("saturate",) if name in node.attributes}
                made = insert(node, "Cast", [value], to=int(wanted), dtype=wanted, shape=sizes(value), **told)
                replace_value(node.outputs[0], made)
            else:
                continue
            count += 1
        if count:
            sweep(model)
        return count
