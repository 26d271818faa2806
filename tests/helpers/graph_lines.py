"""A graph as text, one line a node, so that two builds can be compared node for node and the first difference named.

    Conv pads=[3, 3, 3, 3] group=1 | images, FLOAT[64, 3, 7, 7] 9.0312 -0.4127, FLOAT[64] 1.7101 0.2250 | 1

Operator, attributes, inputs, number of outputs. Names of nodes and values are left out: a value is told by the place of
the node that makes it (``n12`` or ``n12.1``). An initialiser is told by type and shape, and up to four entries as they
are, of more two numbers that a changed, moved or exchanged weight changes: norm and a weighted sum.

Why no hash of the bytes: folded weights are sums, and which instructions a CPU has decides how the last bit is rounded.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

FEW = 4
CLOSE = 1e-3  # of a norm; rounding is under 1e-6, a quantised weight on the edge between two codes costs 1e-4
NUMBER = re.compile(r"-?\d+\.\d+(?:e[-+]\d+)?|-?\d+e[-+]\d+")


def graph_lines(path: Path) -> list[str]:
    """The graph of a file, its opsets first, then inputs, nodes and outputs."""
    model = onnx.load(path)
    opsets = sorted(f"{one.domain or 'ai.onnx'} {one.version}" for one in model.opset_import)
    functions = [f"function {one.domain}.{one.name} of {len(one.node)} nodes" for one in model.functions]
    return [f"ir {model.ir_version}, {', '.join(opsets)}", *functions, *_of_graph(model.graph)]


def _of_graph(graph: onnx.GraphProto) -> list[str]:
    places = {one.name: _tensor(numpy_helper.to_array(one), one.data_type) for one in graph.initializer}
    lines = [f"input {_value(one)}" for one in graph.input]
    for index, node in enumerate(graph.node):
        attributes = [f"{one.name}={_attribute(one)}" for one in sorted(node.attribute, key=lambda one: one.name)]
        operator = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
        inputs = ", ".join(places.get(name, name) for name in node.input)
        lines.append(" ".join([operator, *attributes, "|", inputs, "|", str(len(node.output))]))
        places |= {name: f"n{index}.{slot}" if slot else f"n{index}" for slot, name in enumerate(node.output) if name}
    return lines + [f"output {_value(one)} = {places[one.name]}" for one in graph.output]


def _value(value: onnx.ValueInfoProto) -> str:
    kind = value.type.tensor_type
    sizes = [axis.dim_param or axis.dim_value for axis in kind.shape.dim]
    return f"{value.name} {onnx.TensorProto.DataType.Name(kind.elem_type)}{sizes}"


def _attribute(attribute: onnx.AttributeProto) -> str:
    if attribute.type == onnx.AttributeProto.TENSOR:
        return _tensor(numpy_helper.to_array(attribute.t), attribute.t.data_type)
    if attribute.type == onnx.AttributeProto.GRAPH:
        return "{" + "; ".join(_of_graph(attribute.g)) + "}"
    value = onnx.helper.get_attribute_value(attribute)
    if isinstance(value, bytes):
        return value.decode()
    return f"{value:.6e}" if isinstance(value, float) else str(value).replace("'", "")


def _tensor(array: np.ndarray, kind: int) -> str:
    head = f"{onnx.TensorProto.DataType.Name(kind)}{list(array.shape)}"
    flat = array.astype(np.float64).ravel()
    if len(flat) <= FEW:
        exact = np.issubdtype(array.dtype, np.integer) or array.dtype == bool
        return " ".join([head, *(str(int(one)) if exact else f"{one:.6e}" for one in flat)])
    return f"{head} {np.linalg.norm(flat):.6e} {flat @ np.cos(np.arange(len(flat))):.6e}"


def first_difference(old: list[str], new: list[str]) -> str:
    """The first line that is another, in both graphs; empty where they are the same up to rounding."""
    for index, (before, after) in enumerate(zip(old, new, strict=False)):
        if before != after and not _same_but_rounded(before, after):
            return f"line {index}:\n  was  {before}\n  is   {after}"
    if len(old) != len(new):
        longer = max(old, new, key=len)
        return f"{len(old)} lines became {len(new)}, the first only one has: {longer[min(len(old), len(new))]}"
    return ""


def _same_but_rounded(before: str, after: str) -> bool:
    if NUMBER.sub("#", before) != NUMBER.sub("#", after):
        return False
    pairs = [(float(a), float(b)) for a, b in zip(NUMBER.findall(before), NUMBER.findall(after), strict=True)]
    # a weighted sum may be near zero: it is held to the norm, which stands in front of it
    largest = [max(abs(a), abs(pairs[place - 1][0]) if place else 0.0) for place, (a, _) in enumerate(pairs)]
    return all(abs(a - b) <= CLOSE * size for (a, b), size in zip(pairs, largest, strict=True))
