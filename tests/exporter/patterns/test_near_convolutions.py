"""Convolutions that are nearly what a rewrite takes: other ranks, other shapes of constants, values with other readers."""

from __future__ import annotations

import pytest
from graph_asserts import weights
from near_misses import assert_sound, graph, half, read

from edgesmith.exporter.patterns.convolutions.chain_pools import ChainPools
from edgesmith.exporter.patterns.convolutions.depthwise_shortcut import FoldDepthwiseShortcut
from edgesmith.exporter.patterns.convolutions.focus_convolution import FocusConvolution
from edgesmith.exporter.patterns.convolutions.fold_batchnorm import FoldBatchNorm
from edgesmith.exporter.patterns.convolutions.grouped_convolution import WidenGroups
from edgesmith.exporter.patterns.convolutions.large_kernel_attention import FoldNormalisedShortcut
from edgesmith.exporter.patterns.convolutions.layer_scale import FoldLayerScale
from edgesmith.exporter.patterns.convolutions.rep_convolution import FoldRepConvolution
from edgesmith.exporter.patterns.convolutions.rescale_trunk import RescaleTrunk
from edgesmith.exporter.patterns.convolutions.scale_aware_modulation import MergeScaleHeads
from edgesmith.exporter.patterns.convolutions.twin_convolutions import MergeTwinConvolutions
from edgesmith.exporter.patterns.convolutions.upsample_late import UpsampleLate
from edgesmith.exporter.patterns.matchers.layers import linear

SIDES = {1: "7", 2: "5, 7", 3: "3, 4, 5"}  # of a map with so many axes
ranks = pytest.mark.parametrize("axes", [1, 2, 3])


def ones(axes: int, size: int = 1) -> tuple[int, ...]:
    return (size,) * axes


def with_leading_one(constants: str, name: str, axes: int) -> str:
    """(4, 1, ...) written as (1, 4, 1, ...), which is broadcast alike."""
    inner = ", ".join(map(str, (4, *ones(axes))))
    assert f"float[{inner}] {name} =" in constants
    return constants.replace(f"float[{inner}] {name} =", f"float[1, {inner}] {name} =")


# --- WidenGroups


@ranks
def test_groups_widen_at_every_rank(axes):
    constants = weights(w=(32, 4, *ones(axes)), b=(32,))
    assert_sound(WidenGroups, graph(f"batch, 32, {SIDES[axes]} x", "y", "y = Conv<group = 8>(x, w, b)", constants), 1)


@pytest.mark.parametrize(
    ("body", "shape", "count"),
    [
        ("y = Conv<group = 8>(x, w)", (8, 4, 1, 1), 1),  # one output a group
        ("y = Conv<group = 32>(x, w)", (64, 1, 1, 1), 1),  # two outputs of each channel: no depthwise one
        ("y = Conv<group = 32>(x, w)", (32, 1, 1, 1), 0),
        ("y = Conv<group = 8, strides = [2, 1], pads = [1, 0, 0, 1]>(x, w)", (16, 4, 1, 1), 1),
        ("y = Conv<group = 2>(x, w)", (4, 16, 1, 1), 0),
        ("y = Conv<group = 8>(x, w) z = Conv<group = 8>(y, w)", (32, 4, 1, 1), 2),  # two layers of one weight
    ],
)
def test_groups_of_other_shapes(body, shape, count):
    made = "y; z" if "z =" in body else "y"
    assert_sound(WidenGroups, graph("2, 32, 3, 3 x", made, body, weights(w=shape)), count)


# --- FoldNormalisedShortcut and RescaleTrunk

NORM = "n = BatchNormalization<epsilon = 0.01>(x, s, t, m, v) "


def van(axes: int, body: str, made: str = "y", extra: str = "", factor: tuple[int, ...] | None = None) -> str:
    constants = weights(
        s=(4,), t=(4,), m=(4,), v=(4,), w1=(4, 4, *ones(axes)), b1=(4,), w3=(4, 4, *ones(axes, 3)), ls=factor or (4, *ones(axes))
    )  # fmt: skip
    return graph(f"batch, 4, {SIDES[axes]} x", made, body, ", ".join(filter(None, [constants, extra])))


@ranks
@pytest.mark.parametrize(
    "branch",
    [
        "c = Conv(n, w1, b1) ",  # the whole branch is one convolution
        "c = Conv(n, w1) ",
        "p = Conv(n, w1, b1) u = Relu(p) c = Conv(u, w1, b1) ",
        "p = Conv(n, w1, b1) u = Relu(p) q = Conv(n, w1) o = Mul(u, q) c = Conv(o, w1) ",
    ],
)
def test_the_scale_of_the_norm_reaches_every_branch(axes, branch):
    assert_sound(FoldNormalisedShortcut, van(axes, NORM + branch + "a = Add(n, c) l = Mul(ls, a) y = Add(x, l)"), 1)


