"""A bundle that takes and gives an array of every type that ONNX Runtime's Identity knows: what goes in comes out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

TYPES = {
    "bool": 9, "uint8": 2, "uint16": 4, "uint32": 12, "uint64": 13, "int8": 3, "int16": 5, "int32": 6, "int64": 7,
    "float16": 10, "float32": 1, "float64": 11,
}  # fmt: skip
SHAPE = (2, 3)


def extremes(dtype: str) -> np.ndarray:
    """(2, 3): zero, one, and the ends of the type."""
    kind = np.dtype(dtype)
    if kind == np.bool_:
        return np.array([[True, False, True], [False, False, True]])
    limits: Any = np.finfo(kind) if kind.kind == "f" else np.iinfo(kind)
    return np.array([[0, 1, limits.max], [limits.min, 2, limits.max]], kind)


def write_typed_bundle(out: Path) -> Path:
    """Write it to ``out``: one input and one output a type, named by it."""
    from onnx import helper

    from edgesmith.runtime.bundle.bundle import write_bundle
    from edgesmith.runtime.bundle.golden import golden_bytes

    nodes = [helper.make_node("Identity", [f"in_{name}"], [f"out_{name}"]) for name in TYPES]
    inputs = [helper.make_tensor_value_info(f"in_{name}", number, SHAPE) for name, number in TYPES.items()]
    outputs = [helper.make_tensor_value_info(f"out_{name}", number, SHAPE) for name, number in TYPES.items()]
    graph = helper.make_graph(nodes, "typed", inputs, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    arrays = {name: np.zeros((1, *SHAPE), name) for name in TYPES}
    manifest = {
        "name": "typed", "task": "tensors", "target": "cpu", "precision": "fp32",
        "inputs": [{"name": f"in_{name}", "dtype": name, "shape": list(SHAPE)} for name in TYPES],
        "outputs": [{"name": f"out_{name}", "dtype": name, "shape": list(SHAPE)} for name in TYPES],
    }  # fmt: skip
    golden = golden_bytes(
        {f"in_{name}": array for name, array in arrays.items()},
        {f"out_{name}": array for name, array in arrays.items()},
    )
    return write_bundle(out, {"model.onnx": model.SerializeToString(), "golden.npz": golden}, manifest).path
