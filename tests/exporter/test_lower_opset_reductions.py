"""Reductions, norms and branches in an older opset: the numbers stay, or the node is named."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from near_misses import graph, outputs, read

from edgesmith.exporter.engine.lower_opset import lower_opset
from edgesmith.runtime.errors import UserMistake

REDUCTIONS = [
    "ReduceMean",
    "ReduceMax",
    "ReduceMin",
    "ReduceProd",
    "ReduceL1",
    "ReduceL2",
    "ReduceSumSquare",
    "ReduceSum",
]
LOGS = ["ReduceLogSum", "ReduceLogSumExp"]


def lowered(text: str, opset: int = 17) -> ir.Model:
    """The model in the older opset, with the outputs that it had."""
    model = read(text.replace("ir_version: 10", "ir_version: 8"))
    before = outputs(model, 2)
    lower_opset(model, opset)
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    assert proto.opset_import[0].version == opset
    for name, new in outputs(model, 2).items():
        np.testing.assert_allclose(new, before[name], rtol=1e-5, atol=1e-5)
    return model


@pytest.mark.parametrize("op", REDUCTIONS + LOGS)
@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize(
    "inputs", ["(p)", "(p, axes)", "(p, none)", "(p, both)", "NOOP(p)", "NOOP(p, )", "NOOP(p, none)", "NOOP(p, axes)"]
)
def test_axes_however_they_are_told(op, keepdims, inputs):
    """No axes are all of them, or none where ``noop_with_empty_axes`` says so: then only the element's own step is left."""
    noop, told = ", noop_with_empty_axes = 1", inputs.replace("NOOP", "")
    body = f"p = Exp(x) y = {op}<keepdims = {keepdims}{noop if 'NOOP' in inputs else ''}>{told}".replace("(p, )", "(p)")
    constants = "int64[1] axes = {-1}, int64[2] both = {0, 2}, int64[0] none = {}"
    lowered(graph("2, 3, 4 x", "y", body, constants, 18))


@pytest.mark.parametrize("noop", [0, 1])
def test_axes_that_are_computed_are_refused(noop):
    body = f"b = Cast<to = 7>(q) y = ReduceMean<noop_with_empty_axes = {noop}>(x, b)"
    text = graph("2, 3 x; 1 q", "float[n, m] y", body, "", 18)
    with pytest.raises(UserMistake, match="axes of ReduceMean"):
        lower_opset(read(text), 17)


def test_a_branch_is_lowered_too():
    body = (
        "c = Greater(p, q) d = Squeeze(c) y = If(d) <then_branch = a () => (float[2, 1] u) { u = ReduceMean<keepdims = 1>(x, axes) },"
        " else_branch = b () => (float[2, 1] v) { v = ReduceMax<keepdims = 1>(x, axes) }>"
    )
    constants = "int64[1] axes = {-1}, float[1] p = {1.0}, float[1] q = {0.0}"
    model = lowered(graph("2, 3 x", "float[2, 1] y", body, constants, 18))
    inner = [node for node in model.graph.all_nodes() if node.op_type in ("ReduceMean", "ReduceMax")]
    assert [len(node.inputs) for node in inner] == [1, 1]


def test_a_node_inside_a_branch_that_has_no_older_form_is_named():
    body = (
        "c = Greater(p, q) d = Squeeze(c) y = If(d) <then_branch = a () => (float[2, 3] u) { [inside] u = Mish(x) },"
        " else_branch = b () => (float[2, 3] v) { v = Relu(x) }>"
    )
    text = graph("2, 3 x", "float[2, 3] y", body, "float[1] p = {1.0}, float[1] q = {0.0}", 18)
    with pytest.raises(UserMistake, match="Mish cannot be written in opset 17") as caught:
        lower_opset(read(text), 17)
    assert "inside" in str(caught.value)


@pytest.mark.parametrize("axis", [-1, 2, 1, -2])
@pytest.mark.parametrize("bias", ["", ", h"])
def test_a_norm_in_opset_16(axis, bias):
    shape = "4" if axis in (-1, 2) else "3, 4"
    numbers = ", ".join(str(0.5 + index / 7) for index in range(4 if axis in (-1, 2) else 12))
    constants = f"float[{shape}] g = {{{numbers}}}, float[{shape}] h = {{{numbers}}}"
    lowered(
        graph("2, 3, 4 x", "y", f"y = LayerNormalization<axis = {axis}, epsilon = 0.01>(x, g{bias})", constants, 17), 16
    )


def test_a_norm_whose_mean_is_read_is_refused():
    text = graph("2, 3, 4 x", "y; m", "y, m = LayerNormalization(x, g)", "float[4] g = {1, 2, 3, 4}", 17)
    with pytest.raises(UserMistake, match="is read"):
        lower_opset(read(text), 16)


@pytest.mark.parametrize("kind", ["none", "tanh"])
def test_a_gelu(kind):
    lowered(graph("2, 3, 4 x", "y", f'y = Gelu<approximate = "{kind}">(x)', "", 20))


@pytest.mark.parametrize("axis", [1, -1])
def test_a_split_into_so_many_parts(axis):
    lowered(graph("2, 4, 4 x", "y; z", f"y, z = Split<axis = {axis}, num_outputs = 2>(x)", "", 18))


def test_a_split_into_uneven_parts_is_refused():
    with pytest.raises(UserMistake, match="uneven parts"):
        lower_opset(read(graph("2, 5 x", "y; z", "y, z = Split<axis = 1, num_outputs = 2>(x)", "", 18)), 17)
