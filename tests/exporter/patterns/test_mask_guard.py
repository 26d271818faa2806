"""Guards and zeros of masks that mask nothing go; where a row may see no key, or nobody can tell, they stay."""

import pytest
from graph_asserts import assert_refuses, assert_rewrites, op_types, parse

from edgesmith.exporter.patterns.attention.ort_attention import OrtAttention
from edgesmith.exporter.patterns.cleanup.mask_guard import DropEmptyMask

MASK = "float[2, 2] mask = {0, 0.5, 0, 0}"
SCORES = "s = MatMul(q, k) m = Add(s, mask)"
GUARDED = "p = Softmax<axis = -1>(m) n = IsNaN(p) g = Where(n, zero, p) y = MatMul(g, q)"


def graph(mask: str = MASK, scores: str = SCORES, guarded: str = GUARDED, outputs: str = "", inputs: str = "") -> str:
    return f"""<ir_version: 10, opset_import: ["" : 20]>
    g (float[batch, 2, 3] q{inputs}) => (float[batch, 2, 3] y{outputs}) <{mask}, float zero = {{0}}, float half = {{0.5}},
      float[1] no_scale = {{inf}}> {{ k = Transpose<perm = [0, 2, 1]>(q) {scores} {guarded} }}"""


KEPT = ["Transpose", "MatMul", "Add", "Softmax", "MatMul"]


@pytest.mark.parametrize(
    "mask", [MASK, "float[2, 2] mask = {-inf, 0, 0, -inf}", "float[1] mask = {3}", "float mask = {3}"]
)
def test_a_guard_goes_where_each_row_sees_a_key(mask):
    assert_rewrites(DropEmptyMask, graph(mask), to=KEPT)


@pytest.mark.parametrize("zeros", ["float[2, 2] mask = {0, 0, 0, 0}", "float[1, 1] mask = {0}", "float mask = {-0.0}"])
def test_zeros_go_with_the_guard(zeros):
    assert_rewrites(DropEmptyMask, graph(zeros), to=["Transpose", "MatMul", "Softmax", "MatMul"], count=2)


def test_a_scale_may_stand_on_either_side_of_the_mask():
    scores = "s = MatMul(q, k) t = Mul(s, half) m = Add(mask, t)"
    assert_rewrites(DropEmptyMask, graph(scores=scores), to=["Transpose", "MatMul", "Mul", *KEPT[2:]])
    scores = "s = MatMul(q, k) t = Add(s, mask) m = Mul(t, half)"
    assert_rewrites(DropEmptyMask, graph(scores=scores), to=["Transpose", "MatMul", "Add", "Mul", *KEPT[3:]])


def test_others_may_read_the_probabilities():
    model = assert_rewrites(DropEmptyMask, graph(outputs=", float[batch, 2, 2] p"), to=KEPT)
    assert [value.name for value in model.graph.outputs] == ["y", "p"]
    assert_rewrites(DropEmptyMask, graph(outputs=", float[batch, 2, 2] g"), to=KEPT)


def test_two_outputs_keep_their_names():
    model = parse(graph(outputs=", float[batch, 2, 2] p, float[batch, 2, 2] g"))
    assert DropEmptyMask().run(model).count == 0


@pytest.mark.parametrize(
    "mask",
    [
        "float[2, 2] mask = {-inf, -inf, 0, 0}",  # the first row is masked as a whole: 0 with the guard, else NaN
        "float[2, 2] mask = {0, inf, 0, 0}",
        "float[2, 2] mask = {0, nan, 0, 0}",
        "float[2, 1] mask = {0, -inf}",
        "float[3, 1, 2, 2] mask = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}",  # makes more rows
    ],
)
def test_a_guard_that_may_be_needed_stays(mask):
    text = graph(mask)
    if mask.startswith("float[3"):
        text = text.replace("=> (float[batch, 2, 3] y", "=> (float[3, batch, 2, 3] y")
    assert_refuses(DropEmptyMask, text, because="leaves each row a finite number")


def test_scores_of_the_network_alone_are_not_known_to_be_finite():
    assert_refuses(DropEmptyMask, graph(scores="s = MatMul(q, k) m = Log(s)"), because="finite")
    text = graph(scores="s = MatMul(q, k) m = Add(s, given)", inputs=", float[2, 2] given")
    assert_refuses(DropEmptyMask, text, because="finite")
    assert_refuses(DropEmptyMask, graph(scores="s = MatMul(q, k) m = Mul(s, no_scale)"), because="finite")


@pytest.mark.parametrize(
    "guarded",
    [
        "p = Softmax<axis = -1>(m) n = IsNaN(p) g = Where(n, half, p) y = MatMul(g, q)",  # another number than 0
        "p = Softmax<axis = -1>(m) n = IsNaN(m) g = Where(n, zero, p) y = MatMul(g, q)",  # asks another value
        "p = Softmax<axis = -1>(m) n = IsNaN(p) g = Where(n, p, zero) y = MatMul(g, q)",
        "p = Relu(m) n = IsNaN(p) g = Where(n, zero, p) y = MatMul(g, q)",
    ],
)
def test_what_is_no_guard_stays(guarded):
    model = parse(graph(guarded=guarded))
    assert DropEmptyMask().run(model).count == 0


def test_a_softmax_over_queries_keeps_its_guard():
    text = graph("float[2, 2] mask = {-inf, 0, -inf, 0}").replace("axis = -1", "axis = 1")
    assert_refuses(DropEmptyMask, text, because="another axis")


def test_zeros_that_others_read_or_that_add_an_axis_stay():
    plain = "p = Softmax<axis = -1>(m) y = MatMul(p, q)"
    zeros = "float[2, 2] mask = {0, 0, 0, 0}"
    model = parse(graph(zeros, guarded=plain, outputs=", float[batch, 2, 2] m"))
    assert DropEmptyMask().run(model).count == 0
    text = graph("float[1, 1, 1, 1] mask = {0}", guarded=plain).replace("y,", "y,")
    model = parse(text.replace("=> (float[batch, 2, 3] y", "=> (float[1, batch, 2, 3] y"))
    assert DropEmptyMask().run(model).count == 0 and len(op_types(model)) == 5


def test_attention_is_found_behind_it():
    text = """<ir_version: 10, opset_import: ["" : 20]> g (float[batch, 2, 4] x) => (float[batch, 2, 4] y)
    <float[1, 1, 2, 2] mask = {0, 0, 0, 0}, float zero = {0}, int64[4] heads = {0, 2, 2, 2}, int64[3] back = {0, 2, 4}>
    { h = Reshape(x, heads) q = Transpose<perm = [0, 2, 1, 3]>(h) k = Transpose<perm = [0, 2, 3, 1]>(h)
      s = MatMul(q, k) m = Add(s, mask) p = Softmax<axis = -1>(m) n = IsNaN(p) g = Where(n, zero, p) c = MatMul(g, q)
      t = Transpose<perm = [0, 2, 1, 3]>(c) y = Reshape(t, back) }"""
    model = parse(text)
    assert OrtAttention().run(model).count == 0
    assert DropEmptyMask().run(model).count == 2
    assert OrtAttention().run(model).count == 1
