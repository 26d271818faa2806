"""BatchNorm into linear layers, through views; where others read or a type would overflow it stays."""

import numpy as np
import onnx_ir as ir
import pytest
from graph_asserts import assert_refuses, assert_rewrites, op_types, parse, weights

from edgesmith.exporter.patterns.tokens.norm_of_linear import FoldLinearNorm

NORM = weights(w=(3, 4), b=(4,), s=(4,), t=(4,), m=(4,), v=(4,), g=(5, 4), c=(5,), r=(4, 5), z=(4, 4))


def graph(body: str, out: str = "rows, 4", outputs: str = "", x: str = "batch, 2, 3") -> str:
    return f"""<ir_version: 10, opset_import: ["" : 20]> net (float[{x}] x) => (float[{out}] y{outputs})
    <{NORM}, int64[2] flat = {{-1, 4}}, int64[2] other = {{-1, 8}}, int64[3] two = {{-1, 2, 4}}> {{ {body} }}"""


BEHIND = "p = MatMul(x, w) l = Add(p, b) f = Reshape(l, flat) y = BatchNormalization<epsilon = 0.01>(f, s, t, m, v)"


def test_goes_into_the_layer_before_it():
    assert_rewrites(FoldLinearNorm, graph(BEHIND), to=["MatMul", "Add", "Reshape"])


def test_a_layer_without_a_bias_gets_one():
    body = BEHIND.replace("l = Add(p, b) f = Reshape(l,", "f = Reshape(p,") + " q = Relu(y)"
    assert_rewrites(FoldLinearNorm, graph(body, outputs=", float[rows, 4] q"), to=["MatMul", "Add", "Reshape", "Relu"])


def test_goes_through_a_transpose_that_makes_channels_the_second_axis():
    body = "p = MatMul(x, w) q = Transpose<perm = [0, 2, 1]>(p) y = BatchNormalization(q, s, t, m, v)"
    assert_rewrites(FoldLinearNorm, graph(body, "batch, 4, 2"), to=["MatMul", "Add", "Transpose"])


def test_tokens_as_channels_stay():
    body = "p = MatMul(x, w) q = Reshape(p, square) y = BatchNormalization(q, s, t, m, v)"
    text = graph(body, "batch, 4, 4", x="batch, 4, 3").replace(
        "int64[2] flat", "int64[3] square = {0, 4, 4}, int64[2] flat"
    )
    model = parse(text)
    assert FoldLinearNorm().run(model).count == 0


@pytest.mark.parametrize("bias", [", c", ""])
def test_goes_into_every_layer_behind_it(bias):
    body = f"n = BatchNormalization(x, s, t, m, v) y = Gemm<transB = 1>(n, g{bias}) h = MatMul(n, r) k = Add(h, c) z0 = Relu(k)"
    text = graph(body, "batch, 5", ", float[batch, 5] z0", x="batch, 4")
    assert_rewrites(FoldLinearNorm, text, to=["Gemm", "MatMul", "Add", "Relu"])


def test_the_layer_that_is_an_output_keeps_its_norm():
    body = "n = BatchNormalization(x, s, t, m, v) y = MatMul(n, r)"
    model = parse(graph(body, "batch, 5", x="batch, 4"))
    assert FoldLinearNorm().run(model).count == 0


@pytest.mark.parametrize(
    ("body", "outputs"),
    [
        (BEHIND, ", float[batch, 2, 4] l"),
        (BEHIND, ", float[rows, 4] f"),
        (BEHIND.replace("l = Add(p, b)", "l = Add(p, b) o = Relu(p)"), ", float[batch, 2, 4] o"),
        (BEHIND + " o = Relu(f)", ", float[rows, 4] o"),
    ],
)
def test_what_others_read_stays(body, outputs):
    model = parse(graph(body, outputs=outputs))
    assert FoldLinearNorm().run(model).count == 0


def test_norms_that_are_read_by_more_than_layers_stay():
    for body in (
        "n = BatchNormalization(x, s, t, m, v) h = MatMul(n, r) y = Relu(h) o = Relu(n)",
        "n = BatchNormalization(x, s, t, m, v) h = Gemm<transA = 1>(n, z) y = Relu(h) o = Relu(h)",
    ):
        text = graph(body, "a, b", ", float[c, d] o", x="4, 4").replace(
            "float[a, b]", "float[4, 5]" if "MatMul" in body else "float[4, 4]"
        )
        model = parse(text.replace("float[c, d]", "float[4, 4]"))
        assert FoldLinearNorm().run(model).count == 0 and "BatchNormalization" in op_types(model)


def test_what_the_type_does_not_hold_stays():
    model = parse(graph(BEHIND))
    model.graph.initializers["s"].const_value = ir.tensor(np.full(4, 1e38, np.float32))
    model.graph.initializers["w"].const_value = ir.tensor(np.full((3, 4), 100, np.float32))
    assert_refuses(FoldLinearNorm, model, because="does not hold")
