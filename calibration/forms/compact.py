"""Float constants that stay float take less of the file: float16, or int8 codes, widened once when the engine loads it.

Quantised weights leave head, stem, embeddings, convolutions and position terms in float32: half the file of ConViT-tiny.

    float16     Cast                          everything else: 11 bits, three more than the codes beside it
    int8        Mul(Cast(codes), scale)       position terms and large Convs behind the stem; one scale a row or an output

ONNX Runtime and OpenVINO compute a Cast of a constant at load, so the graph runs as before; a ``DequantizeLinear`` they
would compute at every run.  For the forms of CPUs only: "qdq" has types that TensorRT reads from the file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...graph.edit import add_constant, insert, sweep
from ...graph.read import behind_views, is_op

if TYPE_CHECKING:
    import onnx_ir as ir

SMALLEST = 4096  # values; a smaller constant (a bias, the scales of a weight) is no part of the size
LARGE = 1 << 18  # values of a Conv weight; codes for the small ones too took 3 dB from DaViT-tiny and 4 from SMT-tiny
FLOAT16 = 65504.0
LOST = 2.0**-10  # of the largest value: what rounding to 11 bits can change, and float16's small numbers


def compact(model: ir.Model) -> int:
    """Change ``model`` in place; the number of constants that take less room."""
    import onnx_ir as ir

    count = 0
    for value in list(model.graph.initializers.values()):
        tensor, uses = value.const_value, list(value.uses())
        if tensor is None or value.is_graph_input() or value.is_graph_output() or tensor.dtype != ir.DataType.FLOAT:
            continue
        if tensor.size < SMALLEST or not uses:
            continue
        readers = {use.node for use in uses}
        before = next(node for node in model.graph if node in readers)
        array = tensor.numpy()
        wide = _codes(model, before, value, array) if _bears_codes(array, readers) else None
        wide = wide or _half(model, before, value, array)
        if wide is not None:
            for use in uses:
                use.node.replace_input_with(use.idx, wide)
            count += 1
    sweep(model)
    return count


def _bears_codes(array: np.ndarray, readers: set[ir.Node]) -> bool:
    if array.ndim < 3:
        return False
    convs = [node for node in readers if is_op(node, "Conv")]
    return array.size >= LARGE and all(behind_views(node.inputs[0]) is not None for node in convs) if convs else True


def _codes(model: ir.Model, before: ir.Node, value: ir.Value, array: np.ndarray) -> ir.Value | None:
    """One scale an output channel of a Conv, one a row of everything else; None for what is not finite."""
    conv = any(is_op(use.node, "Conv") for use in value.uses())
    peaks = np.abs(array).max(axis=tuple(range(1, array.ndim)) if conv else -1, keepdims=True)
    if not np.isfinite(peaks).all():
        return None
    scale = np.maximum(peaks / 127, np.finfo(np.float32).tiny).astype(np.float32)
    codes = add_constant(model, f"{value.name}_codes", np.clip(np.rint(array / scale), -127, 127).astype(np.int8))
    wide = _node(before, "Cast", [codes], value, "cast")
    return _node(before, "Mul", [wide, add_constant(model, f"{value.name}_scale", scale)], value, "wide")


def _half(model: ir.Model, before: ir.Node, value: ir.Value, array: np.ndarray) -> ir.Value | None:
    """None for what float16 cannot hold."""
    peak = float(np.abs(array).max())
    if not peak <= FLOAT16:
        return None
    half = array.astype(np.float16)
    if float(np.abs(array - half).max()) > LOST * peak:
        return None
    return _node(before, "Cast", [add_constant(model, f"{value.name}_half", half)], value, "wide")


def _node(before: ir.Node, op_type: str, inputs: list[ir.Value], value: ir.Value, word: str) -> ir.Value:
    import onnx_ir as ir

    to_float: dict[str, Any] = {"to": int(ir.DataType.FLOAT)} if op_type == "Cast" else {}
    name = f"{value.name}_{word}"
    return insert(
        before, op_type, inputs, output=name, name=name, dtype=ir.DataType.FLOAT, shape=value.shape, **to_float
    )
