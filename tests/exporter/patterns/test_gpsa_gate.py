"""ConViT's gate: beside the attention or inside it, the renormalisation gone, the position half a constant."""

import numpy as np
import pytest
from graph_asserts import assert_refuses, assert_rewrites, parse, run, weights

from edgesmith.exporter.patterns.attention.gpsa_gate import GateBesideAttention, GateInAttention
from edgesmith.graph.read import constant

# two heads of width 3 on 4 tokens; gates 0.3 and 0.8
GATED = f"""
<ir_version: 10, opset_import: ["" : 20]>
gpsa (float[batch, 4, 6] x) => (float[batch, 2, 4, 3] y)
<{weights(wq=(6, 6), wk=(6, 6), wv=(6, 6), table=(1, 4, 4, 3), wp=(3, 2), bp=(2,))},
 float[1, 2, 1, 1] keep = {{0.7, 0.2}}, float[1, 2, 1, 1] gate = {{0.3, 0.8}}, float scale = {{0.5773503}},
 int64[4] heads = {{-1, 4, 2, 3}}, int64[1] last = {{-1}}, int64[3] ones = {{1, 1, 1}}>
{{
  q0 = MatMul(x, wq)
  q1 = Reshape(q0, heads)
  q = Transpose<perm = [0, 2, 1, 3]>(q1)
  k0 = MatMul(x, wk)
  k1 = Reshape(k0, heads)
  k = Transpose<perm = [0, 2, 3, 1]>(k1)
  v0 = MatMul(x, wv)
  v1 = Reshape(v0, heads)
  v = Transpose<perm = [0, 2, 1, 3]>(v1)
  s0 = MatMul(q, k)
  s1 = Mul(s0, scale)
  content = Softmax<axis = -1>(s1)
  batch_size = Shape<start = 0, end = 1>(x)
  target = Concat<axis = 0>(batch_size, ones)
  spread = Expand(table, target)
  p0 = MatMul(spread, wp)
  p1 = Add(p0, bp)
  p2 = Transpose<perm = [0, 3, 1, 2]>(p1)
  position = Softmax<axis = -1>(p2)
  a = Mul(keep, content)
  b = Mul(position, gate)
  rows = Add(a, b)
  total = ReduceSum<keepdims = 0>(rows, last)
  column = Unsqueeze(total, last)
  normal = Div(rows, column)
  y = MatMul(normal, v)
}}
"""
LINEAR = ["MatMul", "Reshape", "Transpose"] * 3
BESIDE = [*LINEAR, "MatMul", "Mul", "Softmax", "MatMul", "Mul", "MatMul", "Add"]


def test_the_attention_stays_whole_beside_the_position_term():
    assert_rewrites(GateBesideAttention, GATED, to=BESIDE)


def test_one_product_with_the_gate_in_the_weights_of_v():
    model = assert_rewrites(GateInAttention, GATED, to=[*LINEAR, "MatMul", "Mul", "Softmax", "Add", "MatMul"])
    names = {value.name for node in model.graph for value in node.inputs}
    assert "wv_gated" in names


def test_the_position_term_is_exact_to_float64():
    model = parse(GATED)
    table, projection = (
        model.graph.initializers[name].const_value.numpy().astype(np.float64) for name in ("table", "wp")
    )
    scores = (table @ projection).transpose(0, 3, 1, 2)
    expected = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True) * np.reshape([0.3, 0.8], (1, 2, 1, 1))
    GateBesideAttention().run(model)
    term = next(constant(node.inputs[0]) for node in model.graph if constant(node.inputs[0]) is not None)
    np.testing.assert_allclose(term, expected, rtol=1e-6)


def test_a_position_term_that_the_exporter_folded():
    start, end = GATED.index("  batch_size ="), GATED.index("  a = Mul")
    term = "float[1, 2, 4, 4] b = {" + ", ".join(["0.075"] * 16 + ["0.2"] * 16) + "}, int64[1] last"
    text = (GATED[:start] + GATED[end:]).replace("b = Mul(position, gate)", "").replace("int64[1] last", term)
    assert_rewrites(GateInAttention, text, to=[*LINEAR, "MatMul", "Mul", "Softmax", "Add", "MatMul"])
    assert_refuses(GateInAttention, text.replace("0.075", "0.08"), because="do not sum to 1")


def test_a_gate_without_the_renormalisation_is_moved_too():
    start, end = GATED.index("  total ="), GATED.index("  y = MatMul")
    text = GATED[:start] + GATED[end:].replace("normal", "rows")
    assert_rewrites(GateBesideAttention, text, to=BESIDE)


@pytest.mark.parametrize("gates", [("0.0, 0.2", "1.0, 0.8"), ("0.00001, 0.2", "0.99999, 0.8")])
def test_a_gate_near_one_stays_a_factor(gates):
    text = GATED.replace("{0.7, 0.2}", f"{{{gates[0]}}}").replace("{0.3, 0.8}", f"{{{gates[1]}}}")
    model = assert_rewrites(GateInAttention, text, to=[*LINEAR, "MatMul", "Mul", "Softmax", "Mul", "Add", "MatMul"])
    assert all(np.isfinite(output).all() for output in run(model))


@pytest.mark.parametrize("step", [GateBesideAttention, GateInAttention])
def test_refuses_gates_that_do_not_sum_to_one(step):
    assert_refuses(step, GATED.replace("{0.3, 0.8}", "{0.3, 0.7}"), because="do not sum to 1")


@pytest.mark.parametrize("step", [GateBesideAttention, GateInAttention])
def test_refuses_when_another_node_reads_the_rows(step):
    tapped = GATED.replace("3] y)", "3] y, float[batch, 2, 4, 4] normal)")
    assert_refuses(step, tapped, because="other uses")


def test_two_halves_that_depend_on_the_image_are_no_gate():
    text = GATED.replace("p0 = MatMul(spread, wp)", "p0 = MatMul(spread, wp) p9 = ReduceMean<keepdims = 1>(x, last)")
    model = parse(text.replace("p1 = Add(p0, bp)", "p8 = Unsqueeze(p9, last) p1 = Add(p0, p8)"))
    assert GateBesideAttention().run(model).count == 0
