"""A graph on ONNX Runtime: the same numbers every time, and any value inside as an output."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import onnx_ir as ir

Runner = Callable[[np.ndarray], np.ndarray]  # (B, 3, H, W) float32 -> (B, ...) float32, one array of all outputs


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
    options.intra_op_num_threads = threads
    # a thread that spins while it waits takes the core from PyTorch, which runs in turns with it here
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if threads else "0")
    if not optimise:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])


def run_values(model: ir.Model, feeds: Mapping[str, np.ndarray], names: Sequence[str] | None) -> dict[str, np.ndarray]:
    """One run, one thread, without fusions: the named values, or only the outputs of the graph."""
    session = open_session(model, names or (), optimise=False, threads=1)
    wanted = [output.name for output in session.get_outputs() if "bfloat16" not in output.type]
    return dict(zip(wanted, session.run(wanted, dict(feeds)), strict=True))
