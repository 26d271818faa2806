"""What the passes that put fused ops in have in common: one node of the domain ``edgesmith``, and when it may not be put.

They run only when asked for (``--plugins``). A node carries its body with it (exporter/plugins/functions.py), so every
engine can run it; where plugins take the nodes (``needs_kernel``), an op without a kernel for the sizes is refused here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import onnx_ir as ir

from ....graph.edit import insert_node
from ....runtime.plugins.expressions import parse
from ....runtime.plugins.schema import DOMAIN
from ...plugins.functions import OPSET, found_by, written_out
from ...plugins.fused_types import OWN, output_types
from ..base import Pattern

ANY_SIZE = 1  # stands for an open axis, which no kernel's condition reads


class Fuse(Pattern):
    """A pass that puts fused ops in: ``ops``, by their names in exporter/plugins."""

    ops: ClassVar[tuple[str, ...]] = ()
    needs_kernel: tuple[str, ...] = ()  # types in which a kernel must exist; none where the bodies are what runs

    def lacking(self, op: str, shapes: Sequence[Sequence[int | str | None]], attributes: Mapping[str, Any]) -> str:
        """Why ``op`` cannot stand for these inputs, in words; empty when it can."""
        from ...plugins import OPS

        declared = OPS[op]
        closed = [[size if isinstance(size, int) else ANY_SIZE for size in shape] for shape in shapes]
        try:
            names = declared.schema.bind(closed, attributes)
        except ValueError as error:
            return str(error)
        for t in self.needs_kernel:
            if not declared.variants_for(t, names):
                variants = declared.kernel.variants if declared.kernel else ()
                known = [variant.when for variant in variants if variant.type == t]
                listed = ", ".join(dict.fromkeys(known)) or "none at all"
                inside = {name: names[name] for when in known for name in parse(when).names if name in names}
                found = ", ".join(f"{name} = {value}" for name, value in inside.items()) or t
                return f"{op} has no {t} kernel for {found}; it has {listed}"
        return ""


def fused(
    model: ir.Model,
    before: ir.Node,
    op: str,
    inputs: Sequence[ir.Value],
    shapes: Sequence[Sequence[int | str | None]],
    attributes: Mapping[str, Any],
    *,
    name: str = "",
) -> tuple[ir.Value, ...]:
    """One fused node before ``before``, its body put into the model; the outputs have ``shapes`` and the schema's types."""
    from ...plugins import OPS
    from ...plugins.torch_ops import carry_functions

    schema = OPS[op].schema
    values: dict[str, Any] = written_out(schema, attributes)
    node = insert_node(
        before, op, inputs, name=name, domain=DOMAIN, outputs=len(schema.outputs), **values, **found_by()
    )
    own = next(value.dtype for value, told in zip(inputs, schema.inputs, strict=True) if told.type == OWN)
    for value, kind, shape in zip(node.outputs, output_types(node, schema, own), shapes, strict=True):
        value.type = ir.TensorType(kind) if kind is not None else None
        value.shape = ir.Shape(list(shape))
    if (DOMAIN, op, "") not in model.functions:
        carry_functions(model, model.graph.opset_imports.get("", OPSET))
    return tuple(node.outputs)
