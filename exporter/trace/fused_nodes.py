"""Modules that call the torch ops of fused ops (exporter/plugins): each call becomes one node of the domain ``edgesmith``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ...runtime.plugins.schema import DOMAIN
from ..plugins import OPS
from ..plugins.declaration import FusedOp
from ..plugins.functions import found_by
from ..plugins.torch_ops import split_arguments, torch_op

if TYPE_CHECKING:
    import onnx


def translations() -> dict[Any, Callable[..., Any]]:
    """``custom_translation_table`` of torch.onnx.export, for all fused ops."""
    import torch

    table = {}
    for op in OPS.values():
        torch_op(op)
        table[getattr(torch.ops.edgesmith, op.name).default] = _translation(op)
    return table


def _translation(op: FusedOp) -> Callable[..., Any]:
    import onnxscript

    emit = onnxscript.values.Op(onnxscript.values.Opset(DOMAIN, 1), op.name, onnx_schema(op))

    def translate(*arguments: Any, **named: Any) -> Any:
        tensors, attributes = split_arguments(op.schema, arguments, named)
        return emit(*tensors, **attributes, **found_by())

    return translate


def onnx_schema(op: FusedOp) -> onnx.defs.OpSchema:
    """The schema in ONNX's words."""
    import onnx

    kinds = onnx.defs.OpSchema.AttrType
    fixed = {"float32": "tensor(float)", "float16": "tensor(float16)", "int32": "tensor(int32)"}
    sides = [
        [onnx.defs.OpSchema.FormalParameter(tensor.name, fixed.get(tensor.type, "T")) for tensor in side]
        for side in (op.schema.inputs, op.schema.outputs)
    ]
    attributes = [
        onnx.defs.OpSchema.Attribute(attribute.name, kinds.INT if attribute.kind == "int" else kinds.FLOAT)
        for attribute in op.schema.attributes
    ]
    attributes += [onnx.defs.OpSchema.Attribute(name, kinds.STRING) for name in found_by()]
    anything = ["tensor(float)", "tensor(float16)", "tensor(bfloat16)"]
    return onnx.defs.OpSchema(
        op.name, DOMAIN, 1, inputs=sides[0], outputs=sides[1], attributes=attributes,
        type_constraints=[("T", anything, "the op's own type")],
    )  # fmt: skip
