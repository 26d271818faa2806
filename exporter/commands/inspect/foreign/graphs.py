"""A foreign file as a graph that reads float32 pictures and runs on ONNX Runtime's CPU, tried before it is used."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .....runtime.errors import UserMistake
from .....runtime.ground.limits import BF16
from .pictures import TAKES, PictureInput, behind_pictures, picture_input
from .read import read_foreign_graph

if TYPE_CHECKING:
    import onnx_ir as ir


@dataclass(frozen=True)
class ForeignGraph:
    """``model`` takes float32 (B, 3, H, W); ``takes`` says what the file takes."""

    path: Path
    model: ir.Model
    takes: PictureInput


def read_picture_graph(path: Path) -> ForeignGraph:
    """The graph of a file that takes pictures of any type and layout; bfloat16 is computed in float32, rounded as written.

    Raises:
        UserMistake: no sound ONNX file, or it takes anything but pictures.
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
    return ForeignGraph(path, _runnable(behind_pictures(model, takes)), takes)


def _runnable(model: ir.Model) -> ir.Model:
    """ONNX Runtime has no bfloat16 kernels on a CPU: such a graph is emulated."""
    import onnx_ir as ir
    from onnx_ir.passes.common import ShapeInferencePass

    from ....precision.emulate import emulate

    values = [value for node in model.graph for value in (*node.inputs, *node.outputs) if value is not None]
    if not any(value.dtype == ir.DataType.BFLOAT16 for value in values):
        return model
    for output in list(model.graph.outputs):
        if output.dtype == ir.DataType.BFLOAT16 and (node := output.producer()) is not None:
            name, output.name = output.name, f"{output.name}__bfloat16"
            cast = ir.node("Cast", [output], {"to": int(ir.DataType.FLOAT)}, name=f"{name}__float")
            cast.outputs[0].name, cast.outputs[0].shape = name, output.shape
            cast.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
            model.graph.insert_after(node, cast)
            model.graph.outputs[list(model.graph.outputs).index(output)] = cast.outputs[0]
    return emulate(ShapeInferencePass()(model).model, BF16)
