"""One small change of a graph, as a fine-tune, another exporter or another author would have made it; most stay valid."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import onnx
from foreign import in_a_branch, in_a_loop, may_be_replaced
from onnx import helper, numpy_helper

Change = Callable[[onnx.GraphProto, random.Random], bool]


def mutant(model: onnx.ModelProto, rng: random.Random) -> tuple[onnx.ModelProto, str] | None:
    """A changed copy whose shapes are inferred anew, and the name of the change; None where it found no place."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    change = rng.choice(CHANGES)
    if not change(changed.graph, rng):
        return None
    del changed.graph.value_info[:]
    for value in changed.graph.output:
        value.type.tensor_type.ClearField("shape")
    try:
        inferred = onnx.shape_inference.infer_shapes(changed, check_type=True, strict_mode=True, data_prop=True)
        onnx.checker.check_model(inferred)
    except (onnx.shape_inference.InferenceError, onnx.checker.ValidationError):
        return None
    return inferred, change.__name__


def _shapes(graph: onnx.GraphProto) -> dict[str, tuple]:
    values = {value.name: value for value in (*graph.input, *graph.value_info, *graph.output)}
    found = {}
    for name, value in values.items():
        kind = value.type.tensor_type
        if kind.HasField("shape"):
            found[name] = (kind.elem_type, *(axis.dim_value or axis.dim_param for axis in kind.shape.dim))
    return found | {one.name: (one.data_type, *one.dims) for one in graph.initializer}


def swap_axes(graph: onnx.GraphProto, rng: random.Random) -> bool:
    nodes = [node for node in graph.node if node.op_type == "Transpose" and node.attribute]
    if not nodes:
        return False
    perm = rng.choice(nodes).attribute[0].ints
    first, second = rng.sample(range(len(perm)), 2)
    perm[first], perm[second] = perm[second], perm[first]
    return True


def another_attribute(graph: onnx.GraphProto, rng: random.Random) -> bool:
    places = [(node, one) for node in graph.node for one in node.attribute
              if one.type in (onnx.AttributeProto.INT, onnx.AttributeProto.FLOAT, onnx.AttributeProto.INTS)
              and node.op_type != "Transpose"]  # fmt: skip
    if not places:
        return False
    _, one = rng.choice(places)
    if one.type == onnx.AttributeProto.INT:
        one.i += rng.choice((-2, -1, 1, 2))
    elif one.type == onnx.AttributeProto.FLOAT:
        one.f = rng.choice((one.f * 1.5, 0.0, -one.f, one.f + 0.1))
    elif one.ints:
        index = rng.randrange(len(one.ints))
        one.ints[index] = max(0, one.ints[index] + rng.choice((-1, 1, 1, 2)))
    return True


def other_numbers(graph: onnx.GraphProto, rng: random.Random) -> bool:
    if not graph.initializer:
        return False
    one = rng.choice(graph.initializer)
    array = numpy_helper.to_array(one).copy()
    if array.size == 0 or array.dtype not in (np.float32, np.int64):
        return False
    flat = array.reshape(-1)
    if array.dtype == np.int64:
        index = rng.randrange(flat.size)
        flat[index] = max(-(1 << 62), min(int(flat[index]), 1 << 62)) + rng.choice((-1, 1, 2))
        if flat.size > 1 and rng.random() < 0.5:
            flat[:] = rng.sample(numpy_helper.to_array(one).reshape(-1).tolist(), flat.size)
    else:
        act = rng.randrange(5)
        if act == 0:
            flat *= np.float32(rng.choice((0.0, -1.0, 1.5, 1e-3)))
        elif act == 1:
            flat[rng.randrange(flat.size)] += 1
        elif act == 2:
            np.random.default_rng(rng.randrange(1 << 30)).shuffle(flat)
        elif act == 3:
            flat[:] = flat[0]
        else:
            flat[: flat.size // 2] = 0
    one.CopyFrom(numpy_helper.from_array(array, one.name))
    return True


def other_view_of_a_constant(graph: onnx.GraphProto, rng: random.Random) -> bool:
    floats = [one for one in graph.initializer if one.data_type == onnx.TensorProto.FLOAT]
    if not floats:
        return False
    one = rng.choice(floats)
    array = numpy_helper.to_array(one)
    views = [array[None], array[..., None], array.reshape(-1), array.reshape(-1)[:1], array.reshape(-1)[0], array.T]
    if array.ndim == 2 and array.shape[0] == 1:
        views.append(array[0])
    one.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(rng.choice(views)), one.name))
    return True


def read_another_value(graph: onnx.GraphProto, rng: random.Random) -> bool:
    index = rng.randrange(len(graph.node))
    node, shapes = graph.node[index], _shapes(graph)
    places = [i for i, name in enumerate(node.input) if name in shapes]
    if not places:
        return False
    place = rng.choice(places)
    before = [value.name for value in graph.input] + [name for n in list(graph.node)[:index] for name in n.output]
    before += [one.name for one in graph.initializer]
    same = [name for name in before if shapes.get(name) == shapes[node.input[place]] and name != node.input[place]]
    if not same:
        return False
    node.input[place] = rng.choice(same)
    return True


