"""Windows, channels and fused blocks that are nearly the ones looked for; and elements that are cut from an open axis."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from graph_asserts import weights
from near_misses import assert_sound, graph, half, read

from edgesmith.exporter.patterns.attention.channel_attention import PackedChannels, SeparateChannels
from edgesmith.exporter.patterns.attention.project_channels import ProjectChannels
from edgesmith.exporter.patterns.attention.window_partition import MergeWindows
from edgesmith.exporter.patterns.fuse.channel_attention import FuseChannelAttention
from edgesmith.exporter.patterns.fuse.ggem_pool import FuseGGeMPool
from edgesmith.exporter.patterns.fuse.window_attention import FuseWindowAttention
from edgesmith.exporter.patterns.matchers.moves import move, number_elements

# --- windows of 2 x 2 on a map of 4 x 6, 2 heads of 2

CUT = "c0 = Reshape(x, six) c1 = Transpose<perm = [0, 1, 3, 2, 4, 5]>(c0) w = Reshape(c1, windows) "
QKV = "p = MatMul(w, wq) pb = Add(p, bq) h0 = Reshape(pb, heads) h = Transpose<perm = [0, 2, 1, 3]>(h0) "
JOIN = (
    "o0 = Transpose<perm = [0, 2, 1, 3]>(a) o = Reshape(o0, windows) e = MatMul(o, wo) eb = Add(e, bo) j0 = Reshape(eb, joined) "
    "j1 = Transpose<perm = [0, 1, 3, 2, 4, 5]>(j0) y = Reshape(j1, image)"
)
VIEWS = (
    "int64[6] six = {BATCH, 2, 2, 3, 2, 4}, int64[3] windows = {-1, 4, 4}, int64[4] heads = {-1, 4, 2, 2}, "
    "int64[6] joined = {BATCH, 2, 3, 2, 2, 4}, int64[4] image = {BATCH, 4, 6, 4}, int64[4] tall = {BATCH, 6, 4, 4}, "
)
WEIGHTS = weights(wq=(4, 4), bq=(4,), wo=(4, 4), bo=(4,))
BODY = CUT + QKV + "a = Softmax<axis = -1>(h) " + JOIN


def windows(body: str = BODY, made: str = "y", constants: str = WEIGHTS, batch: str = "2") -> str:
    views = VIEWS.replace("BATCH", "-1" if batch == "batch" else batch)
    return graph(f"{batch}, 4, 6, 4 x", made, body, views + constants)


@pytest.mark.parametrize(
    ("before", "after", "made", "count"),
    [
        ("", "", "y", 2),
        ("pb = Add(p, bq)", "pb = Add(bq, p)", "y", 2),
        ("y = Reshape(j1, image)", "y = Reshape(j1, tall)", "y", None),
        ("[0, 1, 3, 2, 4, 5]>(c0)", "[0, 1, 3, 4, 2, 5]>(c0)", "y", None),
        ("[0, 1, 3, 2, 4, 5]>(j0)", "[0, 1, 3, 4, 2, 5]>(j0)", "y", None),
        ("[0, 2, 1, 3]>(h0)", "[0, 1, 2, 3]>(h0)", "y", None),
        ("", "", "y; w", 1),
        ("", "", "y; pb", 1),
        ("", "", "y; p", None),
        ("", "", "y; h", 2),
        ("", "", "y; c1", None),
        ("", "", "y; o", 1),
        ("", "", "y; e", None),
        ("", "", "y; j1", None),
    ],
)
@pytest.mark.parametrize("batch", ["2", "batch"])
def test_near_windows(before, after, made, count, batch):
    body = BODY.replace(before, after) if before else BODY
    if "0, 1, 2, 3" in body:
        body = body.replace("o0 = Transpose<perm = [0, 2, 1, 3]>(a)", "o0 = Transpose<perm = [0, 1, 2, 3]>(a)")
    text = windows(body, made, batch=batch)
    if batch == "batch" and count:
        count = None  # as far as the shapes are known
    assert_sound(MergeWindows, half(text) if made == "y" and not before else text, count)


@pytest.mark.parametrize("bias", [(1, 1, 4), (4, 4), (1,)])
def test_windows_with_biases_of_more_axes(bias):
    assert_sound(MergeWindows, windows(constants=weights(wq=(4, 4), bq=bias, wo=(4, 4), bo=bias)))


# --- one window attention, fused

ATTEND = (
    "q0 = MatMul(w, wq) q1 = Reshape(q0, heads) q = Transpose<perm = [0, 2, 1, 3]>(q1) "
    "k0 = MatMul(w, wk) k1 = Reshape(k0, heads) k = Transpose<perm = [0, 2, 3, 1]>(k1) "
    "v0 = MatMul(w, wv) v1 = Reshape(v0, vheads) v = Transpose<perm = [0, 2, 1, 3]>(v1) "
    "s = MatMul(q, k) t = Softmax<axis = -1>(s) a = MatMul(t, v) "
)
ATTENTION = CUT + ATTEND + JOIN


def attention(body: str = ATTENTION, made: str = "y", v: int = 4) -> str:
    constants = WEIGHTS.replace("wq =", "w9 =") + ", " + weights(wq=(4, 4), wk=(4, 4), wv=(4, v))
    return windows(body, made, f"int64[4] vheads = {{-1, 4, 2, {v // 2}}}, " + constants)


@pytest.mark.parametrize(
    ("before", "after", "made", "count"),
    [
        ("", "", "y", 1),
        ("axis = -1", "axis = 2", "y", 0),
        ("", "", "y; q1", 0),
        ("", "", "y; v", None),  # computed as before, and the op beside it
        ("", "", "y; w", None),
        ("", "", "y; s", 0),
        ("", "", "y; o", 0),
        ("k0 = MatMul(w, wk)", "w2 = Relu(w) k0 = MatMul(w2, wk)", "y", 0),
        ("e = MatMul(o, wo)", "o9 = Relu(o) e = MatMul(o9, wo)", "y", 0),
        ("y = Reshape(j1, image)", "y = Reshape(j1, tall)", "y", None),
    ],
)
def test_near_fused_windows(before, after, made, count):
    assert_sound(FuseWindowAttention, attention(ATTENTION.replace(before, after) if before else ATTENTION, made), count)


def test_v_of_another_width_is_not_fused():
    constants = "int64[4] vheads = {-1, 4, 2, 3}, int64[3] outs = {-1, 4, 6}, "
    constants += weights(wq=(4, 4), wk=(4, 4), wv=(4, 6), wo=(6, 4), bo=(4,))
    body = ATTENTION.replace("o = Reshape(o0, windows)", "o = Reshape(o0, outs)")
    assert_sound(FuseWindowAttention, windows(body, "y", constants), 0, "differ in size")


# --- channels

CHANNELS = (
    "q0 = MatMul(x, wq) q1 = Reshape(q0, heads) q = Transpose<perm = [0, 2, 3, 1]>(q1) "
    "k0 = MatMul(x, wk) k1 = Reshape(k0, heads) k = Transpose<perm = [0, 2, 1, 3]>(k1) "
    "v0 = MatMul(x, wv) v1 = Reshape(v0, heads) v = Transpose<perm = [0, 2, 3, 1]>(v1) "
    "s = MatMul(q, k) z = Mul(s, scale) t = Softmax<axis = -1>(z) a = MatMul(t, v) o = Transpose<perm = [0, 3, 1, 2]>(a) "
    "y = Reshape(o, tokens)"
)


@pytest.mark.parametrize(
    ("before", "after", "made"),
    [
        ("", "", "y"),
        ("axis = -1", "axis = 2", "y"),
        ("axis = -1", "axis = 1", "y"),
        ("", "", "y; s"),
        ("", "", "y; q1"),
        ("", "", "y; v0"),
        ("", "", "y; a"),
        ("", "", "y; o"),
        ("v1 = Reshape(v0, heads)", "v9 = Mul(v0, scale) v1 = Reshape(v9, heads)", "y"),
        ("a = MatMul(t, v)", "u = Relu(t) a = MatMul(u, v)", "y"),
        ("o = Transpose<perm = [0, 3, 1, 2]>(a)", "o = Transpose<perm = [0, 3, 2, 1]>(a)", "y"),
        ("k0 = MatMul(x, wk)", "x2 = Relu(x) k0 = MatMul(x2, wk)", "y"),
        ("s = MatMul(q, k)", "s = MatMul(q, k) z9 = Neg(s)", "y; z9"),
    ],
)
@pytest.mark.parametrize("step", [PackedChannels, SeparateChannels, FuseChannelAttention])
@pytest.mark.parametrize("batch", ["1", "batch"])
def test_near_channels(before, after, made, step, batch):
    body = CHANNELS.replace(before, after) if before else CHANNELS
    constants = "int64[4] heads = {-1, 6, 2, 3}, int64[3] tokens = {-1, 6, 6}, float scale = {0.3}, "
    text = graph(f"{batch}, 6, 6 x", made, body, constants + weights(wq=(6, 6), wk=(6, 6), wv=(6, 6)))
    assert_sound(step, text)


PROJECT = (
    "a, b, c = Split<axis = 1>(x, thirds) bt = Transpose<perm = [0, 1, 3, 2]>(b) s = MatMul(a, bt) t = Softmax<axis = -1>(s) "
    "o = MatMul(t, c) f = Reshape(o, flat) g = Transpose<perm = [0, 2, 1]>(f) y = MatMul(g, w)"
)


@pytest.mark.parametrize(
    ("before", "after", "inputs", "made", "count"),
    [
        ("", "", "1, 6, 3, 260 x", "y", 1),
        ("", "", "2, 6, 3, 260 x", "y", 0),
        ("", "", "1, 6, 3, 256 x", "y", 0),
        ("axis = -1", "axis = 2", "1, 6, 3, 260 x", "y", 0),
        ("axis = -1", "axis = 3", "1, 6, 3, 260 x", "y", 1),
        ("", "", "1, 6, 3, 260 x", "y; t", 0),
        ("", "", "1, 6, 3, 260 x", "y; c", 0),
        ("", "", "1, 6, 3, 260 x", "y; bt", 0),
        ("", "", "1, 6, 3, 260 x", "y; g", 0),
        ("", "", "1, 6, 3, 260 x", "y; s", None),
        ("MatMul(t, c)", "MatMul(t, a)", "1, 6, 3, 260 x", "y", 0),
        ("y = MatMul(g, w)", "g9 = Relu(g) y = MatMul(g9, w)", "1, 6, 3, 260 x", "y", 0),
        ("t = Softmax<axis = -1>(s)", "s9 = Add(s, s) t = Softmax<axis = -1>(s9)", "1, 6, 3, 260 x", "y", 0),
        ("perm = [0, 1, 3, 2]>(b)", "perm = [1, 0, 3, 2]>(b)", "1, 6, 3, 260 x", "y", 0),
    ],
)  # fmt: skip
def test_near_projections_of_channels(before, after, inputs, made, count):
    body = PROJECT.replace(before, after) if before else PROJECT
    batch, tokens = inputs.split(", ")[0], inputs.split(", ")[-1].split()[0]
    constants = f"int64[3] thirds = {{2, 2, 2}}, int64[3] flat = {{{batch}, 6, {tokens}}}, " + weights(w=(6, 5))
    if "[1, 0, 3, 2]" in body:
        body = body.replace("s = MatMul(a, bt)", "b1 = Transpose<perm = [1, 0, 2, 3]>(bt) s = MatMul(a, b1)")
    assert_sound(ProjectChannels, graph(inputs, made, body, constants), count)


@pytest.mark.parametrize("outputs", [259, 260, 261])
def test_a_wide_projection_stays_behind_the_attention(outputs):
    constants = "int64[3] thirds = {2, 2, 2}, int64[3] flat = {1, 6, 260}, " + weights(w=(6, outputs))
    assert_sound(ProjectChannels, graph("1, 6, 3, 260 x", "y", PROJECT, constants), int(outputs < 260))


# --- GGeM as one op

POOL = "a = Clip(x, eps) b = Reshape(a, grouped) c = Pow(b, p) d = ReduceMean<keepdims = 0>(c, axis) e = Pow(d, q) y = Reshape(e, flat)"
GROUPS = "float eps = {0.01}, int64[4] grouped = {0, 0, 4, 4}, int64[1] axis = {1}, int64[2] flat = {-1, 16}, int64[4] across = {-1, 9, 4, 2}, "
POWERS = "float[4, 1] p = {3.0, 2.0, 1.0, 4.0}, float[4, 1] q = {0.33333334, 0.5, 1.0, 0.25}"


@pytest.mark.parametrize(
    ("body", "powers", "count"),
    [
        (POOL, POWERS, 1),
        (POOL, POWERS.replace("4, 1]", "1, 4]"), 1),
        (POOL, POWERS.replace("float[4, 1] q", "float[1, 4] q"), 0),  # another root for each channel
        (POOL, POWERS.replace("float[4, 1] p", "float[1, 4] p"), 0),
        (POOL.replace("Clip(x, eps)", "Clip(x, eps, top)"), POWERS + ", float top = {0.9}", 0),
        (POOL.replace("Clip(x, eps)", "Max(x, eps, x2)").replace("a = ", "x2 = Neg(x) a = "), POWERS, 0),
        (POOL.replace("keepdims = 0", "keepdims = 1"), POWERS, 0),
        (POOL.replace("(a, grouped)", "(a, across)"), POWERS, 0),
    ],
)
def test_near_fused_pools(body, powers, count):
    body = body.replace("e = Pow(d, q)", "d1 = Squeeze(d, axis) e = Pow(d1, q)") if "keepdims = 1" in body else body
    assert_sound(FuseGGeMPool, graph("batch, 9, 16 x", "float[n, 16] y", body, GROUPS + powers), count)


# --- elements that move


@pytest.mark.parametrize(
    ("body", "moves"),
    [
        ("y = Slice(x, zero, two, zero)", False),  # two of an open number: what it takes of two says nothing of three
        ("y = Slice(x, zero, two, one)", True),
        ("y = Slice(x, zero, two, minus)", True),
        ("y = Gather<axis = 0>(x, zero)", False),
        ("y = Gather<axis = 1>(x, zero)", True),
        ("y, z = Split<axis = 1>(x, parts)", True),
        ("y, z = Split<axis = 1, num_outputs = 2>(x)", True),
        ("y = Slice(x, two, zero, one, minus)", False),
        ("u = Transpose<perm = [1, 0, 2]>(x) y = Slice(u, zero, two, one)", False),
        ("u = Transpose<perm = [1, 0, 2]>(x) y = Slice(u, zero, two, zero)", True),
        ("u = Unsqueeze(x, one) y = Squeeze(u, one)", True),
        ("u = Unsqueeze(x, one) y = Squeeze(u)", False),
    ],
)
def test_elements_are_followed_where_every_size_is_known(body, moves):
    constants = (
        "int64[1] zero = {0}, int64[1] one = {1}, int64[1] two = {2}, int64[1] minus = {-1}, int64[2] parts = {1, 3}"
    )
    model = read(graph("batch, 4, 6 x", "float[a, b, c] y", body, constants))
    path = [(node, node.inputs[0], node.outputs[0]) for node in model.graph]
    assert (move(number_elements(model.graph.inputs[0]), path) is not None) == moves


def test_a_split_whose_parts_are_fed_is_not_followed():
    model = read(
        graph(
            "batch, 4, 6 x; 2 p",
            "float[a, b, c] y; float[d, e, f] z",
            "q = Cast<to = 7>(p) y, z = Split<axis = 1>(x, q)",
        )
    )
    split = model.graph.node(1)
    assert move(np.arange(48).reshape(2, 4, 6), [(split, split.inputs[0], split.outputs[0])]) is None


def test_heads_of_a_view_that_joins_windows_are_none():
    """Two windows of four tokens seen as one of eight: an exchange of heads and tokens, of other windows."""
    constants = WEIGHTS.replace("float", "int64[4] pairs = {-1, 8, 2, 2}, float", 1)
    body = BODY.replace("h0 = Reshape(pb, heads)", "h0 = Reshape(pb, pairs)")
    assert_sound(MergeWindows, windows(body, constants=constants), 0, "not split into heads")


SOME = "int64[4] heads = {2, 6, 2, 3}, int64[4] one = {2, 6, 1, 3}, int64[3] tokens = {2, 6, 6}, float scale = {0.3}, "


@pytest.mark.parametrize("step", [PackedChannels, SeparateChannels, FuseChannelAttention])
@pytest.mark.parametrize("letter", ["q", "k", "v"])
def test_a_factor_of_one_head_beside_two_of_two(step, letter):
    """The product broadcasts it; the layers of a block have as many heads each."""
    body = CHANNELS.replace(f"Reshape({letter}0, heads)", f"Reshape({letter}0, one)")
    sides = {f"w{each}": (6, 3 if each == letter else 6) for each in "qkv"}
    assert_sound(step, graph("2, 6, 6 x", "y", body, SOME + weights(**sides)), 0)


@pytest.mark.parametrize(("step", "count"), [(PackedChannels, 1), (SeparateChannels, 1), (FuseChannelAttention, 1)])
def test_channels_without_a_change_are_rewritten(step, count):
    assert_sound(step, graph("2, 6, 6 x", "y", CHANNELS, SOME + weights(wq=(6, 6), wk=(6, 6), wv=(6, 6))), count)


@pytest.mark.parametrize(
    "body",
    ["y = Softmax(x)", "r = Relu(x) y = Softmax(r)", "m = MatMul(x, x) y = Softmax(m)",
     "m = MatMul(x, x) t = Softmax(m) y = Relu(t)", "m = MatMul(x, x) t = Softmax(m) y = MatMul(x, t)",
     "m = MatMul(x, x) t = Softmax(m) y = MatMul(t, x)",
     "m = MatMul(x, x) t = Softmax<axis = 2>(m) y = MatMul(t, x)"],
)  # fmt: skip
def test_other_softmaxes_are_no_attention_of_channels(body):
    text = graph("1, 2, 3, 3 x", "y", body)
    for step in (ProjectChannels, PackedChannels, FuseChannelAttention):
        assert_sound(step, text, 0)
        assert step().run(read(text)).refused == ()


@pytest.mark.parametrize("step", [PackedChannels, SeparateChannels, FuseChannelAttention])
@pytest.mark.parametrize("letter", ["q", "k", "v"])
def test_a_factor_that_is_no_heads_of_its_layer(step, letter):
    """Its numbers are dealt out in another order, so no columns of the layer make it."""
    start = CHANNELS.index(f"{letter} = ")
    body = CHANNELS[:start] + f"{letter} = Reshape({letter}0, dealt)" + CHANNELS[CHANNELS.index(")", start) + 1 :]
    dealt = "int64[4] dealt = {2, 2, 6, 3}, " if letter == "k" else "int64[4] dealt = {2, 2, 3, 6}, "
    assert_sound(step, graph("2, 6, 6 x", "y", body, dealt + SOME + weights(wq=(6, 6), wk=(6, 6), wv=(6, 6))), 0)


def test_channels_of_which_one_product_is_whole_are_not_yet_apart():
    """a has a product of its own, b and c share one."""
    body = CHANNELS.replace(
        "k0 = MatMul(x, wk) k1 = Reshape(k0, heads)",
        "kv = MatMul(x, wkv) k0, v0 = Split<axis = 2>(kv, both) k1 = Reshape(k0, heads)",
    )
    body = body.replace("v0 = MatMul(x, wv) ", "")
    text = graph("2, 6, 6 x", "y", body, "int64[2] both = {6, 6}, " + SOME + weights(wq=(6, 6), wkv=(6, 12)))
    model = assert_sound(SeparateChannels, text, 1)
    assert "Split" not in [node.op_type for node in model.graph]


def test_channels_of_an_open_number_of_tokens_stay():
    constants = "int64[3] thirds = {2, 2, 2}, int64[3] flat = {1, 6, -1}, " + weights(w=(6, 5))
    assert_sound(ProjectChannels, graph("1, 6, 3, tokens x", "y", PROJECT, constants), 0)


def test_windows_of_tokens_whose_number_was_not_told_stay():
    model = read(windows())
    made = {value.name: value for node in model.graph for value in node.outputs}
    for name, shape in (("pb", (12, "toks", 4)), ("h0", (12, "toks", 2, 2)), ("h", (12, 2, "toks", 2))):
        made[name].shape = ir.Shape(shape)
    record = MergeWindows().run(model)
    assert record.count == 1  # the join
    assert ["not split into heads" in refusal.why for refusal in record.refused] == [True]


def test_channels_of_three_products_of_which_one_is_wider():
    body = CHANNELS.replace("z = Mul(s, scale) t = Softmax<axis = -1>(z)", "t = Softmax<axis = -1>(s)")
    constants = (
        "int64[1] i0 = {0}, int64[1] i6 = {6}, int64[1] i2 = {2}, " + SOME + weights(wq=(6, 6), wk=(6, 6), wv=(6, 12))
    )
    assert_sound(SeparateChannels, graph("2, 6, 6 x", "y", body, constants.replace("6, 12] wv", "6, 12] w9")
                 + ", " + weights(wv=(6, 6))), 0)  # fmt: skip
    body = body.replace("v0 = MatMul(x, wv)", "v9 = MatMul(x, wv) v0 = Slice(v9, i0, i6, i2)")
    assert_sound(SeparateChannels, graph("2, 6, 6 x", "y", body, constants), 1)


@pytest.mark.parametrize(
    "way", ["Slice(x, zero, q, one)", "Slice(x, q, two, one)", "Slice(x, zero, two, q)", "Gather<axis = 1>(x, q)"]
)
def test_a_cut_that_is_fed_is_not_followed(way):
    body = f"q = Cast<to = 7>(p) y = {way}"
    model = read(
        graph("2, 4, 6 x; 1 p", "float[a, b, c] y", body, "int64[1] zero = {0}, int64[1] one = {1}, int64[1] two = {2}")
    )
    cut = model.graph.node(1)
    assert move(np.arange(48).reshape(2, 4, 6), [(cut, cut.inputs[0], cut.outputs[0])]) is None


@pytest.mark.parametrize(
    ("end", "made"), [("y = Relu(e)", "float[n, 4, 4] y"), ("y = Reshape(e, half)", "float[n, 8] y")]
)
def test_roots_that_are_not_brought_to_channels(end, made):
    body = POOL.replace("y = Reshape(e, flat)", end)
    text = graph("batch, 9, 16 x", made, body, GROUPS + "int64[2] half = {-1, 8}, " + POWERS)
    assert_sound(FuseGGeMPool, text, 0, "the roots are not brought to")


def test_windows_that_are_joined_two_by_two():
    text = windows().replace("joined = {2, 2, 3, 2, 2, 4}", "joined = {2, 1, 3, 4, 2, 4}")
    assert "{2, 1, 3, 4, 2, 4}" in text
    assert_sound(MergeWindows, text, 1)


@pytest.mark.parametrize("shape", [(2, 2, "side", 3, 2, 4), (None, 2, 2, 3, 2, 4)])
def test_a_cut_into_windows_of_an_unknown_size_stays(shape):
    model = read(windows())
    model.graph.node(0).outputs[0].shape = ir.Shape(shape)
    assert MergeWindows().run(model).count == 1  # the join


@pytest.mark.parametrize("step", [PackedChannels, SeparateChannels])
def test_channels_of_a_map(step):
    """Tokens that are a map stay one: a convolution may follow."""
    text = graph("2, 2, 3, 6 x", "n", CHANNELS + " n = Neg(y)", SOME + weights(wq=(6, 6), wk=(6, 6), wv=(6, 6)))
    model = assert_sound(step, text, 1)
    assert any(node.op_type == "Transpose" and tuple(node.outputs[0].shape) == (2, 2, 3, 6) for node in model.graph)