LAST = "c = Conv(n, w1, b1) a = Add(n, c) l = Mul(ls, a) y = Add(x, l)"


@pytest.mark.parametrize(
    ("body", "made", "because"),
    [
        (NORM + LAST, "y; n", "does not meet"),
        (NORM + LAST, "y; a", "expected a layer scale"),
        (NORM + LAST, "y; l", "expected a layer scale"),
        (NORM + LAST + " r = Relu(n)", "y; r", "unpadded convolutions"),
        (NORM + LAST.replace("Add(n, c)", "Add(n, n)"), "y; c", ""),
        (NORM + LAST.replace("Add(x, l)", "Sub(x, l)"), "y", "expected a layer scale"),
        (NORM + LAST.replace("Add(x, l)", "Add(c, l)"), "y", ""),
        (NORM + LAST.replace("Mul(ls, a)", "Div(a, ls)"), "y", "expected a layer scale"),
        (NORM.replace("v)", "m0)") + "m0 = Abs(m) " + LAST, "y", None),
        (NORM + LAST.replace("n, w1, b1", "n, computed"), "y", ""),
    ],
)  # fmt: skip
def test_near_van(body, made, because):
    body = body.replace("m0 = Abs(m) ", "") if body.index("n =") < body.find("m0 =") else body
    if "m0" in body:
        body = "m0 = Abs(w0) " + body
    if "computed" in body:
        body = "computed = Relu(w1) " + body
    text = van(2, body, made).replace("7] x)", "7] x, float[4] w0)" if "m0" in body else "7] x)")
    assert_sound(FoldNormalisedShortcut, text, 0, because or "")


def test_a_layer_scale_of_more_axes_than_the_map_stays():
    """(1, 1, 4, 1, 1) on four axes gives five."""
    assert_sound(FoldNormalisedShortcut, van(2, NORM + LAST, factor=(1, 1, 4, 1, 1)), 0)
    assert_sound(FoldNormalisedShortcut, van(2, NORM + LAST, factor=(1, 4, 1, 1)), 1)


def test_a_sum_that_is_broadcast_to_more_channels_is_no_shortcut():
    constants = weights(s=(1,), t=(1,), m=(1,), v=(1,), w1=(4, 1, 1, 1), ls=(4, 1, 1))
    body = NORM + "c = Conv(n, w1) a = Add(n, c) l = Mul(ls, a) y = Add(x, l)"
    assert_sound(FoldNormalisedShortcut, graph("batch, 1, 5, 7 x", "y", body, constants))


@ranks
@pytest.mark.parametrize("factor", ["f", "1f"])
def test_factors_leave_trunks_of_every_rank(axes, factor):
    constants = weights(
        we=(4, 4, *ones(axes)), w1=(4, 4, *ones(axes)), b1=(4,), w3=(4, 4, *ones(axes, 3)), f=(4, *ones(axes))
    )
    constants = constants if factor == "f" else with_leading_one(constants, "f", axes)
    pads = ", ".join(["1"] * 2 * axes)
    body = (
        f"x = Conv(i, we) p = Conv<pads = [{pads}]>(x, w3, b1) r = Relu(p) q = Conv(r, w1) m = Mul(x, f) z = Add(m, q) "
    )
    made, tail = "y", "k = Conv(z, w1, b1) y = Add(z, k)"
    assert_sound(RescaleTrunk, graph(f"batch, 4, {SIDES[axes]} i", made, body + tail, constants), 1)
    assert_sound(RescaleTrunk, graph(f"batch, 4, {SIDES[axes]} i", "y; p", body + tail, constants), 1)
    assert_sound(RescaleTrunk, graph(f"batch, 4, {SIDES[axes]} i", "y; x", body + tail, constants), 0)
    assert_sound(RescaleTrunk, graph(f"batch, 4, {SIDES[axes]} i", "y; m", body + tail, constants), 0)
    assert_sound(RescaleTrunk, graph(f"batch, 4, {SIDES[axes]} i", "y; q", body + tail, constants), 0)


TRUNK = "x = Conv(i, w1) p = Conv(x, w1) m = Mul(x, f) z = Add(m, p) "


