"""Initializers of the same type, shape and bytes become one, and no others."""

import ml_dtypes
import numpy as np
import onnx_ir as ir
import pytest

from edgesmith.exporter.patterns.cleanup.equal_constants import merge_equal_constants

ROW = np.arange(64, dtype=np.float32)


def left_of(*arrays: np.ndarray, output: int | None = None) -> int:
    """How many of these initializers are left; each is read by a node of its own."""
    values, nodes = [], []
    for place, array in enumerate(arrays):
        tensor = ir.tensor(array, name=f"w{place}")
        value = ir.Value(
            name=f"w{place}", shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype), const_value=tensor
        )
        values.append(value)
        nodes.append(ir.node("Neg", [value], outputs=[ir.Value(name=f"y{place}")]))
    outputs = [node.outputs[0] for node in nodes] + ([values[output]] if output is not None else [])
    graph = ir.Graph([], outputs, nodes=nodes, initializers=values, opset_imports={"": 20}, name="g")
    merge_equal_constants(ir.Model(graph, ir_version=10))
    for node, array in zip(nodes, arrays, strict=True):
        read = node.inputs[0].const_value.numpy()
        assert read.dtype == array.dtype and read.tobytes() == array.tobytes()
        assert node.inputs[0].name in graph.initializers
    return len(graph.initializers)


def middle(at: int) -> np.ndarray:
    changed = ROW.copy()
    changed[at] += 1
    return changed


@pytest.mark.parametrize(
    "arrays",
    [
        (ROW, ROW.copy()),
        (np.float32(3), np.float32(3)),
        (np.full(9, np.nan, np.float32), np.full(9, np.nan, np.float32)),
        (np.zeros((0, 3), np.int64), np.zeros((0, 3), np.int64)),
        (np.array([1, -2, 3, 4], ml_dtypes.int4), np.array([1, -2, 3, 4], ml_dtypes.int4)),
        (ROW.reshape(8, 8).T, ROW.reshape(8, 8).T.copy()),
    ],
    ids=["rows", "scalars", "nan", "empty", "int4", "strided"],
)
def test_what_is_equal_becomes_one(arrays):
    assert left_of(*map(np.asarray, arrays)) == 1


@pytest.mark.parametrize(
    "arrays",
    [
        (ROW, middle(32)),
        (ROW, middle(0)),
        (ROW, middle(63)),
        (ROW, ROW.reshape(8, 8)),
        (np.zeros(4, np.float32), -np.zeros(4, np.float32)),
        (np.zeros(4, np.float32), np.zeros(4, np.int32)),
        (np.zeros((0, 3), np.int64), np.zeros((3, 0), np.int64)),
    ],
    ids=["middle", "first", "last", "shape", "sign", "type", "empty"],
)
def test_what_differs_stays(arrays):
    assert left_of(*arrays) == 2


def test_an_output_keeps_its_own():
    assert left_of(ROW, ROW.copy(), output=1) == 2
