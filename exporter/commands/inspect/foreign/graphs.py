"""A foreign file as a graph that reads float32 pictures and runs on ONNX Runtime's CPU, tried before it is used."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .....runtime.errors import UserMistake
from .....runtime.ground.limits import BF16
from ....run.foreign.read import read_foreign_graph, too_old
from .pictures import TAKES, USUAL, Face, PictureInput, behind_pictures, picture_input
from .tried import try_graph

WHOLE_OPSET = 11  # the first with Round, and with limits of a Clip that are inputs

if TYPE_CHECKING:
    import onnx_ir as ir


@dataclass(frozen=True)
class ForeignGraph:
    """``model`` takes float32 (B, 3, H, W), or what ``face`` says; ``takes`` says what the file takes."""

    path: Path
    model: ir.Model
    takes: PictureInput
    face: Face = USUAL


def read_picture_graph(path: Path, tried: bool = False, face: Face = USUAL) -> ForeignGraph:
    """The graph of a file that takes pictures of any type and layout; bfloat16 is computed in float32, rounded as written.

    ``face``: what pictures are at hand; a graph that takes just these is left as it is.
    Types are inferred for that, in native code: a child does it before, unless the file is ``tried`` there just now.

    Raises:
        UserMistake: no sound ONNX file, one of an opset that is too old, or it takes anything but pictures.
    """
    model = read_foreign_graph(path)
    takes = picture_input(model)
    if isinstance(takes, str):
        raise UserMistake(
            f"{path} does not take pictures",
            found=takes,
            expected=TAKES,
            because="only image models can be measured for now",
            attempt="a file with one image input; edgesmith inspect shows what this one holds",
        )
    version = model.graph.opset_imports.get("", WHOLE_OPSET)
    if takes.whole and version < WHOLE_OPSET:
        raise too_old(
            path, version, WHOLE_OPSET, "its pictures are whole numbers, and before there is no Round for them"
        )
    as_it_is = takes.face == face
    model, takes = (model, takes.as_it_is) if as_it_is else (behind_pictures(model, takes), takes)
    if _in_bfloat16(model):
        if not tried:
            try_graph(path)
        model = _emulated(model)
    return ForeignGraph(path, model, takes, face if as_it_is else USUAL)


def _in_bfloat16(model: ir.Model) -> bool:
    """ONNX Runtime has no kernels for it on a CPU."""
    import onnx_ir as ir

    values = [value for node in model.graph for value in (*node.inputs, *node.outputs) if value is not None]
    return any(value.dtype == ir.DataType.BFLOAT16 for value in values)


def _emulated(model: ir.Model) -> ir.Model:
    """The same numbers in float32."""
    import onnx_ir as ir
    from onnx_ir.passes.common import ShapeInferencePass

    from ....precision.emulate import emulate

    for output in list(model.graph.outputs):
        if output.dtype == ir.DataType.BFLOAT16 and (node := output.producer()) is not None:
            name, output.name = output.name, f"{output.name}__bfloat16"
            cast = ir.node("Cast", [output], {"to": int(ir.DataType.FLOAT)}, name=f"{name}__float")
            cast.outputs[0].name, cast.outputs[0].shape = name, output.shape
            cast.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
            model.graph.insert_after(node, cast)
            model.graph.outputs[list(model.graph.outputs).index(output)] = cast.outputs[0]
    return emulate(ShapeInferencePass()(model).model, BF16)
