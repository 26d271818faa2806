"""Each reason why attention stays as it is, by the one change that gives it to a block that would be rewritten."""

from __future__ import annotations

import numpy as np
import pytest
from graph_asserts import assert_refuses, assert_rewrites, assert_told, op_types, parse, run, weights

from edgesmith.exporter.patterns.attention.einsum_product import EinsumProduct
from edgesmith.exporter.patterns.attention.heads_apart import PackedHeads, SeparateHeads
from edgesmith.exporter.patterns.attention.ort_attention import OrtAttention
from edgesmith.exporter.patterns.attention.pictures_first import PicturesFirst
from edgesmith.exporter.patterns.attention.unread_tokens import DropUnreadTokens

HEAD = '<ir_version: 10, opset_import: ["" : 20]>\n'
BIAS = ", ".join(f"{number:.2f}" for number in np.random.default_rng(0).standard_normal(32))
CONSTANTS = f"""int64[4] four = {{-1, 4, 2, 3}}, int64[3] joined = {{-1, 4, 6}}, float scale = {{0.4}}, float none = {{0.0}},
 float[1, 2, 4, 4] bias = {{{BIAS}}}, float two = {{2.0}}, int64[1] i0 = {{0}}, int64[1] i1 = {{1}}, int64[1] i2 = {{2}},
 int64[1] i3 = {{3}}, int64[4] wide = {{-1, 4, 2, 4}}, int64[3] eight = {{-1, 4, 8}}"""
LAYERS = weights(wq=(6, 6), wk=(6, 6), wv=(6, 6), bq=(6,), bw=(8,), ww=(6, 8))
BLOCK = f"""{HEAD} g (float[batch, 4, 6] x) => (float[batch, 4, 6] y) <{LAYERS}, {CONSTANTS}>
{{
  q9 = MatMul(x, wq) q0 = Add(q9, bq) k0 = MatMul(x, wk) v0 = MatMul(x, wv)
  q1 = Reshape(q0, four) q = Transpose<perm = [0, 2, 1, 3]>(q1)
  k1 = Reshape(k0, four) k = Transpose<perm = [0, 2, 3, 1]>(k1)
  v1 = Reshape(v0, four) v = Transpose<perm = [0, 2, 1, 3]>(v1)
  s0 = MatMul(q, k) s = Mul(s0, scale)
  p = Softmax<axis = -1>(s)
  o = MatMul(p, v)
  ot = Transpose<perm = [0, 2, 1, 3]>(o) y = Reshape(ot, joined)
}}"""
SCALED, SOFTMAX, PRODUCT, VALUES = (
    "s = Mul(s0, scale)",
    "p = Softmax<axis = -1>(s)",
    "o = MatMul(p, v)",
    "v1 = Reshape(v0, four)",
)
OUT = "(float[batch, 4, 6] y)"


def changed(old: str, new: str, text: str = BLOCK) -> str:
    assert old in text
    return text.replace(old, new)


def test_without_a_change_the_block_is_rewritten():
    assert_rewrites(OrtAttention, BLOCK, to=["Attention"])
    model = parse(BLOCK)
    assert PackedHeads().run(model).count == 1


@pytest.mark.parametrize("step", [OrtAttention, PackedHeads, SeparateHeads])
@pytest.mark.parametrize(
    ("old", "new", "because"),
    [
        (SCALED, "s9 = Mul(s0, scale) e = ReduceMean(s9, i3) s = Add(s9, e)", "no constant of their size"),
        (SCALED, "s9 = Add(s0, bias) s = Mul(s9, scale)", "no constant of their size"),
        (OUT, "(float[batch, 4, 6] y, float[batch, 2, 4, 4] s0)", "other uses"),
        (OUT, "(float[batch, 4, 6] y, float[batch, 2, 4, 4] p)", "other uses"),
        (PRODUCT, "p9 = Relu(p) o = MatMul(p9, v)", "do not go straight"),
        (PRODUCT, "o = MatMul(v9, p)", "do not go straight"),
        (VALUES, "v8 = Mul(v0, two) v1 = Reshape(v8, four)", "v is multiplied by a number of its own"),
    ],
)
def test_what_stands_between_the_products(step: type, old: str, new: str, because: str):
    text = changed(old, new)
    if "v9" in new:
        text = changed("o = MatMul", "v9 = Transpose<perm = [0, 1, 3, 2]>(v) o = MatMul", text)
        text = changed("perm = [0, 2, 1, 3]>(o)", "perm = [0, 3, 1, 2]>(o)", text)
    assert_refuses(step, text, because=because)


