"""Every way of writing an attention block leads to the same normal form."""

import pytest
from graph_asserts import assert_refuses, assert_rewrites, op_types, parse, weights

from edgesmith.exporter.patterns.attention.heads_apart import PackedHeads, SeparateHeads
from edgesmith.exporter.patterns.matchers.attention_block import attention_blocks

HEAD = '<ir_version: 10, opset_import: ["" : 20]>\n'
CONSTANTS = """int64[5] five = {-1, 4, 3, 2, 3}, int64[4] four = {-1, 4, 2, 3}, int64[3] six = {6, 6, 6},
 int64[3] joined = {-1, 4, 6}, int64 n0 = {0}, int64 n1 = {1}, int64 n2 = {2}, float root = {0.7598357},
 float scale = {0.5773503}, int64[1] i0 = {0}, int64[1] i1 = {1}, int64[1] i2 = {2}, int64[1] i3 = {3},
 int64[3] three = {-1, 4, 3}, int64[4] back = {-1, 2, 3, 4}"""
PACKED = f"<{weights(w=(6, 18), b=(18,))}, {CONSTANTS}>"
GATHERED = """
  z = MatMul(x, w) qkv = Add(z, b)
  r = Reshape(qkv, five) t = Transpose<perm = [2, 0, 3, 1, 4]>(r)
  q = Gather<axis = 0>(t, n0) k0 = Gather<axis = 0>(t, n1) v = Gather<axis = 0>(t, n2)
  k = Transpose<perm = [0, 1, 3, 2]>(k0) s0 = MatMul(q, k) s = Mul(scale, s0)
"""
SLICED = """
  z = MatMul(x, w) qkv = Add(b, z)
  r = Reshape(qkv, five) t = Transpose<perm = [2, 0, 3, 1, 4]>(r)
  qs = Slice(t, i0, i1, i0) q0 = Squeeze(qs, i0) ks = Slice(t, i1, i2, i0) k0 = Squeeze(ks, i0)
  vs = Slice(t, i2, i3, i0) v = Squeeze(vs, i0)
  k1 = Reshape(k0, three) k2 = Transpose<perm = [0, 2, 1]>(k1) k3 = Reshape(k2, back)
  q = Mul(q0, root) k = Mul(k3, root) s = MatMul(q, k)
"""
SPLIT = """
  z = MatMul(x, w) qkv = Add(z, b) q0, k0, v0 = Split<axis = -1>(qkv, six)
  q1 = Reshape(q0, four) q2 = Transpose<perm = [0, 2, 1, 3]>(q1) q = Mul(q2, scale)
  k1 = Reshape(k0, four) k = Transpose<perm = [0, 2, 3, 1]>(k1)
  v1 = Reshape(v0, four) v = Transpose<perm = [0, 2, 1, 3]>(v1) s = MatMul(q, k)
"""
OUT = "p = Softmax<axis = -1>(s) o = MatMul(p, v) ot = Transpose<perm = [0, 2, 1, 3]>(o) y = Reshape(ot, joined)"
ATTEND = ["MatMul", "Mul", "Softmax", "MatMul", "Transpose", "Reshape"]
BIASED = ["MatMul", "Add", "Reshape", "Transpose", "Split", "Transpose", *ATTEND]
PLAIN = ["MatMul", "Split", *["Reshape", "Transpose"] * 3, *ATTEND]


def block(body: str, constants: str = PACKED, batch: str = "batch", outputs: str = "") -> str:
    return f"{HEAD} g (float[{batch}, 4, 6] x) => (float[{batch}, 4, 6] y{outputs}) {constants} {{ {body} {OUT} }}"


@pytest.mark.parametrize("body", [GATHERED, SLICED, SPLIT], ids=["gathered", "sliced", "split"])
@pytest.mark.parametrize("batch", ["batch", "2"])
def test_heads_of_one_packed_layer_are_split_once(body, batch):
    assert_rewrites(PackedHeads, block(body, batch=batch), to=BIASED)


@pytest.mark.parametrize("body", [GATHERED, SLICED, SPLIT], ids=["gathered", "sliced", "split"])
def test_heads_can_get_a_layer_each(body):
    assert_rewrites(SeparateHeads, block(body), to=[*["MatMul", "Add", "Reshape", "Transpose"] * 3, *ATTEND])


def test_without_a_bias_the_columns_are_split_first():
    body = GATHERED.replace("z = MatMul(x, w) qkv = Add(z, b)", "qkv = MatMul(x, w)")
    assert_rewrites(PackedHeads, block(body), to=PLAIN)


def test_two_layers_become_one():
    body = """
      qk = MatMul(x, w) r = Reshape(qk, half) t = Transpose<perm = [2, 0, 3, 1, 4]>(r)
      q = Gather<axis = 0>(t, n0) k0 = Gather<axis = 0>(t, n1) k = Transpose<perm = [0, 1, 3, 2]>(k0)
      v0 = MatMul(x, wv) v1 = Reshape(v0, four) v = Transpose<perm = [0, 2, 1, 3]>(v1) s0 = MatMul(q, k) s = Div(s0, width)
    """
    constants = f"<{weights(w=(6, 12), wv=(6, 6))}, {CONSTANTS}, int64[5] half = {{-1, 4, 2, 2, 3}}, float width = {{1.7320508}}>"
    assert_rewrites(PackedHeads, block(body, constants), to=PLAIN)


def test_the_scale_on_q_and_k_is_one_number_and_exact():
    (found,) = attention_blocks(parse(block(SLICED)).graph, lambda *_: None)
    assert found.scale == 3**-0.5
    assert [heads.offset for heads in found.heads] == [0, 6, 12]


@pytest.mark.parametrize("step", [PackedHeads, SeparateHeads])
def test_refuses_when_others_read_the_projection(step):
    tapped = block(GATHERED, outputs=", float[batch, 4, 18] qkv")
    assert_refuses(step, tapped, because="read outside the attention")


def test_refuses_scores_with_a_mask_or_bias():
    text = block(GATHERED.replace("s = Mul(scale, s0)", "s1 = Mul(scale, s0) s = Add(s1, root)"))
    assert_refuses(PackedHeads, text, because="mask or bias")


def test_refuses_probabilities_with_other_uses():
    assert_refuses(PackedHeads, block(GATHERED, outputs=", float[batch, 2, 4, 4] p"), because="other uses")


def test_refuses_an_element_order_that_is_not_heads_of_tokens():
    # softmax over channels, as in DaViT's channel attention: q^T k
    text = block(
        GATHERED.replace(
            "s0 = MatMul(q, k)",
            "qt = Transpose<perm = [0, 1, 3, 2]>(q) kt = Transpose<perm = [0, 1, 3, 2]>(k) s0 = MatMul(qt, kt)",
        )
    )
    text = text.replace(
        "o = MatMul(p, v)",
        "vt = Transpose<perm = [0, 1, 3, 2]>(v) o9 = MatMul(p, vt) o = Transpose<perm = [0, 1, 3, 2]>(o9)",
    )
    assert_refuses(PackedHeads, text, because="not that of a projection")


def test_an_open_number_of_tokens_is_left_alone():
    text = (
        block(GATHERED)
        .replace("float[batch, 4, 6]", "float[batch, tokens, 6]")
        .replace("{-1, 4, 3, 2, 3}", "{0, -1, 3, 2, 3}")
    )
    text = text.replace("{-1, 4, 6}", "{0, -1, 6}")
    model = parse(text)
    before = op_types(model)
    record = PackedHeads().run(model)
    assert (record.count, op_types(model)) == (0, before)
    assert any("open" in refusal.why for refusal in record.refused)
