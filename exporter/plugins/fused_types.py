"""Types of a fused node: which inputs and outputs follow the precision of the graph, and which are fixed by the schema."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...runtime.plugins.schema import DOMAIN, OpSchema, Tensor

if TYPE_CHECKING:
    import onnx_ir as ir

OWN = "T"


def schema_of(node: ir.Node) -> OpSchema | None:
    """The schema of a fused node, None for every other node."""
    from . import OPS

    op = OPS.get(node.op_type) if node.domain == DOMAIN else None
    return op.schema if op is not None else None


def follows(tensors: tuple[Tensor, ...], index: int) -> bool:
    """Whether an input or output has the op's own type."""
    return index < len(tensors) and tensors[index].type == OWN


def output_types(node: ir.Node, schema: OpSchema, own: ir.DataType | None) -> list[ir.DataType | None]:
    """The types of the outputs, ``own`` being that of the inputs of type T."""
    import numpy as np
    import onnx_ir as ir

    return [
        own if tensor.type == OWN else ir.DataType.from_numpy(np.dtype(tensor.type))
        for tensor, _ in zip(schema.outputs, node.outputs, strict=False)
    ]