@pytest.mark.parametrize("step", [OrtAttention, PackedHeads, SeparateHeads, DropUnreadTokens])
@pytest.mark.parametrize("axis", [0, 1, 2, -2])
def test_a_softmax_over_another_axis_is_another_computation(step: type, axis: int):
    text = changed(SOFTMAX, f"p = Softmax<axis = {axis}>(s)")
    text = changed("y = Reshape(ot, joined)", "t = Reshape(ot, joined) y = Slice(t, i0, i1, i1)", text)
    text = changed(OUT, "(float[batch, 1, 6] y)", text)
    model = parse(text)
    before = run(model)[0]
    assert step().run(model).count == 0
    np.testing.assert_array_equal(run(model)[0], before)


def test_queries_of_one_picture_beside_keys_of_several():
    text = changed("(float[batch, 4, 6] x)", "(float[3, 4, 6] x, float[1, 4, 6] z)")
    text = changed("q9 = MatMul(x, wq)", "q9 = MatMul(z, wq)", text).replace("batch", "3").replace("{-1,", "{0,")
    for step in (OrtAttention, PackedHeads, SeparateHeads):
        assert_refuses(step, text, because="of 1, 3 and 3 pictures")
    text = text.replace("float[1, 4, 6] z", "float[3, 4, 6] z")
    assert_rewrites(OrtAttention, text, to=["MatMul", "Add", "MatMul", "MatMul", "MultiHeadAttention"])


@pytest.mark.parametrize("step", [OrtAttention, PackedHeads, SeparateHeads])
def test_keys_of_no_token_at_all(step: type):
    text = changed("k = Transpose", "k2 = Slice(k1, i0, i0, i1) k = Transpose").replace("3, 1]>(k1)", "3, 1]>(k2)")
    text = changed("v = Transpose", "v2 = Slice(v1, i0, i0, i1) v = Transpose", text).replace(
        "1, 3]>(v1)", "1, 3]>(v2)"
    )
    assert_refuses(step, text, because="have no element")


@pytest.mark.parametrize("step", [PackedHeads, SeparateHeads])
def test_keys_that_are_the_values_too_are_written_once_and_then_left(step: type):
    model = parse(changed("v1 = Reshape(v0, four)", "v1 = Reshape(k0, four)"))
    before = run(model)[0]
    step().run(model)
    np.testing.assert_allclose(run(model)[0], before, atol=1e-5)
    assert step().run(model).count == 0


def test_keys_of_some_tokens_are_not_those_of_the_projection():
    """Cut from the front of one picture, they lie where those of a whole picture of so many tokens would."""
    text = BLOCK.replace("batch", "1").replace("{-1,", "{1,")
    text = changed("k = Transpose", "k2 = Slice(k1, i0, i2, i1) k = Transpose", text).replace(
        "3, 1]>(k1)", "3, 1]>(k2)"
    )
    text = changed("v = Transpose", "v2 = Slice(v1, i0, i2, i1) v = Transpose", text).replace(
        "1, 3]>(v1)", "1, 3]>(v2)"
    )
    for step in (OrtAttention, PackedHeads, SeparateHeads):
        model = parse(text)
        before = run(model)[0]
        step().run(model)
        np.testing.assert_allclose(run(model)[0], before, atol=1e-5)
        assert "Slice" in op_types(model)


