"""Initializers that hold the same become one.

onnx_ir's own pass hashes every byte of every weight, which was most of the rewrite stage; two tensors are compared here only
where type, shape and both ends are the same.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

LARGEST_BYTES = 1 << 30
END_BYTES = 32


def merge_equal_constants(model: ir.Model) -> None:
    """In every graph of the model; inputs and outputs of a graph keep their own."""
    for graph in model.graphs():
        kept: dict[tuple[object, ...], list[ir.Value]] = {}
        for value in list(graph.initializers.values()):
            tensor = value.const_value
            if tensor is None or tensor.dtype == ir.DataType.STRING or tensor.nbytes > LARGEST_BYTES:
                continue
            if value.is_graph_input() or value.is_graph_output():
                continue
            content = _bytes(value)
            key = (tensor.dtype, tuple(tensor.shape), content[:END_BYTES].tobytes(), content[-END_BYTES:].tobytes())
            alike = kept.setdefault(key, [])
            same = next((other for other in alike if np.array_equal(_bytes(other), content)), None)
            if same is None:
                alike.append(value)
                continue
            value.replace_all_uses_with(same)
            del graph.initializers[str(value.name)]


def _bytes(value: ir.Value) -> np.ndarray:
    """The content as bytes, so that NaN is equal to itself and 0 is not -0."""
    if value.const_value is None:
        raise AssertionError("only initializers with a content are compared")
    return np.ascontiguousarray(value.const_value.numpy()).reshape(-1).view(np.uint8)
