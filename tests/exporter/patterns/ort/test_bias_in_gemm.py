"""Products of more than two axes with a bias, as one Gemm of rows."""

import onnx_ir as ir
import pytest
from graph_asserts import assert_refuses, assert_rewrites, parse, weights

from edgesmith.exporter.patterns.ort.bias_in_gemm import BiasInGemm

LINEAR = f"""<ir_version: 10, opset_import: ["" : 20]>
g (float[batch, 3, 4] x) => (float[batch, 3, 5] y) <{weights(w=(4, 5), b=(5,))}>
{{ z = MatMul(x, w) y = Add(z, b) }}"""


@pytest.mark.parametrize("text", [LINEAR, LINEAR.replace("Add(z, b)", "Add(b, z)")])
def test_product_and_bias_become_one_product_of_rows(text):
    assert_rewrites(BiasInGemm, text, to=["Reshape", "Gemm", "Reshape"])


def test_rows_need_no_view():
    assert_rewrites(BiasInGemm, LINEAR.replace("batch, 3", "batch"), to=["Gemm"])


def test_a_weight_without_a_value_yet_is_taken():
    model = parse(LINEAR)
    model.graph.initializers["w"].const_value = None
    assert BiasInGemm().run(model).count == 1
    assert [node.op_type for node in model.graph] == ["Reshape", "Gemm", "Reshape"]


def test_two_products_in_a_row_share_their_view():
    two = LINEAR.replace("float[batch, 3, 5] y", "float[batch, 3, 4] y").replace("w=(4, 5)", "w=(4, 5)")
    two = two.replace("y = Add(z, b)", "m = Add(z, b) n = MatMul(m, v) y = Add(n, c)")
    two = two.replace(weights(w=(4, 5), b=(5,)), weights(w=(4, 5), b=(5,), v=(5, 4), c=(4,)))
    assert_rewrites(BiasInGemm, two, to=["Reshape", "Gemm", "Gemm", "Reshape"], count=2)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("y = Add(z, b)", "s = Mul(z, z) t = Add(s, b) y = Relu(t)"),
        ("(float[batch, 3, 5] y)", "(float[batch, 3, 5] y, float[batch, 3, 5] z)"),
        ("b}", "b"),
    ],
)
def test_a_product_that_others_read_stays(old, new):
    if old == "b}":
        text = LINEAR.replace("x) =>", "x, float[batch, 3, 5] r) =>").replace("Add(z, b)", "Add(z, r)")
    else:
        text = LINEAR.replace(old, new)
    assert BiasInGemm().run(parse(text)).count == 0


def test_refuses_rows_that_cannot_be_counted():
    assert_refuses(BiasInGemm, LINEAR.replace("batch, 3", "batch, tokens"), because="more than one size is open")


def test_refuses_a_bias_of_another_width():
    wide = LINEAR.replace(weights(w=(4, 5), b=(5,)), weights(w=(4, 1), b=(5,)))
    assert_refuses(BiasInGemm, wide, because="no product of rows")
    assert isinstance(parse(wide), ir.Model)
