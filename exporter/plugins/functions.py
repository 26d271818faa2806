"""Declaration -> the ONNX function that travels inside a model: any runtime can run it, TensorRT may take a plugin for it.

A node names the function (op type, domain ``edgesmith``). ``plugin_namespace`` and ``plugin_version`` stand on every node:
TensorRT before 10.10 finds the plugin by them, everyone else ignores them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ...runtime.plugins.schema import DOMAIN, VERSION, OpSchema
from .declaration import FusedOp

if TYPE_CHECKING:
    import onnx

OPSET = 20


def function(op: FusedOp, opset: int = OPSET, given: Mapping[str, Any] | None = None) -> onnx.FunctionProto:
    """The body of ``op`` as a FunctionProto of domain ``edgesmith``; bodies read the same in opset 18 to 23.

    ``given`` are attributes that all nodes of the model have alike: a branch that they never take is left out.
    """
    import onnx
    import onnx.parser

    required = [attribute for attribute in op.schema.attributes if attribute.default is None]
    names = ", ".join(attribute.name for attribute in required)
    inputs = ", ".join(tensor.name for tensor in op.schema.inputs)
    outputs = ", ".join(tensor.name for tensor in op.schema.outputs)
    head = f'<opset_import: ["" : {opset}], domain: "{DOMAIN}">\n{op.name} {f"<{names}> " if names else ""}'
    body = next((text for (name, at), text in op.body_at.items() if (given or {}).get(name) == at), op.body)
    proto = onnx.parser.parse_function(f"{head}({inputs}) => ({outputs})\n{{{body}}}")
    for attribute in op.schema.attributes:
        if attribute.default is not None:
            proto.attribute_proto.append(onnx.helper.make_attribute(attribute.name, attribute.default))
    for name, value in found_by().items():
        proto.attribute_proto.append(onnx.helper.make_attribute(name, value))
    proto.doc_string = op.summary
    return proto


def found_by() -> dict[str, str]:
    """The attributes by which TensorRT finds a plugin."""
    return {"plugin_namespace": DOMAIN, "plugin_version": VERSION}


def written_out(schema: OpSchema, given: Mapping[str, Any]) -> dict[str, int | float]:
    """The attributes of one node, defaults too, because a plugin's creator wants them all."""
    values = {attribute.name: given.get(attribute.name, attribute.default) for attribute in schema.attributes}
    return {
        attribute.name: (int if attribute.kind == "int" else float)(values[attribute.name])
        for attribute in schema.attributes
    }


def node(op: FusedOp, inputs: Iterable[str], outputs: Iterable[str], attributes: Mapping[str, Any]) -> onnx.NodeProto:
    """One node of the op; TypeError when an attribute without a default is not given."""
    import onnx

    typed: dict[str, Any] = written_out(op.schema, attributes)
    return onnx.helper.make_node(op.name, list(inputs), list(outputs), domain=DOMAIN, **typed, **found_by())