def test_a_projection_that_counts_other_rows_as_pictures_is_seen_as_tokens():
    """The keys come from a map: (batch, 2, 2, 6) is not (batch, 4, 6) to the node."""
    text = changed("k0 = MatMul(x, wk)", "m = Reshape(x, map) k0 = MatMul(m, wk)")
    text = changed("int64[3] joined", "int64[4] map = {-1, 2, 2, 6}, int64[3] joined", text)
    to = ["MatMul", "Add", "Reshape", "MatMul", "Reshape", "MatMul", "MultiHeadAttention"]
    assert_rewrites(OrtAttention, text.replace("batch", "2").replace("{-1,", "{2,"), to=to)


WIDE = changed(VALUES, "v1 = Reshape(v0, wide)", changed("MatMul(x, wv)", "MatMul(x, ww)"))
WIDE = changed("y = Reshape(ot, joined)", "y = Reshape(ot, eight)", changed(OUT, "(float[batch, 4, 8] y)", WIDE))


@pytest.mark.parametrize(
    ("text", "because"),
    [
        (changed("scale = {0.4}", "scale = {0.0}"), "the node takes 0 for the usual one"),
        (changed("scale = {0.4}", "scale = {1e-46}"), "the node takes 0 for the usual one"),
        (changed(PRODUCT, "p9 = Add(p, bias) o = MatMul(p9, v)"), "a position term"),
        (BLOCK.replace("float", "double"), "float32 alone"),
        (
            changed("y = Reshape(ot, joined)", "y = Relu(ot)", changed(OUT, "(float[batch, 4, 2, 3] y)")),
            "not brought back",
        ),
    ],
)
def test_what_the_node_of_onnx_runtime_cannot_do(text: str, because: str):
    assert_refuses(OrtAttention, text, because=because)


def test_values_may_be_wider_than_keys():
    model = assert_rewrites(OrtAttention, WIDE, to=["Attention"])
    assert model.graph[0].attributes["qkv_hidden_sizes"].value == (6, 6, 8)
    tapped = changed(OUT.replace("4, 6] y", "4, 8] y"), "(float[batch, 4, 8] y, float[batch, 4, 8] v0)", WIDE)
    assert_rewrites(OrtAttention, tapped, to=["MatMul", "Add", "MatMul", "MatMul", "MultiHeadAttention"])


@pytest.mark.parametrize(
    "chain", ["t = Gather(rows, places) table = Reshape(t, shape)", "table = Gather(rows, places)"]
)
def test_a_table_of_positions_may_be_a_chain_of_constants(chain: str):
    """Folded, it would make the file larger: it stays a chain, with the axes of the node."""
    numbers = ", ".join(str(number / 10) for number in range(8))
    places = ", ".join(str(number % 8) for number in range(16))
    table = f"""float[8] rows = {{{numbers}}}, int64[4, 4] places = {{{places}}}, int64[4] shape = {{1, 1, 4, 4}}, int64[3] joined"""
    text = changed(SCALED, f"s9 = Mul(s0, scale) {chain} s = Add(s9, table)")
    model = assert_rewrites(
        OrtAttention, changed("int64[3] joined", table, text), to=["Attention", "Gather", "Reshape"]
    )
    assert model.graph[2].op_type == "Attention"
    given = changed("x) =>", "x, int64[4, 4] places) =>", changed("int64[3] joined", table, text))
    given = changed(f"int64[4, 4] places = {{{places}}}, ", "", given)
    shapes = {value.name: str(value.shape) for value in parse(given).graph.inputs}
    assert shapes["places"] == "[4,4]"
    record = OrtAttention().run(parse(given))
    assert record.count == 0 and "no constant of their size" in record.refused[0].why


