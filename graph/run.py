"""A graph on ONNX Runtime: the same numbers every time, and any value inside as an output."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import onnx_ir as ir

EXACT = "session.qdq_matmulnbits_accuracy_level"  # 1: float32
AS_THEY_LIE = "session.disable_prepacking"
TAKES_FOLDER = (1, 22)  # releases that can be told where the weights of a graph given as bytes lie
Runner = Callable[[np.ndarray], np.ndarray]  # (B, 3, H, W) float32 -> (B, ...) float32, one array of all outputs


def open_session(
    model: ir.Model | bytes,
    outputs: Sequence[str] = (),
    *,
    optimise: bool = True,
    threads: int = 0,
    exact: bool = True,
) -> Any:
    """An InferenceSession on the CPU; ``outputs`` names further values of the graph to hand out.

    ``optimise=False`` keeps ONNX Runtime from changing even one node: Q and DQ then round as they are written, which is
    what a TensorRT engine computes; optimised, they become integer kernels, which is what the CPU target runs.

    ``exact``: layers with nothing but their weight in few bits multiply in float32, as the graph says. By default ONNX
    Runtime rounds their activations to 8 bits, which is faster, and which a file must not be blamed for.
    """
    import onnx
    import onnx_ir
    import onnxruntime

    from .beside import is_beside, settle
    from .floats import as_float, holds_fp4

    options, folder = onnxruntime.SessionOptions(), ""
    if not isinstance(model, bytes):
        if holds_fp4(model):
            model = as_float(model)  # the same numbers in types that ONNX Runtime knows
        settle(model)
        if is_beside(model):  # else ONNX Runtime lays the weights out anew, in memory, beside those it maps
            options.add_session_config_entry(AS_THEY_LIE, "1")
        folder = weights_folder(model)
    proto = onnx.load_from_string(model) if isinstance(model, bytes) else onnx_ir.to_proto(model)
    if folder and tuple(map(int, onnxruntime.__version__.split(".")[:2])) < TAKES_FOLDER:
        onnx.load_external_data_for_model(proto, folder)
    elif folder:
        # from bytes it would look for them in the working directory, and take whatever file has that name
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", folder)
    have = {output.name for output in proto.graph.output}
    known = {name for node in proto.graph.node for name in node.output}
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in outputs if name in known - have)
    options.log_severity_level = 3
    if exact:
        options.add_session_config_entry(EXACT, "1")
    options.intra_op_num_threads = threads
    # a thread that spins while it waits takes the core from PyTorch, which runs in turns with it here
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if threads else "0")
    if not optimise:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])


def run_values(model: ir.Model, feeds: Mapping[str, np.ndarray], names: Sequence[str] | None) -> dict[str, np.ndarray]:
    """One run, one thread, without fusions: the named values, or only the outputs of the graph.

    Lists of tensors are left out, and bfloat16, which numpy does not have.
    """
    session = open_session(model, names or (), optimise=False, threads=1)
    outputs = session.get_outputs()
    wanted = [one.name for one in outputs if one.type.startswith("tensor(") and "bfloat16" not in one.type]
    return dict(zip(wanted, session.run(wanted, dict(feeds)), strict=True))


def weights_folder(model: ir.Model) -> str:
    """The folder of the files that hold weights of ``model``; "" where all of them are in the graph itself."""
    import onnx_ir as ir

    tensors = [value.const_value for value in model.graph.initializers.values()]
    for node in model.graph.all_nodes():
        tensors += [one.as_tensor() for one in node.attributes.values() if one.type == ir.AttributeType.TENSOR]
    folders = {str(one.base_dir) for one in tensors if isinstance(one, ir.ExternalTensor)}
    assert len(folders) < 2, "a graph is read from one file"
    return os.path.abspath(folders.pop()) if folders else ""
