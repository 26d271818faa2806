"""ConViT's gated block as one node: a 3 x 3 grid, two heads of width 4, the weights of the positions found again."""

from __future__ import annotations

import numpy as np
import pytest
from fused_graphs import assert_needs_kernel, assert_reference, fused_nodes
from graph_asserts import assert_refuses, assert_rewrites, parse, weights

from edgesmith.exporter.patterns.fuse.gated_positional_attention import FuseGatedPositionalAttention, fit_positions
from edgesmith.graph.read import constant

SIDE, HEADS, POSITION = 3, 2, {"w": [[0.7, -0.4, -0.9], [-0.2, 0.3, 0.5]], "gate": [0.3, 0.8]}


def table(side: int = SIDE) -> np.ndarray:
    """(1, N, N, 3): dx, dy, dx^2 + dy^2 from the query to the key, as timm computes them."""
    place = np.arange(side * side)
    dx, dy = ((part[None, :] - part[:, None]).astype(np.float64) for part in (place % side, place // side))
    return np.stack([dx, dy, dx**2 + dy**2], axis=-1)[None]


def numbers(array: np.ndarray) -> str:
    return "{" + ", ".join(f"{number:.9g}" for number in np.asarray(array).ravel()) + "}"


TABLE = f"float[1, 9, 9, 3] table = {numbers(table())}, float[3, 2] wp = {numbers(np.transpose(POSITION['w']))}"
GATED = f"""
<ir_version: 10, opset_import: ["" : 20]>
gpsa (float[batch, 9, 8] x) => (float[batch, 2, 9, 4] y)
<{weights(wqk=(8, 16), wv=(8, 8), bp=(2,))}, {TABLE},
 float[1, 2, 1, 1] keep = {{0.7, 0.2}}, float[1, 2, 1, 1] gate = {{0.3, 0.8}}, float scale = {{0.5}},
 int64[5] pairs = {{-1, 9, 2, 2, 4}}, int64[4] heads = {{-1, 9, 2, 4}}, int64[1] last = {{-1}}, int64[3] ones = {{1, 1, 1}},
 int64 first = {{0}}, int64 second = {{1}}>
{{
  qk0 = MatMul(x, wqk)
  qk1 = Reshape(qk0, pairs)
  qk = Transpose<perm = [2, 0, 3, 1, 4]>(qk1)
  q = Gather<axis = 0>(qk, first)
  k = Gather<axis = 0>(qk, second)
  v0 = MatMul(x, wv)
  v1 = Reshape(v0, heads)
  v = Transpose<perm = [0, 2, 1, 3]>(v1)
  kt = Transpose<perm = [0, 1, 3, 2]>(k)
  s0 = MatMul(q, kt)
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
  b = Mul(gate, position)
  rows = Add(a, b)
  total = ReduceSum<keepdims = 0>(rows, last)
  column = Unsqueeze(total, last)
  normal = Div(rows, column)
  y = MatMul(normal, v)
}}
"""
FUSED = ["MatMul", "Reshape", "Transpose", "Split", "GatedPositionalAttention"]
STEP = FuseGatedPositionalAttention


def folded(scores: np.ndarray) -> str:
    """The graph as it is for a small network: g P is a constant already."""
    powers = np.exp(scores - scores.max(-1, keepdims=True))
    shares = powers / powers.sum(-1, keepdims=True) * np.reshape(POSITION["gate"], (1, 2, 1, 1))
    start, end = GATED.index("  batch_size ="), GATED.index("  a = Mul")
    text = (GATED[:start] + GATED[end:]).replace("  b = Mul(gate, position)\n", "")
    for unread in (f" {TABLE},", "float[1, 2, 1, 1] gate = {0.3, 0.8}, ", ", int64[3] ones = {1, 1, 1}"):
        text = text.replace(unread, "")
    return text.replace("int64[1] last", f"float[1, 2, 9, 9] b = {numbers(shares)}, int64[1] last")


def exact() -> np.ndarray:
    return (table() @ np.transpose(POSITION["w"])).transpose(0, 3, 1, 2)


@pytest.mark.parametrize("text", [GATED, folded(exact())], ids=["scores", "folded"])
def test_a_gated_block_becomes_one_node(text):
    model = assert_rewrites(STEP, text, to=FUSED)
    assert_reference(model)
    (node,) = fused_nodes(model)
    found = constant(node.inputs[3])
    np.testing.assert_allclose(found, np.column_stack([POSITION["w"], POSITION["gate"]]), rtol=0, atol=2e-6)
    assert (node.attributes["side"].value, node.attributes["scale"].value) == (3, 0.5)
    assert node.attributes["plugin_namespace"].value == "edgesmith"


def test_gates_without_the_renormalisation_are_fused_too():
    start, end = GATED.index("  total ="), GATED.index("  y = MatMul")
    assert_rewrites(STEP, GATED[:start] + GATED[end:].replace("normal", "rows"), to=FUSED)


def test_the_weights_come_back_exactly():
    rng = np.random.default_rng(3)
    wanted = rng.standard_normal((5, 3)).astype(np.float32).astype(np.float64)
    scores = (table(7) @ wanted.T).transpose(0, 3, 1, 2) + rng.standard_normal(
        (1, 5, 49, 1)
    )  # a number a query cancels
    np.testing.assert_allclose(fit_positions(scores, 5, 49), wanted, rtol=1e-12, atol=1e-13)


def test_refuses_scores_of_another_form():
    bent = exact()
    bent[0, 1, 4, 7] += 1e-4
    assert "position scores of head 1 are no w0 dx" in fit_positions(bent, 2, 9)
    odd = table()
    odd[0, 2, 5, 0] += 0.5
    assert_refuses(STEP, GATED.replace(numbers(table()), numbers(odd)), because="is left over")


def test_refuses_tokens_that_are_no_square():
    assert "8 tokens are no square grid" in fit_positions(np.zeros((1, 2, 8, 8)), 2, 8)


def test_refuses_a_folded_term_whose_small_values_are_gone():
    assert_refuses(STEP, folded(40 * exact()), because="too small to recover")


def test_refuses_gates_that_do_not_sum_to_one():
    assert_refuses(STEP, GATED.replace("gate = {0.3, 0.8}", "gate = {0.3, 0.7}"), because="do not sum to 1")


def test_refuses_when_another_node_reads_the_rows():
    tapped = GATED.replace("4] y)", "4] y, float[batch, 2, 9, 9] normal)")
    assert_refuses(STEP, tapped, because="other uses")


def test_refuses_when_q_is_read_elsewhere():
    tapped = GATED.replace("4] y)", "4] y, float[batch, 9, 16] qk0)")
    assert_refuses(STEP, tapped, because="outside the attention")


def test_refuses_an_input_of_its_own_for_v():
    text = GATED.replace("(float[batch, 9, 8] x)", "(float[batch, 9, 8] x, float[batch, 9, 8] z)").replace(
        "MatMul(x, wv)", "MatMul(z, wv)"
    )
    assert_refuses(STEP, text, because="not linear layers of one input")


def test_two_halves_that_depend_on_the_image_are_no_gate():
    text = GATED.replace("p0 = MatMul(spread, wp)", "p0 = MatMul(spread, wp) p9 = ReduceMean<keepdims = 1>(x, last)")
    model = parse(text.replace("p1 = Add(p0, bp)", "p8 = Unsqueeze(p9, last) p1 = Add(p0, p8)"))
    assert STEP().run(model).count == 0


def test_refuses_a_width_without_a_kernel_where_plugins_take_the_node():
    assert_needs_kernel(STEP, GATED, because="no float16 kernel for D = 4")


def test_refuses_values_of_tokens_before_pictures():
    text = GATED.replace("float[batch,", "float[2,").replace("heads = {-1, 9, 2, 4}", "heads = {9, 2, 2, 4}")
    text = text.replace("v0 = MatMul(x, wv)", "xt = Transpose<perm = [1, 0, 2]>(x)\n  v0 = MatMul(xt, wv)")
    text = text.replace("v = Transpose<perm = [0, 2, 1, 3]>(v1)", "v = Transpose<perm = [1, 2, 0, 3]>(v1)")
    assert_refuses(FuseGatedPositionalAttention, text, because="its tokens before its pictures")


@pytest.mark.parametrize("letter", ["q", "k"])
def test_numbers_on_q_and_k_are_part_of_the_scale(letter):
    text = GATED.replace(f"{letter} = Gather", f"{letter}9 = Gather").replace(
        "  v0 =", f"  {letter} = Mul({letter}9, half)\n  v0 ="
    )
    model = assert_rewrites(STEP, text.replace("float scale", "float half = {0.25}, float scale"), to=FUSED)
    (node,) = fused_nodes(model)
    assert node.attributes["scale"].value == 0.125


@pytest.mark.parametrize("content", ["Softmax<axis = 2>(s1)", "Sigmoid(s1)"])
def test_refuses_a_content_half_that_is_no_softmax_over_the_keys(content):
    text = GATED.replace("content = Softmax<axis = -1>(s1)", f"content = {content}")
    assert_refuses(STEP, text, because="no softmax of a product")


@pytest.mark.parametrize("position", ["Softmax<axis = 2>(p2)", "Sigmoid(p2)"])
def test_a_position_half_that_is_no_softmax_over_the_keys_is_no_gate(position):
    record = STEP().run(parse(GATED.replace("position = Softmax<axis = -1>(p2)", f"position = {position}")))
    assert record.count == 0


def test_scores_that_were_rounded_to_float32_are_fitted():
    found = fit_positions(exact().astype(np.float32).astype(np.float64), HEADS, SIDE * SIDE)
    np.testing.assert_allclose(found, POSITION["w"], rtol=0, atol=1e-6)