def test_a_bias_on_the_scores_is_an_input_of_the_node():
    text = changed(SCALED, "s9 = Mul(s0, scale) s = Add(s9, bias)")
    model = assert_rewrites(OrtAttention, text, to=["Attention"])
    (node,) = model.graph
    assert node.inputs[5].name == "bias"
    tapped = changed(OUT, "(float[batch, 4, 6] y, float[batch, 4, 6] v0)", text)
    assert_rewrites(OrtAttention, tapped, to=["MatMul", "Add", "MatMul", "MatMul", "MultiHeadAttention"])
    for step in (PackedHeads, SeparateHeads):
        assert_refuses(step, text, because="mask or bias")


@pytest.mark.parametrize("shape", ["1, 1, 4, 1", "2, 1, 4", "4, 1", "1, 1, 1, 4"])
def test_a_bias_that_is_spread_over_an_axis_of_the_scores_stays(shape: str):
    count = int(np.prod([int(size) for size in shape.split(",")]))
    told = f"float[{shape}] small = {{{', '.join(['0.5'] * count)}}}, int64[3] joined"
    text = changed("int64[3] joined", told, changed(SCALED, "s9 = Mul(s0, scale) s = Add(s9, small)"))
    assert_refuses(OrtAttention, text, because="no finite bias or mask of")


def test_a_mask_that_leaves_a_query_nothing_stays():
    """Minus infinity in a whole row is NaN in the softmax, and something else in the node."""
    row = ["0.0"] * 16
    masked = ", ".join(["-inf"] * 4 + row[4:])
    told = f"float[1, 1, 4, 4] mask = {{{', '.join(row)}}}, int64[3] joined"
    model = parse(changed("int64[3] joined", told, changed(SCALED, "s9 = Mul(s0, scale) s = Add(s9, mask)")))
    import onnx_ir as ir

    array = np.array([float(number) for number in masked.split(", ")], np.float32).reshape(1, 1, 4, 4)
    model.graph.initializers["mask"].const_value = ir.tensor(array, name="mask")
    assert_refuses(OrtAttention, model, because="no finite bias or mask of")
    array = np.where(np.tri(4) > 0, 0.0, -np.inf).astype(np.float32).reshape(1, 1, 4, 4)
    model.graph.initializers["mask"].const_value = ir.tensor(array, name="mask")
    assert_rewrites(OrtAttention, model, to=["Attention"])


def test_a_bias_of_zeros_is_none():
    zeros = f"float[1, 2, 4, 4] zeros = {{{', '.join(['0.0'] * 32)}}}, int64[3] joined"
    text = changed("int64[3] joined", zeros, changed(SCALED, "s9 = Mul(s0, scale) s = Add(s9, zeros)"))
    model = assert_rewrites(OrtAttention, text, to=["Attention"])
    assert len(model.graph[0].inputs) == 3


@pytest.mark.parametrize("step", [PackedHeads, SeparateHeads])
def test_layers_that_cannot_be_written_anew(step: type):
    text = changed("k0 = MatMul(x, wk)", "k8 = Relu(x) k0 = MatMul(k8, wk)")
    assert_refuses(step, text, because="different inputs or widths")
    assert_refuses(step, WIDE, because="different inputs or widths")
    text = changed("k0 = MatMul(x, wk)", "k8 = MatMul(x, wk) k0 = Relu(k8)")
    assert_refuses(step, text, because="not a linear layer with constant weights")
    text = changed(OUT, "(float[batch, 4, 6] y, float[batch, 4, 6] v0)")
    assert_refuses(step, text, because="read outside the attention too")


