"""torch modules of this folder -> exported graphs, traced without values, so that the sizes of a 3B model cost no memory.

The parameters are fake tensors (torch's FakeTensorMode); the graph's initialisers keep their names and have no values until
``weights.fill`` or a reader that streams gives them. Constants of the grid have theirs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from inspect import signature
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ...plan.engines import USUAL_OPSET
from ...trace.fused_nodes import translations
from ...trace.repeated import PLACE, Layers, as_arguments, put_in, respell
from ...trace.trace import IR_VERSION, _forget_where_it_was_made, _quiet
from .attention import CHUNKS, Cuts
from .instruction import TABLES, Instruction
from .prefix import Prefix
from .sizes import Sizes
from .stored import Storage
from .vision import Vision
from .weighting import Weighting
from .weights import Weight, weights_of

if TYPE_CHECKING:
    import onnx_ir as ir

BATCH, TOKENS, PREFIX, GROUPS, VISUAL = "batch", "tokens", "prefix", "groups", "visual"
Axes = Mapping[str, Mapping[int, str]]  # input or output -> open axis -> its name


@dataclass(frozen=True)
class Part:
    """A traced graph, and for each initialiser without values what of the checkpoint it is."""

    model: ir.Model
    weights: Mapping[str, Weight]


def trace_vision(sizes: Sizes, grid: tuple[int, int], opset: int = USUAL_OPSET, cuts: Cuts = CHUNKS) -> Part:
    """pixels (batch, 3, H, W) -> image_embeds; ``grid``: rows and columns of visual tokens, H / 28 and W / 28."""
    with torch.device("meta"):
        module = Vision(sizes.vision, grid, cuts)
    example = {"pixels": (module.example["pixels"], torch.float32)}
    return _traced(module, example, ("image_embeds",), {"pixels": {0: BATCH}}, {"image_embeds": {0: BATCH}}, opset)


def trace_prefix(
    sizes: Sizes, before: Sequence[int], grid: tuple[int, int], storage: Storage, opset: int = USUAL_OPSET
) -> Part:
    """image_embeds (batch, V, D) -> the stored tensors and visual_sums; ``before``: tokens of the text before the picture."""
    with torch.device("meta"):
        module = Prefix(sizes.text, before, grid, storage)
    example = {"image_embeds": (module.example["image_embeds"], torch.float32)}
    outputs = {name: {0: BATCH} for name in module.outputs}
    return _traced(module, example, module.outputs, {"image_embeds": {0: BATCH}}, outputs, opset)


def trace_instruction(
    sizes: Sizes, before: int, storage: Storage, weighting: Weighting, opset: int = USUAL_OPSET
) -> Part:
    """tokens (batch, tokens) over a prefix of open length -> scores; ``before``: how many tokens stand before the picture."""
    with torch.device("meta"):
        module = Instruction(sizes.text, before, storage, weighting)
    batch, columns, prefix = 2, weighting.shortest + 5, before + 47
    text = sizes.text
    example: dict[str, tuple[tuple[int, ...], torch.dtype]] = {
        "tokens": ((batch, columns), torch.int64),
        "lengths": ((batch,), torch.int64),
        "start": ((batch,), torch.int64),
        **{name: ((prefix, text.head_dim), torch.float32) for name in TABLES},
        **storage.specs(text, batch, prefix),
        "visual_sums": ((batch, text.layers, text.hidden), torch.float32),
    }
    axes: dict[str, dict[int, str]] = {name: {0: BATCH} for name in module.inputs}
    axes |= {name: {0: BATCH, **more} for name, more in storage.axes(PREFIX, GROUPS).items()}
    axes |= {"tokens": {0: BATCH, 1: TOKENS}, **{name: {0: PREFIX} for name in TABLES}}
    inputs = {name: example[name] for name in module.inputs}
    return _traced(module, inputs, ("scores",), axes, {"scores": {0: BATCH, 1: VISUAL}}, opset)


def _traced(
    module: Vision | Prefix | Instruction,
    example: Mapping[str, tuple[tuple[int, ...], torch.dtype]],
    outputs: Sequence[str],
    axes: Axes,
    output_axes: Axes,
    opset: int,
) -> Part:
    from onnxscript.optimizer import optimize_ir
    from torch._subclasses.fake_tensor import FakeTensorMode

    weights, constants = weights_of(module), dict(module.named_buffers())
    layers = Layers()
    module.layers = layers
    fake = FakeTensorMode()
    with fake, torch.no_grad(), _quiet():
        _without_values(module)
        program = torch.onnx.export(
            module.eval(),
            tuple(torch.empty(shape, dtype=kind) for shape, kind in example.values()),
            dynamo=True,
            opset_version=opset,
            input_names=list(example),
            output_names=list(outputs),
            dynamic_shapes=as_arguments(signature(module.forward), [_open(axes[name]) for name in example]),
            custom_translation_table=translations(),
            optimize=False,  # it would read values; below, where the constants have theirs
            verbose=False,
        )
    assert program is not None
    model = program.model
    _give_constants(model, constants, weights)
    with torch.no_grad(), _quiet():
        optimize_ir(model)
        put_in(model, layers, opset, fake)
    model.ir_version = min(model.ir_version, IR_VERSION)
    _name_axes(model, axes, output_axes)
    _name_nodes(model)
    _forget_where_it_was_made(model)
    return Part(model, {name: weight for name, weight in weights.items() if name in model.graph.initializers})


def _open(axes: Mapping[int, str]) -> dict[int, Any]:
    return {axis: torch.export.Dim.DYNAMIC for axis in axes}


def _without_values(module: nn.Module) -> None:
    for part in module.modules():
        for name, parameter in part.named_parameters(recurse=False):
            part.register_parameter(name, nn.Parameter(torch.empty(parameter.shape, device="cpu"), False))
        for name, buffer in part.named_buffers(recurse=False):
            part.register_buffer(name, torch.empty(buffer.shape, dtype=buffer.dtype, device="cpu"), persistent=False)


def _name_axes(model: ir.Model, axes: Axes, output_axes: Axes) -> None:
    """Open axes as people read them; torch spells those of an output as arithmetic on those of the inputs."""
    renamed: dict[str, str] = {}
    for side, names in ((model.graph.inputs, axes), (model.graph.outputs, output_axes)):
        for value in side:
            for axis, name in names[str(value.name)].items():
                assert value.shape is not None
                renamed[_spelled(value.shape[axis])] = name
    respell(model, renamed)


def _spelled(dim: Any) -> str:
    return str(getattr(dim, "value", dim))


def _name_nodes(model: ir.Model) -> None:
    """Each node by the module that it comes from: ``model.language_model.layers.3.mlp.up_proj/MatMul``."""
    seen: dict[str, int] = {}
    for node in model.graph:
        scopes = re.findall(r"'([^']*)'", node.metadata_props.get("pkg.torch.onnx.name_scopes", ""))
        inside = next((scope for scope in reversed(scopes[:-1]) if scope), "")
        layer = node.metadata_props.pop(PLACE, "")
        place = ".".join(filter(None, (layer, inside))) or "graph"
        name = f"{place}/{node.op_type}"
        seen[name] = seen.get(name, 0) + 1
        node.name = name if seen[name] == 1 else f"{name}_{seen[name]}"


def _give_constants(model: ir.Model, constants: Mapping[str, torch.Tensor], weights: Mapping[str, Weight]) -> None:
    import onnx_ir as ir

    for name, value in list(model.graph.initializers.items()):
        if name in constants:
            value.const_value = ir.tensor(constants[name].numpy(), name=name)
        elif name in weights:
            assert value.const_value is not None
            value.type, value.shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape(value.const_value.shape.numpy())
            value.const_value = None
