"""Changes that our exporter does not make and other tools do: subgraphs that read from outside, weights that a caller may replace."""

from __future__ import annotations

import random

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def in_a_branch(graph: onnx.GraphProto, rng: random.Random) -> bool:
    """Both branches of an If read a value from outside, and the numbers say which of them runs."""
    if (name := _value(graph, rng)) is None:
        return False
    branches = {
        f"{which}_branch": helper.make_graph([helper.make_node(op, [name], [f"{which}_made"])], which, [],
                                             [helper.make_tensor_value_info(f"{which}_made", TensorProto.FLOAT, None)])
        for which, op in (("then", "Tanh"), ("else", "Neg"))
    }  # fmt: skip
    graph.initializer.append(numpy_helper.from_array(np.float32(0.5), "branch_from"))
    graph.node.extend(
        [
            helper.make_node("ReduceMax", [name], ["branch_most"], keepdims=0),
            helper.make_node("Greater", ["branch_most", "branch_from"], ["branch_is"]),
            helper.make_node("If", ["branch_is"], ["branch_made"], **branches),
        ]
    )
    graph.output.append(helper.make_tensor_value_info("branch_made", TensorProto.FLOAT, None))
    return True


def in_a_loop(graph: onnx.GraphProto, rng: random.Random) -> bool:
    """A Loop begins with a value, and adds it twice more."""
    if (name := _value(graph, rng)) is None:
        return False
    body = helper.make_graph(
        [helper.make_node("Add", ["loop_state", name], ["loop_next"]), helper.make_node("Identity", ["loop_on"], ["loop_goes"])],
        "body",
        [
            helper.make_tensor_value_info("loop_step", TensorProto.INT64, ()),
            helper.make_tensor_value_info("loop_on", TensorProto.BOOL, ()),
            helper.make_tensor_value_info("loop_state", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("loop_goes", TensorProto.BOOL, ()),
            helper.make_tensor_value_info("loop_next", TensorProto.FLOAT, None),
        ],
    )  # fmt: skip
    graph.initializer.append(numpy_helper.from_array(np.int64(2), "loop_times"))
    graph.initializer.append(
        numpy_helper.from_array(np.array([-1]), "loop_flat")
    )  # its shape is not inferred otherwise
    graph.node.append(helper.make_node("Loop", ["loop_times", "", name], ["loop_sum"], body=body))
    graph.node.append(helper.make_node("Reshape", ["loop_sum", "loop_flat"], ["loop_made"]))
    graph.output.append(helper.make_tensor_value_info("loop_made", TensorProto.FLOAT, None))
    return True


def may_be_replaced(graph: onnx.GraphProto, rng: random.Random) -> bool:
    """A weight is an input too, so that its numbers are only a default."""
    inputs = {value.name for value in graph.input}
    some = [one for one in graph.initializer if one.data_type == TensorProto.FLOAT and one.name not in inputs]
    if not some:
        return False
    one = rng.choice(some)
    graph.input.append(helper.make_tensor_value_info(one.name, TensorProto.FLOAT, list(one.dims)))
    return True


def _value(graph: onnx.GraphProto, rng: random.Random) -> str | None:
    """A float value that a node makes."""
    types = {value.name: value.type.tensor_type.elem_type for value in (*graph.value_info, *graph.output)}
    names = [name for node in graph.node for name in node.output if types.get(name) == TensorProto.FLOAT]
    return rng.choice(names) if names else None