TURNED = f"""{HEAD} g (float[batch, 4, 6] x) => (float[4, batch, 6] y) <{weights(w=(6, 18), b=(18,))},
 int64[3] heads = {{4, -1, 3}}, int64[3] joined = {{4, -1, 6}}, int64[3] thirds = {{6, 6, 6}}, float scale = {{0.4}}>
{{
  xt = Transpose<perm = [1, 0, 2]>(x) z = MatMul(xt, w) qkv = Add(b, z) q0, k0, v0 = Split<axis = -1>(qkv, thirds)
  q1 = Reshape(q0, heads) q = Transpose<perm = [1, 0, 2]>(q1)
  k1 = Reshape(k0, heads) k = Transpose<perm = [1, 2, 0]>(k1)
  v1 = Reshape(v0, heads) v = Transpose<perm = [1, 0, 2]>(v1)
  s0 = MatMul(q, k) s = Mul(s0, scale) p = Softmax<axis = -1>(s) o = MatMul(p, v)
  ot = Transpose<perm = [1, 0, 2]>(o) y = Reshape(ot, joined)
}}"""


def test_projections_of_turned_tokens_move_before_the_turn():
    model = parse(TURNED)
    before = run(model)[0]
    for step in (OrtAttention, PackedHeads, SeparateHeads):
        assert_refuses(step, TURNED, because="its tokens before its pictures")
    assert PicturesFirst().run(model).count == 1
    assert PicturesFirst().run(model).count == 0
    np.testing.assert_allclose(run(model)[0], before, atol=1e-5)
    packed = model.clone()
    assert OrtAttention().run(model).count == PackedHeads().run(packed).count == 1
    for done in (model, packed):
        np.testing.assert_allclose(run(done)[0], before, atol=1e-5)
    assert op_types(model) == ["Attention", "Transpose"]


def test_turned_tokens_that_no_transpose_made_stay():
    text = changed("(float[batch, 4, 6] x)", "(float[4, batch, 6] x)", TURNED)
    text = changed("xt = Transpose<perm = [1, 0, 2]>(x)", "xt = Relu(x)", text)
    assert_refuses(PicturesFirst, text, because="tokens that were turned")


def einsum(equation: str, left: str = "2, 3, 4", right: str = "2, 4, 5", out: str = "2, 3, 5") -> str:
    return f"""{HEAD} g (float[{left}] a, float[{right}] c) => (float[{out}] y)
    {{ a2 = Relu(a) y = Einsum<equation = "{equation}">(a2, c) }}"""


@pytest.mark.parametrize(
    ("equation", "left", "right", "out", "transposes"),
    [
        ("bij,bjk->bik", "2, 3, 4", "2, 4, 5", "2, 3, 5", 0),
        ("bij,bkj->bik", "2, 3, 4", "2, 5, 4", "2, 3, 5", 1),
        ("bij, bjk -> bki", "2, 3, 4", "2, 4, 5", "2, 5, 3", 1),
        ("bnhd,bmhd->bhnm", "2, 3, 4, 5", "2, 6, 4, 5", "2, 4, 3, 6", 2),
        ("ij,jk->ik", "3, 4", "4, 5", "3, 5", 0),
    ],
)
def test_an_einsum_of_two_matrices_is_a_product(equation: str, left: str, right: str, out: str, transposes: int):
    to = ["Relu", "MatMul", *["Transpose"] * transposes]
    assert_rewrites(EinsumProduct, einsum(equation, left, right, out), to=to)


@pytest.mark.parametrize(
    ("equation", "left", "right", "out"),
    [
        ("bij,bjk->bi", "2, 3, 4", "2, 4, 5", "2, 3"),  # k is summed over alone
        ("bij,bij->b", "2, 3, 4", "2, 3, 4", "2"),  # two axes are summed over
        ("bij,bk->bijk", "2, 3, 4", "2, 5", "2, 3, 4, 5"),  # none is
        ("bij,jk->bik", "2, 3, 4", "4, 5", "2, 3, 5"),  # two axes of its own on the left
        ("bij,bjk->bik", "1, 3, 4", "2, 4, 5", "2, 3, 5"),  # a batch of one is spread
        ("...ij,...jk->...ik", "2, 3, 4", "2, 4, 5", "2, 3, 5"),
        ("bii,bik->bik", "2, 3, 3", "2, 3, 5", "2, 3, 5"),
        ("bij,bjk", "2, 3, 4", "2, 4, 5", "2, 3, 5"),
    ],
)
def test_other_equations_stay(equation: str, left: str, right: str, out: str):
    import onnx
    import onnx_ir as ir

    model = ir.from_proto(onnx.parser.parse_model(einsum(equation, left, right, out)))
    assert_refuses(EinsumProduct, model, because="not the product of two matrices")


