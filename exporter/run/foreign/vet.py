"""What is wrong with the graph of a foreign file, in words, before any of our code or an engine walks through it.

Values are made once and are all there, nodes form no circle, attributes are of the kind that the operator has, weights are
as many bytes as their shape says, and sizes are such as tensors have. Operators of domains that we do not know are left to
the engine: it says itself what it cannot run.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ....graph.read import ONNX, called
from .operators import wrong_operator

if TYPE_CHECKING:
    import onnx

COMPLEX = (14, 15)  # two numbers each
MOST = 2**31 - 1  # of one axis; engines count in 32 bits


def wrong(model: onnx.ModelProto) -> str:
    """The first thing that is wrong, empty for a sound graph. External weights are not opened."""
    return next(_wrongs(model), "")


def _wrongs(model: onnx.ModelProto) -> Iterator[str]:
    opsets = _versions(model.opset_import)
    if not model.graph.node or not model.graph.output:
        yield "it has no nodes or no outputs"
    if not opsets or any(not 0 < version < MOST for version in opsets.values()):
        yield "it does not say which opset it is written in"
    yield from _graph(model.graph, opsets, frozenset())
    for function in model.functions:
        own = {**opsets, **_versions(function.opset_import)}
        yield from _nodes(function.node, list(function.input), list(function.output), own, frozenset(), True)


def _versions(imports: Iterable[onnx.OperatorSetIdProto]) -> dict[str, int]:
    return {one.domain if one.domain != ONNX else "": one.version for one in imports}


def _graph(graph: onnx.GraphProto, opsets: Mapping[str, int], outer: Collection[str]) -> Iterator[str]:
    weights = [tensor.name for tensor in graph.initializer]
    weights += [tensor.values.name for tensor in graph.sparse_initializer]
    inputs = [value.name for value in graph.input]
    for names, what in ((weights, "weights"), (inputs, "inputs"), ([one.name for one in graph.output], "outputs")):
        if twice := _twice(names):
            yield f"two {what} are called {twice!r}"
        if "" in names:
            yield f"one of the {what} has no name"
    for tensor in graph.initializer:
        yield from _tensor(tensor)
    for value in (*graph.input, *graph.output, *graph.value_info):
        yield from _declared(value)
    known = list(dict.fromkeys([*inputs, *weights]))
    yield from _nodes(graph.node, known, [one.name for one in graph.output], opsets, outer, False)


def _nodes(
    nodes: Sequence[onnx.NodeProto],
    given: Sequence[str],
    outputs: Sequence[str],
    opsets: Mapping[str, int],
    outer: Collection[str],
    in_function: bool,
) -> Iterator[str]:
    """Values made once, read after something makes them, no circle; then each node with the graphs inside it."""
    made = [name for node in nodes for name in node.output if name]
    if twice := _twice([*given, *made]):
        yield f"two values are called {twice!r}"
    known = {*given, *outer}
    every = known | set(made)
    for node in nodes:
        if not node.op_type:
            yield f"node {node.name!r} has no operator"
        if missing := next((name for name in node.input if name and name not in every), None):
            yield f"{_title(node)} reads {missing!r}, which nothing makes"
    if lost := next((name for name in outputs if name not in every), None):
        yield f"its output {lost!r} is made by nothing"
    if stuck := circle(nodes, known):
        yield f"{_title(stuck)} waits for itself: its nodes form a circle"
    for node in nodes:
        if (node.domain if node.domain != ONNX else "") not in opsets:
            yield f"{_title(node)}: the file does not say which version of the domain {node.domain!r} it means"
        if why := wrong_operator(node, opsets, in_function):
            yield f"{_title(node)}: {why}"
        for attribute in node.attribute:
            for tensor in (*([attribute.t] if attribute.HasField("t") else []), *attribute.tensors):
                yield from _tensor(tensor, f"{_title(node)}: {attribute.name}")
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from _graph(inner, opsets, every)


def circle(nodes: Sequence[onnx.NodeProto], known: Collection[str]) -> onnx.NodeProto | None:
    """A node that cannot run before itself; nodes may stand in any order."""
    makers = {name: number for number, node in enumerate(nodes) for name in node.output if name}
    waits = {
        number: {makers[name] for name in node.input if name in makers and name not in known}
        for number, node in enumerate(nodes)
    }
    readers: dict[int, list[int]] = {}
    for number, sources in waits.items():
        for source in sources:
            readers.setdefault(source, []).append(number)
    ready = [number for number, sources in waits.items() if not sources]
    while ready:
        number = ready.pop()
        del waits[number]
        for reader in readers.get(number, ()):
            waits[reader].discard(number)
            if not waits[reader]:
                ready.append(reader)
    return nodes[next(iter(waits))] if waits else None


def _tensor(tensor: onnx.TensorProto, what: str = "") -> Iterator[str]:
    """A weight whose shape, type and bytes agree."""
    title = what or f"weight {tensor.name!r}"
    bits = bits_of(tensor.data_type)
    if bits is None:
        yield f"{title} is of type {tensor.data_type}, which ONNX does not have"
        return
    if any(size < 0 for size in tensor.dims) or math.prod(tensor.dims) > 2**48:
        yield f"{title} has the shape {list(tensor.dims)}"
        return
    count = math.prod(tensor.dims)
    if tensor.data_type == tensor.STRING and len(tensor.string_data) != count:
        yield f"{title} of shape {list(tensor.dims)} has {len(tensor.string_data):,} texts, not {count:,}"
    if tensor.data_type == tensor.STRING:
        return
    wanted = math.ceil(count * bits / 8)
    if tensor.data_location == tensor.EXTERNAL:
        length = next((one.value for one in tensor.external_data if one.key == "length"), str(wanted))
        if length != str(wanted):
            yield f"{title} of shape {list(tensor.dims)} is said to lie in {length} bytes, not {wanted:,}"
        return
    if tensor.HasField("raw_data"):
        if len(tensor.raw_data) != wanted:
            yield f"{title} of shape {list(tensor.dims)} has {len(tensor.raw_data):,} bytes, not {wanted:,}"
        return
    fields = (tensor.float_data, tensor.int32_data, tensor.int64_data, tensor.double_data, tensor.uint64_data)
    held, per = sum(map(len, fields)), 2 if tensor.data_type in COMPLEX else 1
    if held not in {count * per, math.ceil(count * bits / 8), math.ceil(count * bits / 32)}:
        yield f"{title} of shape {list(tensor.dims)} has {held:,} numbers, not {count:,}"


def bits_of(data_type: int) -> int | None:
    """Of one number; None for a type that does not exist, 0 for texts."""
    import onnx_ir as ir

    if data_type == 8:  # texts
        return 0
    try:
        return int(ir.DataType(data_type).bitwidth)
    except (ValueError, TypeError):
        return None


def _declared(value: Any) -> Iterator[str]:
    """Sizes that a tensor can have."""
    if value.type.WhichOneof("value") != "tensor_type":
        return
    tensor = value.type.tensor_type
    if tensor.elem_type and bits_of(tensor.elem_type) is None:
        yield f"{value.name!r} is of type {tensor.elem_type}, which ONNX does not have"
    sizes = [dim.dim_value for dim in tensor.shape.dim if dim.HasField("dim_value")]
    if any(not 0 <= size <= MOST for size in sizes) or math.prod(sizes) > 2**40:
        yield f"{value.name!r} is said to have the sizes {sizes}"


def _twice(names: Sequence[str]) -> str:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return ""


def _title(node: onnx.NodeProto) -> str:
    return f"{called(node)} {node.name or next(iter(node.output), '')!r}"
