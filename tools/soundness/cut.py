"""A piece of a graph around one node, small enough to run in milliseconds: the values at its edge become inputs and outputs."""

from __future__ import annotations

import random
from collections.abc import Callable

import onnx
from onnx import TensorProto, helper, shape_inference

LARGEST = 1 << 17  # elements of an input
ANCHORS = {"Softmax": 8.0, "MatMul": 3.0, "Conv": 3.0, "ReduceMean": 4.0, "Concat": 3.0, "LayerNormalization": 2.0,
           "Split": 3.0, "Reshape": 1.0, "Transpose": 1.0, "Add": 1.0, "Mul": 1.0, "Resize": 4.0, "Pow": 4.0,
           "MaxPool": 4.0, "Gather": 4.0, "Slice": 2.0, "Einsum": 6.0}  # fmt: skip


def with_shapes(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph with all shapes that can be told, those of the tracer included."""
    return shape_inference.infer_shapes(model, data_prop=True)


def piece(model: onnx.ModelProto, rng: random.Random, behind: int = 24, ahead: int = 14) -> onnx.ModelProto | None:
    """Up to ``behind`` nodes before a node and ``ahead`` after it; None where the edge has values of unknown shape."""
    graph = model.graph
    nodes = list(graph.node)
    makers = {name: index for index, node in enumerate(nodes) for name in node.output if name}
    readers: dict[str, list[int]] = {}
    for index, node in enumerate(nodes):
        for name in node.input:
            readers.setdefault(name, []).append(index)
    (anchor,) = rng.choices(range(len(nodes)), [ANCHORS.get(node.op_type, 0.2) for node in nodes])
    inside = _near(anchor, lambda i: [makers[n] for n in nodes[i].input if n in makers], behind)
    inside |= _near(anchor, lambda i: [r for n in nodes[i].output for r in readers.get(n, [])], ahead)
    types = {value.name: value.type.tensor_type for value in (*graph.input, *graph.value_info, *graph.output)}
    weights = {one.name: one for one in graph.initializer}
    while True:  # whole numbers are targets and indices: what makes them comes along
        edge = {n for i in inside for n in nodes[i].input if n and n not in weights and makers.get(n) not in inside}
        more = {makers[n] for n in edge if n in makers and types.get(n) is not None and types[n].elem_type != 1}
        if not more:
            break
        inside |= more
    kept = [nodes[i] for i in sorted(inside)]
    inputs = [types.get(name) for name in sorted(edge)]
    if not edge or any(kind is None or not _small(kind) for kind in inputs):
        return None
    finals = {value.name for value in graph.output}
    outs = [n for i in sorted(inside) for n in nodes[i].output
            if n and (n in finals or not readers.get(n) or any(r not in inside for r in readers[n]))]  # fmt: skip
    if any(name not in types for name in outs):
        return None
    used = {name for node in kept for name in node.input}
    made = {name for node in kept for name in node.output}
    body = helper.make_graph(
        kept, "piece",
        [onnx.ValueInfoProto(name=name, type=onnx.TypeProto(tensor_type=types[name])) for name in sorted(edge)],
        [onnx.ValueInfoProto(name=name, type=onnx.TypeProto(tensor_type=types[name])) for name in outs],
        [one for name, one in weights.items() if name in used],
        value_info=[value for value in graph.value_info if value.name in made and value.name not in outs],
    )  # fmt: skip
    return helper.make_model(body, opset_imports=model.opset_import, ir_version=model.ir_version)


def _near(start: int, step: Callable[[int], list[int]], most: int) -> set[int]:
    found, queue = {start}, [start]
    while queue and len(found) < most:
        for index in step(queue.pop(0)):
            if index not in found and len(found) < most:
                found.add(index)
                queue.append(index)
    return found


def _small(kind: onnx.TypeProto.Tensor) -> bool:
    if kind.elem_type != TensorProto.FLOAT or not kind.HasField("shape"):
        return False
    count = 1
    for axis in kind.shape.dim:
        count *= axis.dim_value if axis.HasField("dim_value") else 2
    return 0 < count <= LARGEST and sum(not axis.HasField("dim_value") for axis in kind.shape.dim) <= 1