STEPS = (OrtAttention, PackedHeads, SeparateHeads)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("op", ["Relu", "Sigmoid", "Hardmax<axis = -1>", "LogSoftmax<axis = -1>"])
def test_another_op_in_the_place_of_the_softmax(step: type, op: str):
    model = parse(changed(SOFTMAX, f"p = {op}(s)"))
    assert step().run(model).count == 0


def test_only_an_einsum_is_asked_for_its_equation():
    record = EinsumProduct().run(parse(BLOCK))
    assert (record.count, record.refused) == (0, ())


@pytest.mark.parametrize("step", [PackedHeads, SeparateHeads])
def test_a_position_term_over_heads_that_are_pictures(step: type):
    """(batch heads, N, width): the term would be added to heads that are an axis of their own afterwards."""
    text = changed(
        "four = {-1, 4, 2, 3}", "four = {-1, 4, 2, 3}, int64[3] three = {-1, 4, 3}, int64[3] keys = {-1, 3, 4}"
    )
    for letter, view in (("q", "three"), ("k", "keys"), ("v", "three")):
        text = changed(f" {letter} = Transpose", f" {letter}8 = Transpose", text)
        line = next(line for line in text.splitlines() if f"{letter}8 = " in line)
        text = changed(line, f"{line} {letter} = Reshape({letter}8, {view})", text)
    text = changed("ot = Transpose", "o8 = Reshape(o, apart) ot = Transpose", text)
    text = changed("(o) y", "(o8) y", text)
    text = changed("int64[3] joined", "int64[4] apart = {-1, 2, 4, 3}, int64[3] joined", text)
    model = parse(text)
    assert step().run(model).count == 1
    assert_told(model)
    term = changed(PRODUCT, "p9 = Add(p, row) o = MatMul(p9, v)", text)
    term = changed("int64[3] joined", "float[1, 1, 4] row = {0.1, 0.2, 0.3, 0.4}, int64[3] joined", term)
    assert_refuses(step, term, because="has no axis of heads")


@pytest.mark.parametrize("shape", ["2, 2, 4, 4", "3, 1, 4, 4"])
def test_a_bias_of_more_pictures_than_the_scores(shape: str):
    """One picture would become several."""
    count = int(np.prod([int(size) for size in shape.split(",")]))
    told = f"float[{shape}] small = {{{', '.join(['0.5'] * count)}}}, int64[3] joined"
    text = changed("int64[3] joined", told, changed(SCALED, "s9 = Mul(s0, scale) s = Add(s9, small)"))
    assert_refuses(OrtAttention, text.replace("batch, 4, 6] x", "1, 4, 6] x"), because="no constant of their size")


def test_products_of_which_one_is_wider_are_not_yet_apart():
    text = changed("k0 = MatMul(x, wk)", "k9 = MatMul(x, w12) k0 = Slice(k9, i0, i6, i2)")
    text = changed("int64[3] joined", f"int64[1] i6 = {{6}}, {weights(w12=(6, 12))}, int64[3] joined", text)
    assert SeparateHeads().run(parse(BLOCK)).count == 0
    assert SeparateHeads().run(parse(text)).count == 1


@pytest.mark.parametrize("axis", ["<axis = 3>", "<axis = -1>", ""])
def test_the_last_axis_of_the_scores_however_it_is_written(axis: str):
    assert PackedHeads().run(parse(changed(SOFTMAX, f"p = Softmax{axis}(s)"))).count == 1
