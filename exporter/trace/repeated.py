"""Modules with many layers of one form: the form is traced once, and its nodes are put in for every layer.

torch.export takes seconds a layer where sizes are open, so 36 layers would take minutes. While ``layers`` is set, a call of a
layer becomes one node whose last inputs are its parameters; ``put_in`` traces one layer of each kind and replaces those nodes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    import onnx_ir as ir

DOMAIN = "edgesmith.layers"
PLACE = "edgesmith.layer"  # metadata of a node while the graph is put together: the layer that it belongs to
Sizes = Sequence["int | torch.SymInt"]


@dataclass
class Layers:
    """The kinds of layer that a trace met: one module of each, with the shapes and types of its inputs."""

    kinds: dict[str, tuple[nn.Module, list[tuple[tuple[Any, ...], torch.dtype]]]] = field(default_factory=dict)

    def call(self, kind: str, place: str, layer: nn.Module, inputs: Sequence[Tensor], shapes: Sequence[Sizes]) -> Any:
        """One node for ``layer``, whose float32 outputs have these shapes."""
        self.kinds.setdefault(kind, (layer, [(tuple(tensor.shape), tensor.dtype) for tensor in inputs]))
        return torch.onnx.ops.symbolic_multi_out(
            f"{DOMAIN}::{kind}",
            (*inputs, *layer.parameters()),
            dtypes=[torch.float32] * len(shapes),
            shapes=shapes,
            version=1,
            metadata_props={PLACE: place},
        )


def call_layer(
    layers: Layers | None, kind: str, place: str, layer: nn.Module, inputs: Sequence[Tensor], shapes: Sequence[Sizes]
) -> Any:
    """What ``layer`` gives, or the node that stands for it while a graph is traced."""
    return layer(*inputs) if layers is None else layers.call(kind, place, layer, inputs, shapes)


def put_in(model: ir.Model, layers: Layers, opset: int, fake: AbstractContextManager[Any]) -> None:
    """The nodes of every layer in place of the one that stands for it; ``fake``: the mode that the parameters belong to."""
    from onnx_ir.passes.common import InlinePass, RemoveUnusedNodesPass

    for kind, (layer, inputs) in layers.kinds.items():
        body = _body(kind, layer, inputs, opset, fake)
        model.functions[body.identifier()] = body
    InlinePass(criteria=lambda function: function.domain == DOMAIN)(model)
    RemoveUnusedNodesPass()(model)
    model.graph.opset_imports.pop(DOMAIN, None)


def _body(
    kind: str,
    layer: nn.Module,
    inputs: Sequence[tuple[tuple[Any, ...], torch.dtype]],
    opset: int,
    fake: AbstractContextManager[Any],
) -> ir.Function:
    import onnx_ir as ir
    from onnxscript.optimizer import optimize_ir

    with fake:
        program = torch.onnx.export(
            layer.eval(),
            tuple(torch.empty([_number(size) for size in shape], dtype=type_) for shape, type_ in inputs),
            dynamo=True,
            opset_version=opset,
            dynamic_shapes=_open(layer, inputs),
            optimize=False,
            verbose=False,
        )
    assert program is not None
    model = program.model
    parameters = dict(layer.named_parameters())
    for name in parameters.keys() & model.graph.initializers.keys():
        model.graph.initializers[name].const_value = None
    optimize_ir(model)
    _spell_as_outside(model, [shape for shape, _ in inputs])
    found = {name: model.graph.initializers.pop(name, None) for name in parameters}
    for name, value in found.items():
        model.graph.inputs.append(value if value is not None else ir.Value(name=name))
    for name in list(model.graph.initializers):
        value = model.graph.initializers.pop(name)
        assert value.const_value is not None
        made = ir.node("Constant", [], {"value": ir.AttrTensor("value", value.const_value)})
        made.outputs[0].name, made.outputs[0].type, made.outputs[0].shape = name, value.type, value.shape
        ir.convenience.replace_all_uses_with(value, made.outputs[0], replace_graph_outputs=True)
        model.graph.insert_before(model.graph[0], made)
    return ir.Function(DOMAIN, kind, "", graph=model.graph, attributes={})


def _open(layer: nn.Module, inputs: Sequence[tuple[tuple[Any, ...], torch.dtype]]) -> Any:
    """The axes that are open outside; torch.export wants those behind ``*`` as one entry."""
    import inspect

    rows = [
        {axis: torch.export.Dim.DYNAMIC for axis, size in enumerate(shape) if not isinstance(size, int)}
        for shape, _ in inputs
    ]
    return as_arguments(inspect.signature(layer.forward), rows)


def as_arguments(signature: Any, rows: Sequence[Any]) -> tuple[Any, ...]:
    """One row an argument -> as torch.export asks: what a ``*`` takes is one entry of its own."""
    named = [one for one in signature.parameters.values() if one.kind is not one.VAR_POSITIONAL]
    starred = len(rows) > len(named)  # a ``*`` that takes nothing is no entry
    return (*rows[: len(named)], tuple(rows[len(named) :])) if starred else tuple(rows)


def _number(size: Any) -> int:
    return size if isinstance(size, int) else int(size.node.hint)


def _spell_as_outside(model: ir.Model, shapes: Sequence[Sequence[Any]]) -> None:
    """Open axes inside a layer under the names that they have outside."""
    outside = {
        str(getattr(inner, "value", inner)): str(outer)
        for value, shape in zip(model.graph.inputs, shapes, strict=True)
        for inner, outer in zip(value.shape or (), shape, strict=True)
        if not isinstance(outer, int)
    }
    respell(model, outside)


def respell(model: ir.Model, names: Mapping[str, str]) -> None:
    """Open axes of all values by other names; an axis that is arithmetic on axes keeps it."""
    import onnx_ir as ir

    inside = [output for node in model.graph for output in node.outputs]
    for value in {*model.graph.inputs, *model.graph.outputs, *inside}:
        if value.shape is not None:
            value.shape = ir.Shape([_respelled(dim, names) for dim in value.shape])


def _respelled(dim: Any, names: Mapping[str, str]) -> int | str | None:
    if isinstance(dim, int):
        return dim
    spelled = str(getattr(dim, "value", dim))
    if spelled in names:
        return names[spelled]
    return re.sub(r"[A-Za-z_]\w*", lambda found: _as_operand(names.get(found[0], found[0])), spelled)


def _as_operand(name: str) -> str:
    return name if name.isidentifier() else f"({name})"