@pytest.mark.parametrize(
    ("body", "factor", "count"),
    [
        (TRUNK, (4, 1, 1), 1),  # a branch of one layer reads and ends
        (TRUNK, (1, 1, 4, 1, 1), 0),
        (TRUNK, (4, 5, 7), 0),
        (TRUNK, (1,), 0),
        (TRUNK.replace("z = Add(m, p)", "z = Add(m, m)"), (4, 1, 1), 0),
        (TRUNK.replace("m = Mul(x, f)", "g = Mul(x, f) m = Relu(g)"), (4, 1, 1), 0),
        (TRUNK.replace("m = Mul(x, f)", "m = Mul(x, x)"), (4, 1, 1), 0),
        (TRUNK + "o = Relu(x) ", (4, 1, 1), 0),
        (TRUNK.replace("m = Mul(x, f)", "m = Div(x, f)"), (4, 1, 1), 0),
        (TRUNK.replace("p = Conv(x, w1)", "k = GlobalAveragePool(x) p = Conv(k, w1)"), (4, 1, 1), 0),
        (TRUNK + "g = Mul(z, f) k = Conv(z, w1) z2 = Add(g, k) o = Relu(z2) ", (4, 1, 1), 2),
        (TRUNK + "g = Mul(z, f) k = Conv(p2, w1) z2 = Add(g, k) o = Relu(z2) ", (4, 1, 1), 2),
    ],
)
def test_near_trunks(body, factor, count):
    body = body.replace("g = Mul(z, f) k = Conv(p2", "p2 = Relu(i) g = Mul(z, f) k = Conv(p2")
    made = "z; o" if "o = Relu(x)" in body else "o" if "o =" in body else "z"
    assert_sound(RescaleTrunk, graph("batch, 4, 5, 7 i", made, body, weights(w1=(4, 4, 1, 1), f=factor)), count)


# --- FoldLayerScale


@ranks
@pytest.mark.parametrize(
    ("shape", "count"),
    [("C1", 1), ("1C1", 1), ("11C1", 0), ("C", 0), ("one", 1), ("11111", 0), ("scalar", 1)],
)
def test_layer_scales_of_every_rank(axes, shape, count):
    sizes = {"C1": (4, *ones(axes)), "1C1": (1, 4, *ones(axes)), "11C1": (1, 1, 4, *ones(axes)), "C": (4,), "one": (1,),
             "11111": ones(axes + 3), "scalar": (1,)}[shape]  # fmt: skip
    constants = weights(w=(4, 3, *ones(axes)), b=(4,), ls=sizes)
    if shape == "scalar":
        constants = constants.replace("float[1] ls = {", "float ls = {")
    sides = "4" if shape == "C" and axes == 1 else SIDES[axes] if shape != "C" else ", ".join(["4"] * axes)
    assert_sound(
        FoldLayerScale, graph(f"batch, 3, {sides} x", "y", "c = Conv(x, w, b) y = Mul(c, ls)", constants), count
    )


@pytest.mark.parametrize(
    ("inputs", "factor", "bias", "count"),
    [
        ("batch, 5, 3 x", (4,), (4,), 1),
        ("batch, 5, 3 x", (1, 4), (1, 4), 1),
        ("batch, 5, 3 x", (1, 1, 4), (1, 1, 4), 1),
        ("batch, 5, 3 x", (1, 1, 1, 4), (4,), 0),
        ("batch, 5, 3 x", (4,), (1, 1, 1, 4), 0),
        ("batch, 5, 3 x", (5, 4), (4,), 0),
        ("batch, 5, 3 x", (4,), (5, 4), 0),
        ("3 x", (4,), (4,), 1),
        ("3 x", (1, 4), (4,), 0),
        ("batch, 5, 3 x", (4,), (1,), 0),
    ],
)
def test_layer_scales_behind_linear_layers(inputs, factor, bias, count):
    constants = weights(w=(3, 4), b=bias, ls=factor)
    assert_sound(FoldLayerScale, graph(inputs, "y", "p = MatMul(x, w) c = Add(p, b) y = Mul(c, ls)", constants), count)


@pytest.mark.parametrize("made", ["y; c", "y; p", "p; y"])
def test_layers_that_are_handed_out_keep_their_numbers(made):
    constants = weights(w=(3, 4), b=(4,), ls=(4,))
    assert_sound(
        FoldLayerScale, graph("2, 5, 3 x", made, "p = MatMul(x, w) c = Add(p, b) y = Mul(c, ls)", constants), 0
    )


def test_a_map_of_unknown_rank_keeps_its_factor_or_is_right():
    """The rank of the output of a convolution is that of its weights, whatever the file says."""
    constants = weights(w=(4, 3, 1, 1), ls=(4, 1, 1))
    text = graph("2, 3, 5, 5 x", "y", "c = Conv(x, w) y = Mul(c, ls)", constants)
    model = read(text)
    for node in list(model.graph)[:-1]:
        node.outputs[0].shape = None
    assert_sound(FoldLayerScale, model, 1)


# --- FoldBatchNorm

BN = weights(s=(4,), t=(4,), m=(4,), v=(4,), w=(4, 4, 1, 1), b=(4,), k=(4, 4, 3, 3))


