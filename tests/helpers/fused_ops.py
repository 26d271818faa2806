"""One fused op in every form it exists in, on the same numbers: reference, ONNX body, Triton kernel in the interpreter.

Triton decides at import whether it interprets, so kernels must not be compiled in a process that imports this file.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

os.environ["TRITON_INTERPRET"] = "1"

import numpy as np
import onnx
from gpu.case import LIMITS  # the check on a GPU has the same, and runs without what is imported here
from gpu.formats import relative_error
from gpu.shapes import output_shapes

from edgesmith.exporter.plugins.declaration import FusedOp, Variant
from edgesmith.exporter.plugins.functions import OPSET, function, node
from edgesmith.exporter.plugins.pack.compile import kernel_function
from edgesmith.runtime.plugins.expressions import parse
from edgesmith.runtime.plugins.schema import DOMAIN

ONNX_TYPES = {"float32": onnx.TensorProto.FLOAT, "float16": onnx.TensorProto.FLOAT16, "int32": onnx.TensorProto.INT32}


def reference(op: FusedOp, arrays: Sequence[np.ndarray], attributes: Mapping[str, Any]) -> list[np.ndarray]:
    result = op.reference(*arrays, **attributes)
    return list(result) if isinstance(result, tuple) else [result]


def type_of(op: FusedOp, arrays: Sequence[np.ndarray]) -> str:
    """T of these inputs; float32 for an op without one."""
    own = (str(a.dtype) for a, tensor in zip(arrays, op.schema.inputs, strict=True) if tensor.type == "T")
    return next(own, "float32")


def model_of(
    op: FusedOp, arrays: Sequence[np.ndarray], attributes: Mapping[str, Any], *, open_axes: bool = False
) -> onnx.ModelProto:
    """A model of one node and its function; with ``open_axes`` the first axis and every token axis have no size."""
    schema = op.schema
    names = schema.bind([array.shape for array in arrays], attributes)
    t = type_of(op, arrays)
    inputs = [
        onnx.helper.make_tensor_value_info(
            tensor.name,
            ONNX_TYPES[tensor.type_for(t)],
            [symbol if open_axes and symbol in ("B", "N", "M") else size
             for symbol, size in zip(tensor.shape, array.shape, strict=True)],
        )
        for tensor, array in zip(schema.inputs, arrays, strict=True)
    ]  # fmt: skip
    outputs = [
        onnx.helper.make_tensor_value_info(
            tensor.name, ONNX_TYPES[tensor.type_for(t)], [None] * len(shape) if open_axes else list(shape)
        )
        for tensor, shape in zip(schema.outputs, output_shapes(schema, names), strict=True)
    ]
    made = node(op, [tensor.name for tensor in schema.inputs], [tensor.name for tensor in schema.outputs], attributes)
    graph = onnx.helper.make_graph([made], op.name, inputs, outputs)
    opsets = [onnx.helper.make_opsetid("", OPSET), onnx.helper.make_opsetid(DOMAIN, 1)]
    model = onnx.helper.make_model(
        graph, opset_imports=opsets, ir_version=10, functions=[function(op, given=attributes)]
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def on_onnxruntime(
    op: FusedOp, arrays: Sequence[np.ndarray], attributes: Mapping[str, Any], *, open_axes: bool = False
) -> list[np.ndarray]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model_of(op, arrays, attributes, open_axes=open_axes).SerializeToString(),
        options,
        providers=["CPUExecutionProvider"],
    )
    feeds = {tensor.name: array for tensor, array in zip(op.schema.inputs, arrays, strict=True)}
    return list(session.run(None, feeds))


def open_body(op: FusedOp, arrays: Sequence[np.ndarray], attributes: Mapping[str, Any]) -> list[np.ndarray]:
    """The body on ONNX Runtime, batch and tokens without a size."""
    return on_onnxruntime(op, arrays, attributes, open_axes=True)


def assert_same_everywhere(
    op: FusedOp, arrays: Sequence[np.ndarray], attributes: Mapping[str, Any], limit: float | None = None
) -> None:
    """The body, its axes fixed and open, and the kernel give what the reference gives, in its types.

    ``limit`` replaces that of the inputs' type.
    """
    wanted, limit = reference(op, arrays, attributes), limit or LIMITS[type_of(op, arrays)]
    for run in (on_onnxruntime, open_body, in_interpreter):
        for got, expected in zip(run(op, arrays, attributes), wanted, strict=True):
            assert got.dtype == expected.dtype, run.__name__
            assert relative_error(got, expected) <= limit, run.__name__


def in_interpreter(
    op: FusedOp, arrays: Sequence[np.ndarray], attributes: Mapping[str, Any], variant: Variant | None = None
) -> list[np.ndarray]:
    """Run the kernel as TensorRT would: arguments and grid from the declaration; outputs start as garbage."""
    import torch

    kernel = op.kernel
    assert kernel is not None
    names = op.schema.bind([array.shape for array in arrays], attributes)
    t = type_of(op, arrays)
    if variant is None:
        variant = op.variants_for(t, names)[0]
    feeds = [torch.from_numpy(np.ascontiguousarray(array)) for array in arrays]
    outputs = []
    for tensor, shape in zip(op.schema.outputs, output_shapes(op.schema, names), strict=True):
        kind = np.dtype(tensor.type_for(t))
        garbage = np.full(shape, np.nan if kind.kind == "f" else -7, kind)
        outputs.append(torch.from_numpy(garbage))
    scalars = [parse(text).value(names) for text in kernel.scalars.values()]
    grid = tuple(parse(text).value(names) for text in kernel.grid_for(variant))
    with np.errstate(all="ignore"):  # a GPU warns of nothing either; what is not finite in the outputs is found there
        kernel_function(kernel)[grid](*feeds, *scalars, *outputs, **variant.constants)
    return [output.numpy() for output in outputs]
