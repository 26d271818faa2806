"""Types and sizes of the values that fused ops read, as ONNX's shape inference finds them.

Inference walks through a graph in native code, so for a file that somebody else may have written the child of run/foreign/trial.py
does it: what ends that process leaves the types unknown, and this one alive.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from .....runtime.plugins.schema import DOMAIN

INFER = f"{__package__}.in_child:infer"

if TYPE_CHECKING:
    import onnx

Shapes = Mapping[
    str, tuple[int, list[int | str]]
]  # of values: TensorProto.DataType, and the sizes; a name or ? where open


def infer_shapes(model: onnx.ModelProto) -> Shapes:
    """{name: (type, sizes)} of what nodes of our domain read; values that inference says nothing about are left out."""
    import onnx

    read = {name for node in model.graph.node if node.domain == DOMAIN for name in node.input if name}
    if not read:
        return {}
    with suppress(onnx.shape_inference.InferenceError):  # what the file itself says of its values is left
        model = onnx.shape_inference.infer_shapes(model)
    graph = model.graph
    found: dict[str, tuple[int, list[int | str]]] = {
        tensor.name: (tensor.data_type, list(tensor.dims)) for tensor in graph.initializer if tensor.name in read
    }
    for value in (*graph.input, *graph.value_info, *graph.output):
        tensor = value.type.tensor_type
        sizes = [dim.dim_value if dim.HasField("dim_value") else dim.dim_param or "?" for dim in tensor.shape.dim]
        if value.name in read:
            found.setdefault(value.name, (tensor.elem_type, sizes))
    return found


def infer_foreign(path: Path) -> Shapes:
    """As ``infer_shapes``, of a file and in a process of its own; nothing is known where that one does not end well."""
    from ....run.foreign.read import look_through
    from ....run.foreign.trial import ask_about

    if not hasattr(os, "fork"):
        return infer_shapes(look_through(path)[0])
    return {name: (kind, sizes) for name, (kind, sizes) in ask_about(path, INFER).get("shapes", {}).items()}