@pytest.mark.parametrize(
    ("body", "count"),
    [
        ("n = BatchNormalization(x, s, t, m, v) o = BatchNormalization(n, t, s, m, v) y = Conv(o, w, b)", 2),
        ("n = BatchNormalization(x, s, t, m, v) o = BatchNormalization(n, t, s, m, v) a = BatchNormalization(o, t, s, m, v) y = Conv(a, w)", 3),
        ("c = Conv(x, w) n = BatchNormalization(c, s, t, m, v) y = BatchNormalization(n, t, s, m, v)", 2),
        ("c = Conv(x, w) n = BatchNormalization(c, s, t, m, v) o = BatchNormalization(n, t, s, m, v) y = Conv(o, k)", 2),
        ("n = BatchNormalization(x, s, t, m, v) y = Conv<strides = [2, 2]>(n, k, b)", 1),
        ("n = BatchNormalization(x, s, t, m, v) y = Conv<dilations = [2, 2]>(n, k, b)", 1),
        ("n = BatchNormalization(x, s, t, m, v) y = Conv<auto_pad = \"SAME_UPPER\">(n, k, b)", 0),
        ("n = BatchNormalization(x, s, t, m, v) y = Conv<auto_pad = \"VALID\">(n, k, b)", 1),
        ("n = BatchNormalization(x, s, t, m, v) c = Conv(n, w) y = Add(c, n)", 0),
        ("n = BatchNormalization(x, s, t, m, v) y = Conv(n, w) z = Conv<pads = [1, 1, 1, 1]>(n, k)", 0),
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["float", "half"])
def test_chains_of_norms(body, count, kind):
    text = graph("batch, 4, 7, 7 x", "y; z" if "z =" in body else "y", body, BN)
    assert_sound(FoldBatchNorm, half(text) if kind == "half" else text, count)


@ranks
def test_norms_of_every_rank(axes):
    constants = weights(s=(4,), t=(4,), m=(4,), v=(4,), w=(6, 2, *ones(axes, 3)), b=(6,))
    after = "c = Conv<group = 2>(x, w, b) y = BatchNormalization(c, s6, t6, s6, t6)"
    text = graph(f"batch, 4, {', '.join(['7'] * axes)} x", "y", after, constants + ", " + weights(s6=(6,), t6=(6,)))
    assert_sound(FoldBatchNorm, text, 1)
    before = "n = BatchNormalization(x, s, t, m, v) y = Conv<group = 2>(n, w, b)"
    assert_sound(FoldBatchNorm, graph(f"batch, 4, {', '.join(['7'] * axes)} x", "y", before, constants), 1)


# --- FoldRepConvolution and FoldDepthwiseShortcut


@ranks
@pytest.mark.parametrize(("form", "count"), [("two", 1), ("shortcut", 1), ("norm", 1), ("dilated", 1), ("half", 1)])
def test_branches_of_every_rank(axes, form, count):
    constants = weights(w=(4, 4, *ones(axes, 3)), one=(4, 4, *ones(axes)), b=(4,), s=(4,), t=(4,), m=(4,), v=(4,))
    pads, dilation = ", ".join(["1"] * 2 * axes), ", ".join(["2"] * axes)
    large = f"d = Conv<pads = [{pads}]>(x, w, b) "
    body = {
        "two": large + "p = Conv(x, one) y = Add(d, p)",
        "half": large + "p = Conv(x, one) y = Add(d, p)",
        "shortcut": large + "y = Add(x, d)",
        "norm": large + "p = BatchNormalization(x, s, t, m, v) y = Add(d, p)",
        "dilated": f"d = Conv<pads = [{pads.replace('1', '2')}], dilations = [{dilation}]>(x, w, b) p = Conv(x, one) y = Add(d, p)",
    }[form]
    text = graph(f"batch, 4, {SIDES[axes]} x", "y", body, constants)
    assert_sound(FoldRepConvolution, half(text) if form == "half" else text, count)


REP = weights(
    w=(4, 4, 3, 3), w5=(4, 4, 1, 5), u=(4, 4, 1, 3), one=(4, 4, 1, 1), dw=(4, 1, 3, 3), s=(4,), t=(4,), m=(4,), v=(4,)
)


@pytest.mark.parametrize(
    ("body", "count"),
    [
        ("d = Conv<pads = [1, 1, 1, 1]>(x, w) y = Add(d, d)", 0),
        ("d = Conv<pads = [1, 1, 1, 1]>(x, w) p = Conv<pads = [0, 1, 0, 1]>(x, u) y = Add(d, p)", 1),
        ("d = Conv<pads = [1, 1, 1, 1]>(x, w) p = Conv<pads = [0, 2, 0, 2], dilations = [1, 2]>(x, u) y = Add(d, p)", 0),
        ("d = Conv<pads = [2, 2, 2, 2], dilations = [2, 2]>(x, w) p = Conv<pads = [0, 2, 0, 2], dilations = [1, 2]>(x, u) y = Add(d, p)", 1),
        ("d = Conv<pads = [2, 2, 2, 2], dilations = [2, 2]>(x, w) p = Conv<pads = [0, 1, 0, 1]>(x, u) y = Add(d, p)", 0),
        ("d = Conv<pads = [2, 2, 2, 2], dilations = [2, 2]>(x, w) y = Add(d, x)", 0),
        ("d = Conv<pads = [1, 1, 1, 1]>(x, w) y = Sub(d, x)", 0),
        (
            "d = Conv<pads = [0, 2, 0, 2]>(x, w5) p = Conv<pads = [0, 2, 0, 2], dilations = [1, 2]>(x, u) y = Add(d, p)",
            0,
        ),  # every other tap of five
        ("d = Conv<pads = [1, 1, 1, 1]>(x, w) e = Conv<pads = [1, 1, 1, 1]>(x, w) y = Add(d, e) z = Relu(e)", 0),
        ("d = Conv<group = 4, pads = [1, 1, 1, 1]>(x, dw) y = Add(d, x)", 0),
        ("d = Conv<pads = [1, 1, 1, 1]>(x, w) n = BatchNormalization(x, s, t, m, v) y = Add(d, n) z = Relu(n)", 0),
        ("d = Conv(x, w) p = GlobalAveragePool(d) y = Add(d, p)", 0),
    ],
)  # fmt: skip
def test_near_branches(body, count):
    assert_sound(FoldRepConvolution, graph("batch, 4, 6, 7 x", "y; z" if "z =" in body else "y", body, REP), count)


@ranks
def test_depthwise_shortcuts_of_every_rank(axes):
    pads = ", ".join(["1"] * 2 * axes)
    body = f"d = Conv<group = 4, pads = [{pads}]>(x, w, b) y = Add(d, x)"
    constants = weights(w=(4, 1, *ones(axes, 3)), b=(4,))
    assert_sound(FoldDepthwiseShortcut, graph(f"batch, 4, {SIDES[axes]} x", "y", body, constants), 1)


@pytest.mark.parametrize(
    ("body", "shape", "count"),
    [
        ("d = Conv<group = 4, pads = [1, 1, 1, 1]>(x, w) y = Sub(x, d)", (4, 1, 3, 3), 0),
        ("d = Conv<group = 4, pads = [1, 1, 1, 1]>(x, w) y = Add(d, d)", (4, 1, 3, 3), 0),
        ("d = Conv<group = 4, pads = [2, 2, 2, 2], dilations = [2, 2]>(x, w) y = Add(x, d)", (4, 1, 3, 3), 0),
        ("d = Conv<group = 4>(x, w) y = Add(x, d)", (4, 1, 1, 1), 1),
        ("r = Relu(x) d = Conv<group = 4>(r, w) y = Add(x, d)", (4, 1, 1, 1), 0),
        ('d = Conv<group = 4, auto_pad = "SAME_UPPER">(x, w) y = Add(x, d)', (4, 1, 3, 3), 0),
    ],
)
def test_near_depthwise_shortcuts(body, shape, count):
    assert_sound(FoldDepthwiseShortcut, graph("batch, 4, 6, 7 x", "y", body, weights(w=shape)), count)


# --- FocusConvolution

PHASES = (
    "p00 = Slice(x, z2, end, ax, two) p10 = Slice(x, s10, end, ax, two) "
    "p01 = Slice(x, s01, end, ax, two) p11 = Slice(x, s11, end, ax, two) cat = Concat<axis = 1>(p00, p10, p01, p11) "
)
CUTS = (
    "int64[2] z2 = {0, 0}, int64[2] s10 = {1, 0}, int64[2] s01 = {0, 1}, int64[2] s11 = {1, 1}, int64[2] ax = {2, 3}, "
    "int64[2] two = {2, 2}, int64[2] end = {9223372036854775807, 9223372036854775807}, "
)


@pytest.mark.parametrize(
    ("last", "count"),
    [
        ("y = Conv(cat, w, b)", 1),
        ('y = Conv<auto_pad = "VALID">(cat, w, b)', 1),
        ('y = Conv<auto_pad = "NOTSET", pads = [1, 0, 1, 2]>(cat, w, b)', 1),
        ('y = Conv<auto_pad = "SAME_UPPER">(cat, w, b)', 0),
        ('y = Conv<auto_pad = "SAME_LOWER", strides = [2, 2]>(cat, w, b)', 0),
        ('y = Conv<auto_pad = "VALID", strides = [2, 1], kernel_shape = [3, 3]>(cat, w, b)', 1),
    ],
)
def test_focus_with_every_padding(last, count):
    text = graph("batch, 2, 8, 12 x", "y", PHASES + last, CUTS + weights(w=(3, 8, 3, 3), b=(3,)))
    model = assert_sound(FocusConvolution, text, count)
    if count:
        assert (
            model.graph.node(-1).attributes.get("auto_pad") is None
            or model.graph.node(-1).attributes["auto_pad"].value == "NOTSET"
        )


@pytest.mark.parametrize(
    ("before", "after", "count"),
    [
        ("ax = {2, 3}", "ax = {2, -1}", 0),
        ("ax = {2, 3}", "ax = {3, 2}", 1),
        ("end = {9223372036854775807, 9223372036854775807}", "end = {8, 12}", 1),
        ("end = {9223372036854775807, 9223372036854775807}", "end = {8, 10}", 0),
        ("p11 = Slice(x, s11, end, ax, two)", "p11 = Slice(x, s01, end, ax, two)", 0),
        ("cat = Concat<axis = 1>(p00, p10, p01, p11)", "cat = Concat<axis = 1>(p11, p00, p10, p01)", 1),
    ],
)
def test_near_phases(before, after, count):
    text = graph("2, 2, 8, 12 x", "y", PHASES + "y = Conv(cat, w)", CUTS + weights(w=(3, 8, 3, 3)))
    assert before in text
    assert_sound(FocusConvolution, text.replace(before, after), count)


# --- MergeScaleHeads

HEADS = (
    "t = Conv(x, m, b) g0, g1 = Split<axis = 1, num_outputs = 2>(t) d0 = Conv<group = 2, pads = P0>(g0, w0, c) "
    "d1 = Conv<group = 2, pads = P1>(g1, w1) u0 = Unsqueeze(d0, two) u1 = Unsqueeze(d1, two) k = Concat<axis = 2>(u0, u1) "
    "y = Reshape(k, whole)"
)


def heads(axes: int, kernels: tuple[tuple[int, ...], ...], body: str = HEADS, groups: int = 1, made: str = "y") -> str:
    for index, kernel in enumerate(kernels):
        body = body.replace(f"P{index}", str([size // 2 for size in kernel] * 2))
    constants = weights(m=(4, 6 // groups, *ones(axes)), b=(4,), w0=(2, 1, *kernels[0]), w1=(2, 1, *kernels[1]), c=(2,))
    target = f"int64[{axes + 2}] whole = {{-1, 4, {SIDES[axes]}}}, int64[1] two = {{2}}, "
    made = made.replace("y", f"float[batch, 4, {SIDES[axes]}] y")
    return graph(f"batch, 6, {SIDES[axes]} x", made, body, target + constants)


@pytest.mark.parametrize(
    ("axes", "kernels"),
    [(1, ((3,), (5,))), (2, ((3, 3), (5, 5))), (2, ((3, 5), (5, 3))), (2, ((1, 7), (5, 5))), (2, ((3, 3), (3, 3))), (3, ((3, 3, 3), (1, 3, 5)))],
)  # fmt: skip
def test_scale_heads_of_every_rank_and_shape(axes, kernels):
    assert_sound(MergeScaleHeads, heads(axes, kernels), 1)


@pytest.mark.parametrize(
    ("before", "after", "groups", "made", "because"),
    [
        ("t = Conv(x, m, b)", "t = Conv<group = 2>(x, m, b)", 2, "y", "no linear layer with no other uses"),
        ("t = Conv(x, m, b)", "t = Conv(x, m, b)", 1, "y; t", "no linear layer with no other uses"),
        ("t = Conv(x, m, b)", "a = Conv(x, m, b) t = Relu(a)", 1, "y", "no linear layer with no other uses"),
        ("Concat<axis = 2>(u0, u1)", "Concat<axis = 2>(u1, u0)", 1, "y", "not interleaved"),
        ("Concat<axis = 2>(u0, u1)", "Concat<axis = 1>(u0, u1)", 1, "y", "not interleaved"),
        ("u0 = Unsqueeze(d0, two)", "u0 = Unsqueeze(d0, one) ", 1, "y", "not interleaved"),
        ("d1 = Conv<group = 2, pads = P1>(g1, w1)", "d1 = Conv<group = 2, pads = P1>(g0, w1)", 1, "y", ""),
        ("d1 = Conv<group = 2, pads = P1>(g1, w1)", "d1 = Conv<group = 2, pads = P1>(g1, w1)", 1, "y; d1", "not interleaved"),
        ("d1 = Conv<group = 2, pads = P1>(g1, w1)", "d1 = Conv<group = 2, pads = P1>(g1, w1)", 1, "y; g0", ""),
        ("d1 = Conv<group = 2, pads = P1>(g1, w1)", "d1 = Conv<group = 2, pads = P1>(g1, w1)", 1, "y; k", "not interleaved"),
    ],
)  # fmt: skip
def test_near_scale_heads(before, after, groups, made, because):
    assert before in HEADS
    text = heads(2, ((3, 3), (5, 5)), HEADS.replace(before, after), groups, made)
    text = text.replace("int64[1] two", "int64[1] one = {1}, int64[1] two")
    if "d0, one" in text:
        text = text.replace("u1 = Unsqueeze(d1, two)", "u1 = Unsqueeze(d1, one)").replace("<axis = 2>", "<axis = 1>")
    assert_sound(MergeScaleHeads, text, 0, because)


def test_scale_heads_of_an_older_opset_stay_whole():
    """Axes of Unsqueeze were an attribute up to opset 12."""
    text = heads(2, ((3, 3), (5, 5))).replace("(d0, two)", "<axes = [2]>(d0)").replace("Unsqueeze(", "Unsqueeze(")
    text = text.replace("u0 = Unsqueeze<axes = [2]>(d0)", "u0 = Unsqueeze<axes = [2]>(d0)").replace(
        "u1 = Unsqueeze(d1, two)", "u1 = Unsqueeze<axes = [2]>(d1)"
    )
    text = text.replace('"" : 20', '"" : 12').replace("num_outputs = 2", "split = [2, 2]")
    assert_sound(MergeScaleHeads, text)


# --- UpsampleLate, ChainPools, MergeTwinConvolutions

RESIZE = 'Resize<coordinate_transformation_mode = "asymmetric", mode = "nearest", nearest_mode = "floor">'
NECK = f"up = {RESIZE}(u, , scales) cat = Concat<axis = 1>(c, up) y = Conv(cat, w, b)"


@pytest.mark.parametrize(
    ("before", "after", "count"),
    [
        ("y =", "y =", 1),
        ("asymmetric", "half_pixel", 1),
        ("asymmetric", "align_corners", 1),
        ('coordinate_transformation_mode = "asymmetric", mode', 'coordinate_transformation_mode = "tf_crop_and_resize", extrapolation_value = 3.0, mode', 0),
        ("(u, , scales)", "(u, roi, scales)", None),
        ("y = Conv(cat, w, b)", "y = Conv(cat, w, b) z = Add(y0, cat) y0 = Relu(cat)", 0),
        ("y = Conv(cat, w, b)", "y = Conv<auto_pad = \"SAME_UPPER\">(cat, w, b)", 0),
        ("y = Conv(cat, w, b)", "y = Conv<auto_pad = \"VALID\">(cat, w, b)", 1),
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["float", "half"])
def test_near_necks(before, after, count, kind):
    body = NECK.replace(before, after)
    made = "y"
    if "z =" in body:
        body, made = (
            body.replace("z = Add(y0, cat) y0 = Relu(cat)", "y0 = Relu(y) z = Concat<axis = 1>(y0, cat)"),
            "y; z",
        )
    if "tf_crop" in body:
        body = body.replace("(u, , scales)", "(u, roi, scales)")
    constants = "float[4] scales = {1.0, 1.0, 2.0, 2.0}, float[8] roi = {0, 0, 0, 0, 1, 1, 1.5, 1.5}, "
    text = graph("batch, 3, 6, 10 c; batch, 5, 3, 5 u", made, body, constants + weights(w=(4, 8, 1, 1), b=(4,)))
    assert_sound(UpsampleLate, half(text, keep=("scales", "roi")) if kind == "half" else text, count)


@pytest.mark.parametrize("order", ["axes = [2, 3]", "axes = [3, 2]"])
def test_scales_of_named_axes_stay(order):
    body = NECK.replace("Resize<", f"Resize<{order}, ")
    constants = "float[2] scales = {2.0, 2.0}, " + weights(w=(4, 8, 1, 1), b=(4,))
    assert_sound(UpsampleLate, graph("batch, 3, 6, 10 c; batch, 5, 3, 5 u", "y", body, constants), 0)


@ranks
def test_pools_of_every_rank_are_chained(axes):
    p3, p5 = ", ".join(["1"] * 2 * axes), ", ".join(["2"] * 2 * axes)
    k3, k5 = ", ".join(["3"] * axes), ", ".join(["5"] * axes)
    body = f"a = MaxPool<kernel_shape = [{k5}], pads = [{p5}]>(x) b = MaxPool<kernel_shape = [{k3}], pads = [{p3}]>(x) y = Sub(a, b)"
    assert_sound(ChainPools, graph(f"batch, 2, {SIDES[axes]} x", "y", body), 1)
    assert_sound(ChainPools, half(graph(f"batch, 2, {SIDES[axes]} x", "y; a; b", body)), 1)


TWINS = (
    "c0 = Conv(p, k0, a) r0 = Conv(p, s0) c1 = Conv(q, k0, a) r1 = Conv(q, s0) fc0 = Reshape(c0, row) fc1 = Reshape(c1, row) "
    "l = Concat<axis = 2>(fc0, fc1) fr0 = Reshape(r0, row) fr1 = Reshape(r1, row) s = Concat<axis = 2>(fr0, fr1)"
)


@pytest.mark.parametrize(
    ("before", "after", "count"),
    [
        ("", "", 1),
        (
            "r0 = Conv(p, s0)",
            "r0 = Conv<dilations = [2, 2]>(p, s0)",
            1,
        ),  # of one tap: another attribute, no twins there
        ("Concat<axis = 2>(fr0, fr1)", "Concat<axis = 2>(fr1, fr0)", 0),
        ("s = Concat<axis = 2>(fr0, fr1)", "s0x = Concat<axis = 2>(fr0, fr1) s = Transpose<perm = [2, 0, 1]>(s0x)", 1),
        ("fr1 = Reshape(r1, row)", "n = Neg(r1) fr1 = Reshape(n, row)", 0),
        ("r1 = Conv(q, s0)", "r1 = Conv<group = 2>(q, g0)", 0),
    ],
)
@pytest.mark.parametrize("kind", ["float", "half"])
def test_near_twins(before, after, count, kind):
    body = TWINS.replace(before, after) if before else TWINS
    count = 0 if "dilations" in body else count
    constants = "int64[3] row = {0, 0, -1}, " + weights(k0=(5, 4, 1, 1), a=(5,), s0=(6, 4, 1, 1), g0=(6, 2, 1, 1))
    text = graph("batch, 4, 3, 5 p; batch, 4, 2, 2 q", "l; s", body, constants)
    assert_sound(MergeTwinConvolutions, half(text) if kind == "half" else text, count)


def test_one_head_that_is_interleaved_by_another_op():
    text = heads(2, ((3, 3), (5, 5)), HEADS.replace("u1 = Unsqueeze(d1, two)", "u1 = Reshape(d1, apart)"))
    text = text.replace("int64[1] two", f"int64[5] apart = {{-1, 2, 1, {SIDES[2]}}}, int64[1] two")
    assert_sound(MergeScaleHeads, text, 0, "not interleaved")


def test_a_shortcut_without_a_factor_before_one_with_it():
    body = "x = Conv(i, w1) p = Conv(x, w1) z = Add(x, p) q = Conv(z, w1) m = Mul(z, f) o = Add(m, q) y = Relu(o)"
    text = graph("batch, 4, 5, 7 i", "y", body, weights(w1=(4, 4, 1, 1), f=(4, 1, 1)))
    model = read(text)
    assert_sound(RescaleTrunk, model, 1)
    assert RescaleTrunk().run(read(text)).refused == ()


def test_merged_heads_tell_their_shape_to_what_follows():
    text = heads(2, ((3, 3), (5, 5)), HEADS.replace("y = Reshape(k, whole)", "z = Reshape(k, whole) y = Relu(z)"))
    text = text.replace("batch", "2").replace("{-1, 4", "{2, 4")
    assert_sound(MergeScaleHeads, text, 1)


@pytest.mark.parametrize("target", ["{2, 2, 2, 5, 7}", "{2, 4, 7, 5}"])
def test_heads_that_end_in_another_shape(target):
    axes = target.count(",") + 1
    text = (
        heads(2, ((3, 3), (5, 5)))
        .replace("batch", "2")
        .replace("int64[4] whole = {-1, 4, 5, 7}", f"int64[{axes}] whole = {target}")
    )
    assert_sound(MergeScaleHeads, text.replace("float[2, 4, 5, 7] y", "float[] y"), 0, "expected the same known shape")


def test_what_is_no_split_is_not_spoken_of():
    assert MergeScaleHeads().run(read(graph("2, 4, 5, 7 x", "y", "y = Relu(x)"))).refused == ()


def test_heads_of_groups_of_different_sizes():
    body = (
        "g0, g1 = Split<axis = 1>(x, parts) d0 = Conv<group = 2, pads = [1, 1, 1, 1]>(g0, w0) "
        "d1 = Conv<group = 4, pads = [1, 1, 1, 1]>(g1, w1) y = Concat<axis = 1>(d0, d1)"
    )
    text = graph("2, 6, 5, 7 x", "y", body, "int64[2] parts = {2, 4}, " + weights(w0=(2, 1, 3, 3), w1=(4, 1, 3, 3)))
    assert_sound(MergeScaleHeads, text, 0, "groups of channels of one size")


def test_a_linear_layer_without_a_bias_adds_nothing():
    model = read(graph("2, 3, 4 x", "y", "y = MatMul(x, w)", weights(w=(4, 2))))
    assert linear(model.graph.outputs[0]).bias.tolist() == [0.0, 0.0]