def hand_out(graph: onnx.GraphProto, rng: random.Random) -> bool:
    outputs = {value.name for value in graph.output}
    names = [name for node in graph.node for name in node.output if name and name not in outputs]
    if not names:
        return False
    name = rng.choice(names)
    kind = _shapes(graph).get(name, (onnx.TensorProto.FLOAT,))[0]
    graph.output.append(helper.make_tensor_value_info(name, kind, None))
    return True


def swap_operands(graph: onnx.GraphProto, rng: random.Random) -> bool:
    nodes = [node for node in graph.node if len(node.input) >= 2 and node.op_type in
             ("Add", "Mul", "Sub", "Div", "MatMul", "Concat", "Pow", "Einsum")]  # fmt: skip
    if not nodes:
        return False
    node = rng.choice(nodes)
    node.input[0], node.input[1] = node.input[1], node.input[0]
    return True


def node_between(graph: onnx.GraphProto, rng: random.Random) -> bool:
    """A node on the way to one reader, or to all of them."""
    shapes = _shapes(graph)
    index = rng.randrange(len(graph.node))
    node = graph.node[index]
    places = [i for i, name in enumerate(node.input) if shapes.get(name, (0,))[0] == onnx.TensorProto.FLOAT]
    if not places:
        return False
    place = rng.choice(places)
    source, made = node.input[place], "between"
    op, more, choices = rng.choice(BETWEEN)
    graph.initializer.extend(numpy_helper.from_array(array, f"between_{i}") for i, array in enumerate(more))
    new = helper.make_node(op, [source, *(f"between_{i}" for i in range(len(more)))], [made], "between", **choices)
    graph.node.insert(index, new)
    rest = list(graph.node)[index + 1 :]
    for other in rest if rng.random() < 0.5 else rest[:1]:
        for slot, name in enumerate(other.input):
            if name == source and (other is not rest[0] or slot == place):
                other.input[slot] = made
    return True


BETWEEN: tuple = (
    ("Relu", (), {}),
    ("Neg", (), {}),
    ("Identity", (), {}),
    ("Mul", (np.float32(2.0),), {}),
    ("Div", (np.full(1, 0.5, np.float32),), {}),
    ("Add", (np.full(1, 0.3, np.float32),), {}),
    ("Softmax", (), {"axis": -1}),
    ("Softmax", (), {"axis": 1}),
    ("Unsqueeze", (np.array([0]),), {}),
    ("Transpose", (), {"perm": (0, 2, 1)}),
    ("Transpose", (), {"perm": (0, 1, 3, 2)}),
    ("Transpose", (), {"perm": (0, 2, 1, 3)}),
    ("Transpose", (), {"perm": (1, 0, 2)}),
    ("Slice", (np.array([0]), np.array([-1]), np.array([1])), {}),
    ("Slice", (np.array([1]), np.array([999]), np.array([2])), {}),
    ("Slice", (np.array([0]), np.array([1]), np.array([0])), {}),
)


def read_it_outside(graph: onnx.GraphProto, rng: random.Random) -> bool:
    """Another node reads a value inside, and the outside reads that node."""
    shapes = _shapes(graph)
    names = [name for node in graph.node for name in node.output if shapes.get(name, (0,))[0] == onnx.TensorProto.FLOAT]
    if not names:
        return False
    graph.node.append(helper.make_node("Tanh", [rng.choice(names)], ["outside"], "outside"))
    graph.output.append(helper.make_tensor_value_info("outside", onnx.TensorProto.FLOAT, None))
    return True


def leave_out(graph: onnx.GraphProto, rng: random.Random) -> bool:
    """A node whose result has the shape of its input goes."""
    shapes, outputs = _shapes(graph), {value.name for value in graph.output}
    nodes = [node for node in graph.node if node.input and node.output[0] not in outputs
             and shapes.get(node.input[0], 0) == shapes.get(node.output[0])]  # fmt: skip
    if not nodes:
        return False
    gone = rng.choice(nodes)
    for node in graph.node:
        for slot, name in enumerate(node.input):
            if name == gone.output[0]:
                node.input[slot] = gone.input[0]
    graph.node.remove(gone)
    return True


def one_reader_more(graph: onnx.GraphProto, rng: random.Random) -> bool:
    """The two inputs of a node become one value."""
    nodes = [node for node in graph.node if len(node.input) >= 2 and node.op_type in ("MatMul", "Add", "Mul", "Concat")]
    if not nodes:
        return False
    node = rng.choice(nodes)
    node.input[0] = node.input[1]
    return True


def one_picture(graph: onnx.GraphProto, rng: random.Random) -> bool:
    """An input has one picture, or one more, where the others keep theirs."""
    value = rng.choice(graph.input)
    axes = value.type.tensor_type.shape.dim
    if not axes:
        return False
    axis = axes[rng.randrange(len(axes))] if rng.random() < 0.3 else axes[0]
    axis.dim_value = rng.choice((1, 1, 2, 3, max(1, axis.dim_value + 1)))
    return True


def nothing(graph: onnx.GraphProto, rng: random.Random) -> bool:
    return rng.random() < 0.3


CHANGES: tuple[Change, ...] = (
    swap_axes, another_attribute, other_numbers, other_numbers, other_view_of_a_constant, read_another_value,
    read_another_value, hand_out, swap_operands, node_between, node_between, read_it_outside, leave_out, one_reader_more,
    one_picture, in_a_branch, in_a_loop, may_be_replaced, nothing,
)  # fmt: skip
