"""A graph on ONNX Runtime: the same numbers every time, and any value inside as an output."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir

Runner = Callable[[np.ndarray], np.ndarray]  # (B, 3, H, W) float32 -> (B, ...) float32, one array of all outputs
# on x86 without VNNI, sums of products of uint8 and int8 saturate unless weights are kept as uint8; elsewhere it changes nothing
EXACT_PRODUCTS = ("session.x64quantprecision", "1")


def open_session(
    model: ir.Model | bytes, outputs: Sequence[str] = (), *, optimise: bool = True, threads: int = 0
) -> Any:
    """An InferenceSession on the CPU; ``outputs`` names further values of the graph to hand out.

    ``optimise=False`` keeps ONNX Runtime from changing even one node: Q and DQ then round as they are written, which is
    what a TensorRT engine computes; optimised, they become integer kernels, which is what the CPU target runs.
    """
    import onnx
    import onnx_ir
    import onnxruntime

    from .floats import as_float, holds_fp4

    if not isinstance(model, bytes) and holds_fp4(model):
        model = as_float(model)  # the same numbers in types that ONNX Runtime knows
    proto = onnx.load_from_string(model) if isinstance(model, bytes) else onnx_ir.to_proto(model)
    have = {output.name for output in proto.graph.output}
    known = {name for node in proto.graph.node for name in node.output}
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in outputs if name in known - have)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    _say_zero_points(proto)
    options.add_session_config_entry(*EXACT_PRODUCTS)
    options.intra_op_num_threads = threads
    # a thread that spins while it waits takes the core from PyTorch, which runs in turns with it here
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if threads else "0")
    if not optimise:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _say_zero_points(proto: onnx.ModelProto) -> None:
    """Zeros for int8 weights without a zero point: EXACT_PRODUCTS gives those of a scale a channel one for all, and they do not run."""
    import onnx

    held = {tensor.name: tensor for tensor in proto.graph.initializer}
    for node in proto.graph.node:
        if node.op_type != "DequantizeLinear" or len(node.input) != 2:
            continue
        codes, scale = (held.get(name) for name in node.input)
        if codes is not None and scale is not None and codes.data_type == onnx.TensorProto.INT8:
            zero = onnx.numpy_helper.from_array(np.zeros(tuple(scale.dims), np.int8), f"{node.output[0]}_no_zero_point")
            proto.graph.initializer.append(zero)
            node.input.append(zero.name)


def run_values(model: ir.Model, feeds: Mapping[str, np.ndarray], names: Sequence[str] | None) -> dict[str, np.ndarray]:
    """One run, one thread, without fusions: the named values, or only the outputs of the graph."""
    session = open_session(model, names or (), optimise=False, threads=1)
    wanted = [output.name for output in session.get_outputs() if "bfloat16" not in output.type]
    return dict(zip(wanted, session.run(wanted, dict(feeds)), strict=True))
