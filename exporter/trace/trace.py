"""Torch model -> exported graph: one torch.export trace, written as ONNX by the dynamo exporter.

Opset 20 unless asked otherwise: real ``Attention`` nodes (opset 23) are not built by TensorRT-RTX in float32 and
gain nothing in float16; below 20 Gelu falls apart into an Erf subgraph. IR version 10, the newest TensorRT 10 reads.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ...graph.read import MAKE_LISTS, is_op
from ...runtime.errors import UserMistake
from ...runtime.pictures.contract import BYTES, FLOAT32
from ..plan.engines import USUAL_OPSET
from ..run.nouns import INPUT, OUTPUTS, ExportedGraph, Shapes

if TYPE_CHECKING:
    from pathlib import Path

    import onnx_ir as ir
    from torch import nn

IR_VERSION = 10


def trace(
    module: nn.Module,
    shapes: Shapes,
    *,
    name: str = "model",
    opset: int = USUAL_OPSET,
    outputs: Sequence[str] = OUTPUTS,
    folder: Path | None = None,
    dtype: str = FLOAT32,
) -> ExportedGraph:
    """Export ``module`` (images (B, C, H, W), float32 unless ``dtype`` says uint8 -> its ``outputs``, see runtime/tasks) for the given shapes.

    Axes that differ between ``shapes.min`` and ``shapes.max`` stay open in the graph. The example has batch 2 when the
    batch is open, since torch.export treats a batch of 1 as a constant (pytorch issue 133653).

    ``folder`` is where weights go that are too many for one file (graph/beside.py); without it they stay in memory.

    Raises:
        UserMistake: height or width are open and the module cuts its maps into windows.
        torch.onnx.OnnxExporterError: the module cannot be traced.
    """
    import torch

    from ...graph.beside import is_large, keep_beside

    dynamic = shapes.dynamic_axes
    if shapes.open_sides:
        _check_open_sides(module, shapes)
    example_shape = [max(2, low) if axis == 0 and axis in dynamic else size
                     for axis, (low, size) in enumerate(zip(shapes.min, shapes.opt, strict=True))]  # fmt: skip
    own_type = next((parameter.dtype for parameter in module.parameters()), torch.float32)
    own_type = torch.uint8 if dtype == BYTES else own_type
    example = torch.zeros(example_shape, dtype=own_type)
    dims: dict[int, Any] = {axis: torch.export.Dim.DYNAMIC for axis in dynamic}

    def exported(optimize: bool = True) -> Any:
        with torch.no_grad(), _quiet():
            return torch.onnx.export(
                module.eval(),
                (example,),
                dynamo=True,
                opset_version=opset,
                input_names=[INPUT],
                output_names=list(outputs),
                dynamic_shapes=(dims,) if dims else None,
                optimize=optimize,
                verbose=False,
            )

    try:
        program = exported()
    except torch.onnx.OnnxExporterError:
        if not _written_out(module):
            raise
        program = exported()
    assert program is not None
    if _reads_what_nobody_made(program.model):  # by torch's own simplification; our passes do without it
        program = exported(optimize=False)
        assert program is not None
        _fill_types(program.model)
    model = program.model
    model.ir_version = min(model.ir_version, IR_VERSION)
    _name_open_axes(model, shapes)
    if folder is not None and is_large(model):
        keep_beside(model, folder)
    _own_the_weights(model)
    _forget_where_it_was_made(model)
    return ExportedGraph(model, name, shapes, INPUT, tuple(outputs))


def _reads_what_nobody_made(model: ir.Model) -> bool:
    """Whether a node reads a value that no node, input or constant of the graph gives.

    torch 2.14 forgets the bounds of all but one where a value is clamped several times by tensors, as in gemma4_vit of timm
    (findings/torch_exporter_forgets_bounds_of_a_clamp.sh).
    """
    given = set(model.graph.inputs) | set(model.graph.initializers.values())
    read = (value for node in model.graph for value in node.inputs if value is not None and value.producer() is None)
    return any(value not in given for value in read)


def _fill_types(model: ir.Model) -> None:
    """Types and shapes of the values that torch's simplification would have told."""
    from onnx_ir.passes.common import ShapeInferencePass

    ShapeInferencePass(strict_mode=False)(model)
    for node in model.graph:
        if is_op(node, MAKE_LISTS):  # their elements' types were written to them
            node.outputs[0].type = node.outputs[0].shape = None


def _written_out(module: nn.Module) -> bool:
    """Attention as products and a softmax where timm's layers call the fused function; whether there were any.

    The exporter takes that function with four axes only, and hiera, nest, twins and samvit call it with five.
    """
    fused = [part for part in module.modules() if getattr(part, "fused_attn", False) is True]
    for part in fused:
        setattr(part, "fused_attn", False)  # noqa: B010  what a module has is not known to be a flag
    return bool(fused)


def _check_open_sides(module: nn.Module, shapes: Shapes) -> None:
    """Padding to whole windows of an open size: torch.export does not come to an end (stopped after ten minutes).

    Every stage pads by (7 - W % 7) % 7, so the size of the next holds that of the last, and the shape guards of each view
    are proved over the whole nested expression again. Sides declared as multiples of 224 do not help: 4 minutes and on.
    """
    windows = next((name for name, part in module.named_modules() if hasattr(part, "window_size")), None)
    if windows is None:
        return
    raise UserMistake(
        "A network with windows cannot be traced with open height and width",
        found=f"{windows} cuts its map into windows; heights and widths from "
        + " to ".join("{}x{}".format(*shapes.sides(shape)) for shape in (shapes.min, shapes.max)),
        expected="the same height and width in the smallest and the largest shape; the batch may be open",
        because="the padding to whole windows becomes a nested expression that torch.export does not finish proving",
        attempt="export once for each image size (any fixed size works)",
    )


def _name_open_axes(model: Any, shapes: Shapes) -> None:
    """Spell the open axes of the input and the batch of the output as people read them."""
    import onnx_ir as ir

    images = model.graph.inputs[0]
    renamed = {}
    for axis in shapes.dynamic_axes:
        old = images.shape[axis]
        renamed[getattr(old, "value", old)] = shapes.symbolic()[axis]
    for value in [*model.graph.inputs, *model.graph.outputs, *(out for node in model.graph for out in node.outputs)]:
        if value.shape is not None:
            value.shape = ir.Shape([renamed.get(getattr(dim, "value", dim), dim) for dim in value.shape])


def _own_the_weights(model: Any) -> None:
    """Weights as plain C-ordered numpy arrays: no tie to the torch module, and hashable byte by byte. Those in a file stay there."""
    import numpy as np
    import onnx_ir as ir

    for name, value in model.graph.initializers.items():
        if isinstance(value.const_value, ir.ExternalTensor):
            continue
        array = np.asarray(value.const_value.numpy(), order="C")  # ascontiguousarray would give a scalar an axis
        value.const_value = ir.tensor(array, name=name)


def _forget_where_it_was_made(model: Any) -> None:
    """Stack traces with paths of this machine, a fifth of a small file, are nothing that a device should carry."""
    graph = model.graph
    for thing in [
        model,
        graph,
        *graph,
        *graph.inputs,
        *graph.initializers.values(),
        *(o for n in graph for o in n.outputs),
    ]:
        for key in [key for key in thing.metadata_props if key.startswith("pkg.")]:
            del thing.metadata_props[key]
        thing.doc_string = None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter's own chatter (warnings on its internals, progress, code that it gave up on) says nothing a user can act on."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "torch.fx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        nowhere = io.StringIO()
        with warnings.catch_warnings(), contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
