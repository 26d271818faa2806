"""Declaration -> the torch custom op ``torch.ops.edgesmith.<Name>``, and the bodies of fused nodes in a graph.

The op computes with the numpy reference, so a torch module that uses it is judged by the definition; it has no gradient.
Shapes under tracing come from the schema's expressions. A node of an op has its name and the domain ``edgesmith``;
``carry_functions`` puts the body beside it.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

from ...graph.read import is_op
from ...runtime.plugins.expressions import INTEGERS, parse
from ...runtime.plugins.schema import DOMAIN, Attribute, OpSchema
from .declaration import FusedOp
from .functions import OPSET, function

if TYPE_CHECKING:
    import onnx_ir as ir
    import torch


def torch_op(op: FusedOp) -> Callable[..., Any]:
    """The custom op, registered once: inputs by position, attributes by keyword; a tuple where it has several outputs."""
    return _registered(op.name)


@cache
def _registered(name: str) -> Callable[..., Any]:
    import torch

    from . import OPS

    op = OPS[name]

    def compute(*arguments: Any, **named: Any) -> Any:
        tensors, attributes = split_arguments(op.schema, arguments, named)
        op.schema.bind([tuple(tensor.shape) for tensor in tensors], attributes)
        results = op.reference(*(_numpy(tensor) for tensor in tensors), **attributes)
        types = _output_types(op.schema, tensors)
        single = not isinstance(results, tuple)
        found = [
            torch.from_numpy(array.copy()).to(type_)
            for array, type_ in zip([results] if single else results, types, strict=True)
        ]
        return found[0] if single else tuple(found)

    def shapes(*arguments: Any, **named: Any) -> Any:
        tensors, attributes = split_arguments(op.schema, arguments, named)
        names: dict[str, Any] = {
            key: value for key, value in attributes.items() if isinstance(value, int | torch.SymInt)
        }
        for tensor, declared in zip(tensors, op.schema.inputs, strict=True):
            for size, symbol in zip(tensor.shape, declared.shape, strict=True):
                if symbol.isidentifier():
                    names.setdefault(symbol, size)
        algebra = {**INTEGERS, "min": torch.sym_min, "max": torch.sym_max, "//": operator.floordiv}
        found = [
            tensors[0].new_empty([parse(size).value(names, algebra) for size in declared.shape], dtype=type_)
            for declared, type_ in zip(op.schema.outputs, _output_types(op.schema, tensors), strict=True)
        ]
        return found[0] if len(found) == 1 else tuple(found)

    made = torch.library.custom_op(f"{DOMAIN}::{name}", compute, mutates_args=(), schema=signature(op.schema))
    made.register_fake(shapes)
    return made


def signature(schema: OpSchema) -> str:
    """The schema in torch's words: ``(Tensor x, Tensor p, float eps=1e-06) -> Tensor``."""
    arguments = [f"Tensor {tensor.name}" for tensor in schema.inputs]
    for attribute in _required_first(schema):
        default = "" if attribute.default is None else f"={attribute.default!r}"
        arguments.append(f"{attribute.kind} {attribute.name}{default}")
    results = ", ".join(["Tensor"] * len(schema.outputs))
    return f"({', '.join(arguments)}) -> {results if len(schema.outputs) == 1 else f'({results})'}"


def carry_functions(model: ir.Model, opset: int = OPSET) -> list[str]:
    """Put the bodies of all fused nodes into the model, and their domain into its imports; the names of the ops."""
    import onnx_ir as ir

    from . import OPS

    found: dict[str, list[ir.Node]] = {}
    for node in model.graph.all_nodes():
        if is_op(node, OPS, DOMAIN):
            found.setdefault(node.op_type, []).append(node)
    names = sorted(found)
    for name in names:
        body = ir.serde.deserialize_function(function(OPS[name], opset, _alike(found[name])))
        model.functions[body.identifier()] = body
    if names:
        model.graph.opset_imports[DOMAIN] = 1
    return names


def _alike(nodes: list[ir.Node]) -> dict[str, Any]:
    """The attributes that all of these nodes have, at one value."""
    first, *others = ({name: attribute.value for name, attribute in node.attributes.items()} for node in nodes)
    return {name: value for name, value in first.items() if all(other.get(name) == value for other in others)}


def _required_first(schema: OpSchema) -> list[Attribute]:
    """The attributes as torch wants its arguments: those with defaults at the end."""
    return sorted(schema.attributes, key=lambda attribute: attribute.default is not None)


def split_arguments(
    schema: OpSchema, arguments: tuple[Any, ...], named: dict[str, Any]
) -> tuple[list[Any], dict[str, Any]]:
    """Positional and keyword arguments -> tensors in order, attributes with defaults."""
    names = [*(tensor.name for tensor in schema.inputs), *(attribute.name for attribute in _required_first(schema))]
    given = dict(zip(names, arguments, strict=False)) | named
    tensors = [given[tensor.name] for tensor in schema.inputs]
    return tensors, {attribute.name: given.get(attribute.name, attribute.default) for attribute in schema.attributes}


def _output_types(schema: OpSchema, tensors: list[torch.Tensor]) -> list[torch.dtype]:
    import torch

    own = next(
        (tensor.dtype for tensor, declared in zip(tensors, schema.inputs, strict=True) if declared.type == "T"), None
    )
    return [
        own if declared.type == "T" and own is not None else getattr(torch, declared.type)
        for declared in schema.outputs
    ]


def _numpy(tensor: torch.Tensor) -> Any:
    import torch

    wide = tensor.detach().cpu()
    return (wide.float() if wide.dtype == torch.bfloat16 else wide).numpy()  # numpy has no bfloat16
