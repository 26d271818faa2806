"""typed graph -> one that TensorRT builds, and not only one that its parser reads; or the reason why there is none.

The parser and ``supports_model`` say yes to some nodes that the builder has no kernel for.  It then ends, after minutes for a
large graph, with an internal error of its own.  Attention nodes are written out (attention_nodes.py); for the others the error
comes first and names the node.  Seen with TensorRT-RTX 1.7; the limits of Q/DQ and TopK are those of TensorRT's documentation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ...graph.edit import clone
from ...graph.read import attribute, constant, is_op
from ...runtime.bundle.engines import ENGINES, NMS
from ...runtime.errors import UserMistake
from ..plan.engines import ENGINES as EXPORTED_FOR
from .attention_nodes import write_out_attention

if TYPE_CHECKING:
    import onnx_ir as ir

MOST_CHOSEN = 3840  # k of TopK
OLDER = "its parser reads the node, its builder has no kernel for it"


def buildable(model: ir.Model, engine: str) -> tuple[ir.Model, list[str]]:
    """A copy that the builder of ``engine`` (tensorrt, tensorrt_rtx) takes, and notes on what was written out.

    The graph itself where nothing has to change.  UserMistake: a node that it never builds.
    """
    for node in model.graph:
        if is_op(node, REFUSED) and (why := REFUSED[node.op_type](node, engine)):
            raise UserMistake(
                f"{EXPORTED_FOR[engine].words} does not build this graph",
                found=f"node {node.name} ({node.op_type}): {why[0]}",
                expected=why[1],
                because=why[2],
                attempt="a network without that node, or --target cpu or openvino",
            )
    if not any(is_op(node, "Attention") for node in model.graph):
        return model, []
    copy = clone(model)
    if not (count := write_out_attention(copy)):
        return model, []
    return copy, [f"{count} Attention nodes written out as products and a softmax, which TensorRT builds in any type"]


Why = tuple[str, str, str]  # found, expected, because


def _transform(node: ir.Node, engine: str) -> Why:
    shape = "unknown" if node.inputs[0] is None or node.inputs[0].shape is None else str(node.inputs[0].shape)
    return (
        f"a Fourier transform of an input of shape {shape}",
        "constant lengths and at most one open axis: then it is written as products with constant matrices",
        "TensorRT has no Fourier transform",
    )


def _fold(node: ir.Node, engine: str) -> Why:
    return (
        f"patches summed onto a map, of an input of shape {node.inputs[0].shape if node.inputs[0] is not None else None}",
        "constant sizes and floating point: then it is written as a transposed convolution",
        "TensorRT has no Col2Im",
    )


def _suppression(node: ir.Node, engine: str) -> Why | None:
    if ENGINES[engine].nms:
        return None
    return "suppression of boxes", f"no {NMS} in the graph", OLDER


def _topk(node: ir.Node, engine: str) -> Why | None:
    k = constant(node.inputs[1]) if len(node.inputs) > 1 else None
    if k is None or int(k.max()) <= MOST_CHOSEN:
        return None
    return f"k = {int(k.max())}", f"k of at most {MOST_CHOSEN}", OLDER


def _asymmetric(node: ir.Node, engine: str) -> Why | None:
    import onnx_ir as ir

    zero = node.inputs[2] if len(node.inputs) > 2 else None
    codes = constant(zero)
    value = node.outputs[0] if is_op(node, "QuantizeLinear") else node.inputs[0]
    kind = value.dtype if value is not None else None
    if kind is None and is_op(node, "QuantizeLinear"):
        kind = ir.DataType(attribute(node, "output_dtype", 0)) if zero is None else zero.dtype
        kind = (
            ir.DataType.UINT8 if kind in (None, ir.DataType.UNDEFINED) else kind
        )  # what the operator gives by default
    first = 0.0 if codes is None or not codes.size else float(codes.astype("float32").ravel()[0])
    symmetric = codes is None or not codes.astype("float32").any()
    if kind != ir.DataType.UINT8 and symmetric:
        return None
    found = f"zero point {first:g} of type {kind.name.lower() if kind is not None else 'unknown'}"
    return (
        found,
        "int8 codes with zero point 0",
        "TensorRT has symmetric codes only; uint8 ones are read as int8, up to 127",
    )


REFUSED: dict[str, Callable[[ir.Node, str], Why | None]] = {
    NMS: _suppression,
    "DFT": _transform,
    "Col2Im": _fold,
    "TopK": _topk,
    "QuantizeLinear": _asymmetric,
    "DequantizeLinear": _asymmetric,
}
