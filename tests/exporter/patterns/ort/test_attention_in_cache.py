"""Attention over heads that were computed before it, as ONNX Runtime's node that keeps the scores in cache."""

import onnx_ir as ir
import pytest
from graph_asserts import assert_refuses, assert_rewrites

from edgesmith.exporter.patterns.ort.attention_in_cache import AttentionInCache

HEADS = """<ir_version: 10, opset_import: ["" : 20]>
g (float[batch, 6, 2, 4] q, float[batch, 6, 2, 4] k, float[batch, 6, 2, 4] v) => (float[batch, 6, 2, 4] y)
<float half = {0.5}>
{
  qs = Mul(q, half) qt = Transpose<perm = [0, 2, 1, 3]>(qs)
  kt = Transpose<perm = [0, 2, 3, 1]>(k)
  vt = Transpose<perm = [0, 2, 1, 3]>(v)
  s = MatMul(qt, kt) p = Softmax<axis = -1>(s) o = MatMul(p, vt)
  y = Transpose<perm = [0, 2, 1, 3]>(o)
}"""
TWO_STEPS = HEADS.replace(
    "kt = Transpose<perm = [0, 2, 3, 1]>(k)",
    "k1 = Transpose<perm = [0, 2, 1, 3]>(k) kt = Transpose<perm = [0, 1, 3, 2]>(k1)",
)
ON_THE_PRODUCT = (
    HEADS.replace("qs = Mul(q, half) ", "")
    .replace("(qs)", "(q)")
    .replace("s = MatMul(qt, kt)", "s0 = MatMul(qt, kt) s = Mul(s0, half)")
)


@pytest.mark.parametrize("text", [HEADS, TWO_STEPS, ON_THE_PRODUCT])
def test_attention_becomes_one_node_with_its_scale(text):
    model = assert_rewrites(AttentionInCache, text, to=["Reshape"] * 4 + ["MultiHeadAttention"])
    node = next(node for node in model.graph if node.op_type == "MultiHeadAttention")
    assert (node.domain, node.attributes["num_heads"].value, node.attributes["scale"].value) == (
        "com.microsoft",
        2,
        0.5,
    )


def test_no_tensor_of_all_tokens_by_all_tokens_is_left():
    model = assert_rewrites(AttentionInCache, HEADS, to=["Reshape"] * 4 + ["MultiHeadAttention"])
    shapes = [value.shape.dims for node in model.graph for value in node.outputs if isinstance(value.shape, ir.Shape)]
    assert len(shapes) == 5 and not any(list(shape).count(6) > 1 for shape in shapes)


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("y = Transpose<perm = [0, 2, 1, 3]>(o)", "z = Relu(o) y = Transpose<perm = [0, 2, 1, 3]>(z)", "brought back"),
        ("o = MatMul(p, vt)", "r = Mul(p, half) o = MatMul(r, vt)", "straight into the product"),
        ("Softmax<axis = -1>", "Softmax<axis = 2>", "over the keys"),
        ("vt = Transpose<perm = [0, 2, 1, 3]>(v)", "v2 = Mul(v, half) vt = Transpose<perm = [0, 2, 1, 3]>(v2)", "no Transpose"),
        ("float half = {0.5}", "float half = {0.0}", "scale is 0"),
        ("float[batch, 6, 2, 4] k, float[batch, 6, 2, 4] v", "float[batch, 5, 2, 4] k, float[batch, 5, 2, 4] v", "the shapes"),
        ("[batch, 6,", "[batch, tokens,", "known tokens"),
    ],
)  # fmt: skip
def test_near_misses_stay(old, new, why):
    assert_refuses(AttentionInCache, HEADS.replace(old, new), because=why)


def test_scores_with_a_mask_are_not_this_form():
    masked = HEADS.replace("float half = {0.5}", "float half = {0.5}, float[6] m = {0.0, 0.0, 0.0, 0.0, -9.0, -9.0}")
    masked = masked.replace("s = MatMul(qt, kt)", "s0 = MatMul(qt, kt) s = Add(s0, m)")
    from graph_asserts import parse

    assert AttentionInCache().run(parse(masked)).count == 0


def test_probabilities_that_are_an_answer_too_stay():
    tapped = HEADS.replace("(float[batch, 6, 2, 4] y)", "(float[batch, 6, 2, 4] y, float[batch, 2, 6, 6] p)")
    assert_refuses(AttentionInCache, tapped, because="straight into the product")
