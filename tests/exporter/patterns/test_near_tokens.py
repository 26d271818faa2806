"""Tokens and maps that are nearly what a rewrite takes: biases of more axes, other batches, values with other readers."""

from __future__ import annotations

import pytest
from graph_asserts import weights
from near_misses import assert_sound, graph, half, read

from edgesmith.exporter.patterns.attention.unread_tokens import DropUnreadTokens
from edgesmith.exporter.patterns.tokens.branches_on_maps import BranchesOnMaps
from edgesmith.exporter.patterns.tokens.flatten_late import FlattenLate
from edgesmith.exporter.patterns.tokens.ggem_pool import GGeMPowers
from edgesmith.exporter.patterns.tokens.linears_on_maps import LinearsOnMaps
from edgesmith.exporter.patterns.tokens.mean_before_linear import MeanBeforeLinear
from edgesmith.exporter.patterns.tokens.tokens_as_maps import TokensAsMaps

# --- MeanBeforeLinear

AXES = (
    "int64[1] one = {1}, int64[1] minus = {-2}, int64[1] last = {2}, int64[2] both = {1, 2}, int64[2] sides = {2, 3}, "
)
MEAN = "m = MatMul(g, w) l = Add(m, b) s = Add(t, l) p = ReduceMean<keepdims = 0>(s, one) y = Neg(p)"


@pytest.mark.parametrize("bias", [(2,), (1, 2), (1, 1, 2)])
@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("kind", ["float", "half"])
def test_a_bias_of_any_axes_is_added_to_the_pooled_rows(bias, keepdims, kind):
    body = MEAN.replace("keepdims = 0", f"keepdims = {keepdims}")
    text = graph("batch, 5, 2 t; batch, 5, 3 g", "y", body, AXES + weights(w=(3, 2), b=bias))
    assert_sound(MeanBeforeLinear, half(text) if kind == "half" else text, 1)


@pytest.mark.parametrize(
    ("before", "after", "inputs", "bias", "count"),
    [
        ("", "", "batch, 5, 2 t; batch, 5, 3 g", (1, 1, 1, 2), 0),
        ("", "", "batch, 5, 2 t; batch, 5, 3 g", (5, 2), 0),
        ("", "", "batch, 5, 2 t; 1, 5, 3 g", (2,), None),
        ("", "", "batch, 5, 2 t; batch, 1, 3 g", (2,), None),
        ("", "", "1, 5, 2 t; batch, 5, 3 g", (2,), 0),
        ("", "", "5, 2 t; batch, 5, 3 g", (2,), 0),
        ("", "", "batch, 1, 2 t; batch, 5, 3 g", (2,), 0),
        ("(s, one)", "(s, minus)", "batch, 5, 2 t; batch, 5, 3 g", (2,), 1),
        ("(s, one)", "(s, last)", "batch, 5, 2 t; batch, 5, 3 g", (2,), 0),
        ("(s, one)", "(s, both)", "batch, 5, 2 t; batch, 5, 3 g", (2,), 0),
        ("(s, one)", "(s)", "batch, 5, 2 t; batch, 5, 3 g", (2,), 0),
        ("Add(t, l)", "Add(l, l)", "batch, 5, 2 t; batch, 5, 3 g", (2,), 0),
        ("Add(t, l)", "Sub(t, l)", "batch, 5, 2 t; batch, 5, 3 g", (2,), 0),
        ("ReduceMean", "ReduceMax", "batch, 5, 2 t; batch, 5, 3 g", (2,), 0),
        ("p = ReduceMean<keepdims = 0>(s, one)", "n = Neg(s) p = ReduceMean<keepdims = 0>(n, one)", "batch, 5, 2 t; batch, 5, 3 g", (2,), 0),
    ],
)  # fmt: skip
def test_near_means(before, after, inputs, bias, count):
    body = MEAN.replace(before, after) if before else MEAN
    assert_sound(MeanBeforeLinear, graph(inputs, "y", body, AXES + weights(w=(3, 2), b=bias)), count)


@pytest.mark.parametrize("made", ["y; s", "y; l", "y; m", "y; p", "p; y"])
def test_means_whose_parts_are_handed_out(made):
    count = 1 if made in ("y; p", "p; y") else 0 if made in ("y; s", "y; l") else None
    assert_sound(MeanBeforeLinear, graph("2, 5, 2 t; 2, 5, 3 g", made, MEAN, AXES + weights(w=(3, 2), b=(2,))), count)


MAP = (
    "m = MatMul(g, w) l = Add(m, b) s = Add(t, l) r = Reshape(s, map) u = Transpose<perm = [0, 3, 1, 2]>(r) "
    "p = ReduceMean<keepdims = 0>(u, sides) y = Neg(p)"
)


@pytest.mark.parametrize(
    ("before", "after", "map_", "made", "count"),
    [
        ("", "", "2, 2, 3, 2", "y", 1),
        ("", "", "2, 2, 3, 2", "y; r", 0),
        ("", "", "2, 2, 3, 2", "y; u", 0),
        ("[0, 3, 1, 2]", "[0, 3, 2, 1]", "2, 2, 3, 2", "y", None),
        ("[0, 3, 1, 2]", "[0, 1, 3, 2]", "2, 2, 3, 2", "y", 0),
        ("", "", "2, 3, 2, 2", "y", 1),
        ("", "", "1, 4, 3, 2", "y", 0),
        ("", "", "2, 1, 6, 2", "y", 1),
        ("", "", "2, 3, 1, 4", "y", 0),
    ],
)
def test_near_means_over_maps(before, after, map_, made, count):
    body = MAP.replace(before, after) if before else MAP
    constants = AXES + f"int64[4] map = {{{map_}}}, " + weights(w=(3, 2), b=(2,))
    assert_sound(MeanBeforeLinear, graph("2, 6, 2 t; 2, 6, 3 g", made, body, constants), count)


# --- BranchesOnMaps and LinearsOnMaps

TO_MAP, TO_TOKENS = "Transpose<perm = [0, 3, 1, 2]>", "Transpose<perm = [0, 2, 3, 1]>"
BRANCH = f"t = {TO_TOKENS}(m) f = MatMul(h, w) l = Add(f, b) s = Add(t, l) y = {TO_MAP}(s)"


@pytest.mark.parametrize("bias", [(4,), (1, 4), (1, 1, 1, 4), (1, 1, 1, 1, 4)])
@pytest.mark.parametrize("kind", ["float", "half"])
def test_a_branch_with_a_bias_of_any_axes(bias, kind):
    if len(bias) == 5:
        return  # five axes are transposed by another perm, see below
    text = graph("batch, 4, 2, 3 m; batch, 2, 3, 4 h", "y", BRANCH, weights(w=(4, 4), b=bias))
    assert_sound(BranchesOnMaps, half(text) if kind == "half" else text, 1)


@pytest.mark.parametrize(
    ("inputs", "made", "count"),
    [
        ("batch, 4, 2, 3 m; 1, 2, 3, 4 h", "y", None),
        ("batch, 4, 2, 3 m; batch, 1, 1, 4 h", "y", None),
        ("batch, 4, 2, 3 m; 3, 4 h", "y", 0),
        ("batch, 4, 2, 3 m; 2, 3, 4 h", "y", 0),
        ("1, 4, 1, 1 m; batch, 2, 3, 4 h", "y", None),
        ("batch, 4, 2, 3 m; batch, 2, 3, 4 h", "y; l", 0),
        ("batch, 4, 2, 3 m; batch, 2, 3, 4 h", "y; s", 0),
        ("batch, 4, 2, 3 m; batch, 2, 3, 4 h", "y; t", 1),
        ("batch, 1, 2, 3 m; batch, 2, 3, 4 h", "y", None),
    ],
)
def test_near_branches(inputs, made, count):
    for step in (BranchesOnMaps, LinearsOnMaps):
        assert_sound(
            step, graph(inputs, made, BRANCH, weights(w=(4, 4), b=(4,))), count if step is BranchesOnMaps else None
        )


WIDE = (
    "t = "
    + TO_TOKENS
    + "(m) n = MatMul(t, v) a = Gelu(n) f = MatMul(a, w) s = Add(t, f) u = "
    + TO_MAP
    + "(s) y = Conv(u, k)"
)


@pytest.mark.parametrize(
    ("before", "after", "made", "count"),
    [
        ("", "", "y", 1),
        ("Gelu(n)", "Relu(n)", "y", 1),
        ("Gelu(n)", 'Gelu<approximate = "tanh">(n)', "y", 1),
        ("Gelu(n)", "Tanh(n)", "y", 0),
        ("", "", "y; n", 0),
        ("", "", "y; a", 0),
        ("y = Conv(u, k)", "y = Relu(u)", "y", 0),
    ],
)
def test_near_wide_branches(before, after, made, count):
    body = WIDE.replace(before, after) if before else WIDE
    text = graph("1, 2, 28, 28 m", made, body, weights(v=(2, 4), w=(4, 2), k=(2, 2, 1, 1)))
    assert_sound(BranchesOnMaps, text, count)


@pytest.mark.parametrize(
    ("body", "inputs", "bias", "count"),
    [
        (f"f = MatMul(x, w) l = Add(f, b) y = {TO_MAP}(l)", "batch, 2, 3, 4 x", (4,), 1),
        (f"f = MatMul(x, w) l = Add(f, b) y = {TO_MAP}(l)", "batch, 2, 3, 4 x", (1, 1, 4), 1),
        (f"f = MatMul(x, w) l = Add(f, b) y = {TO_MAP}(l)", "batch, 3, 4 x", (1, 1, 1, 4), 0),
        (f"f = MatMul(x, w) y = {TO_MAP}(f)", "batch, 2, 3, 4 x", (4,), 1),
        (f"t = {TO_TOKENS}(x) f = MatMul(t, w) y = Add(f, b)", "batch, 4, 2, 3 x", (4,), 1),
        (f"t = {TO_TOKENS}(x) f = MatMul(t, w) y = Add(f, b)", "batch, 4, 2, 3 x", (1, 1, 1, 1, 4), None),
        (f"t = {TO_TOKENS}(x) f = MatMul(t, w) y = Add(f, b)", "batch, 4, 2, 3 x", (2, 3, 4), None),
        (f"t = {TO_TOKENS}(x) f = MatMul(t, w) y = Add(f, t)", "batch, 4, 2, 3 x", (4,), None),
        (f"t = {TO_TOKENS}(x) y = LeakyRelu<alpha = 0.3>(t)", "batch, 4, 2, 3 x", (4,), 1),
        (f"t = {TO_TOKENS}(x) y = Mul(t, t)", "batch, 4, 2, 3 x", (4,), None),
        (f"t = {TO_TOKENS}(x) y = {TO_MAP}(t)", "batch, 4, 2, 3 x", (4,), 1),
        (f"t = {TO_TOKENS}(x) u = {TO_MAP}(t) y = Relu(u)", "batch, 4, 2, 3 x", (4,), 1),
        (f"r = Relu(x) t = {TO_TOKENS}(r) u = {TO_MAP}(t) y = Relu(u)", "batch, 4, 2, 3 x", (4,), 1),
        (f"t = {TO_TOKENS}(x) f = MatMul(h, w) y = Mul(t, f)", "batch, 4, 2, 3 x; 1, 1, 1, 4 h", (4,), None),
        (f"t = {TO_TOKENS}(x) f = MatMul(h, w) y = Mul(t, f) z = {TO_MAP}(h)", "batch, 4, 2, 3 x; 1, 2, 3, 4 h", (4,), None),
        (f"t = {TO_TOKENS}(x) u = {TO_TOKENS}(h) y = Mul(t, u)", "batch, 4, 2, 3 x; batch, 4, 1, 1 h", (4,), 0),
        (f"t = {TO_TOKENS}(x) u = {TO_TOKENS}(h) y = Mul(t, u)", "batch, 4, 2, 3 x; batch, 4, 2, 3 h", (4,), 1),
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["float", "half"])
def test_near_linears_on_maps(body, inputs, bias, count, kind):
    made = "; ".join(name for name in "yz" if f" {name} =" in f" {body}")
    text = graph(inputs, made, body, weights(w=(4, 4), b=bias))
    if kind == "half" and "Gelu" in body:
        return
    model = assert_sound(LinearsOnMaps, half(text) if kind == "half" else text, count)
    assert [value.name for value in model.graph.outputs] == made.split("; ")


@pytest.mark.parametrize("made", ["y; t", "y; f", "y; l", "l; y"])
def test_linears_whose_parts_are_handed_out(made):
    body = f"t = {TO_TOKENS}(x) f = MatMul(t, w) l = Add(f, b) y = {TO_MAP}(l)"
    assert_sound(LinearsOnMaps, graph("batch, 4, 2, 3 x", made, body, weights(w=(4, 4), b=(4,))))


# --- TokensAsMaps and FlattenLate

VIEWS = "int64[3] flat = {0, 4, -1}, int64[4] map = {-1, 4, 2, 3}, int64[3] tokens = {-1, 6, 4}, int64[4] last = {-1, 2, 3, 4}, "
SWAP = "Transpose<perm = [0, 2, 1]>"
ROUND = f"a = Reshape(x, flat) b = {SWAP}(a) c = Relu(b) d = {SWAP}(c) e = Reshape(d, map) y = Relu(e)"


@pytest.mark.parametrize(
    ("body", "made", "count"),
    [
        (ROUND, "y", 2),
        (ROUND, "y; a", 1),
        (ROUND, "y; b", 2),
        (ROUND, "y; d", 0),
        (ROUND, "y; e", 2),
        (f"a = Reshape(x, flat) b = {SWAP}(a) d = {SWAP}(b) e = Reshape(d, map) y = Relu(e)", "y", None),
        (f"a = Reshape(x, flat) b = {SWAP}(a) d = {SWAP}(b) y = Reshape(d, map)", "y", None),
        (ROUND + f" a2 = Reshape(y, flat) b2 = {SWAP}(a2) c2 = Neg(b2) d2 = {SWAP}(c2) z = Reshape(d2, map)", "z", 4),
        (ROUND + f" d3 = {SWAP}(c) z = Reshape(d3, map)", "y; z", 3),
        (ROUND + f" d3 = {SWAP}(c) d4 = Neg(d3) z = Reshape(d3, map)", "y; z; d4", 2),
    ],
)
@pytest.mark.parametrize("batch", ["batch", "2"])
def test_ways_between_tokens_and_maps(body, made, count, batch):
    made = made.replace("y", f"float[{batch}, 4, 2, 3] y").replace("z", f"float[{batch}, 4, 2, 3] z")
    text = graph(f"{batch}, 4, 2, 3 x", made, body, VIEWS.rstrip(", ").replace("{-1, 4, 2, 3}", "{0, 4, 2, 3}"))
    assert_sound(TokensAsMaps, text, count if batch == "2" else None)


def test_ways_are_found_at_once_in_whatever_order_they_stand():
    """A way to tokens is one because of a way back that another pass made: what a second run would find, the first does."""
    body = (
        f"a = Reshape(x, flat) b = {SWAP}(a) c = Relu(b) d = {SWAP}(c) e = Reshape(d, map) f = Relu(e) "
        f"g = Reshape(f, flat) h = {SWAP}(g) i = Reshape(h, last) j = {TO_MAP}(i) y = Relu(j)"
    )
    assert_sound(TokensAsMaps, graph("2, 4, 2, 3 x", "y", body, VIEWS.rstrip(", ")))


LATE = (
    "v = Reshape(m, tokens) n = LayerNormalization<axis = AXIS>(v, g, h) f = MatMul(n, w) l = Add(f, b) a = Gelu(l) "
    "s = Add(v, a) y = Reshape(s, last)"
)


@pytest.mark.parametrize("axis", ["-1", "2", "1", "-2"])
@pytest.mark.parametrize("batch", ["batch", "2"])
def test_layers_between_the_views(axis, batch):
    constants = VIEWS + weights(g=(4,), h=(4,), w=(4, 4), b=(4,))
    if axis in ("1", "-2"):
        constants = VIEWS + weights(g=(6, 4), h=(6, 4), w=(4, 4), b=(4,))
    text = graph(f"{batch}, 2, 3, 4 m", f"float[{batch}, 2, 3, 4] y", LATE.replace("AXIS", axis), constants)
    model = assert_sound(FlattenLate, text.replace("{-1, 6, 4}", "{0, 6, 4}"))
    flat = [node for node in model.graph if node.op_type == "LayerNormalization"]
    assert len(flat[0].outputs[0].shape) == (4 if axis in ("-1", "2") else 3)


@pytest.mark.parametrize(
    ("body", "inputs"),
    [
        ("v = Reshape(m, tokens) u = Reshape(k, tokens) s = Add(v, u) y = Reshape(s, last)", "2, 2, 3, 4 m; 2, 3, 2, 4 k"),
        ("v = Reshape(m, tokens) u = Reshape(k, tokens) s = Add(v, u) y = Reshape(s, last) z = Reshape(u, other)", "2, 2, 3, 4 m; 2, 3, 2, 4 k"),
        ("v = Reshape(m, tokens) u = Reshape(k, tokens) s = Add(v, u) y = Reshape(s, last)", "2, 2, 3, 4 m; 2, 6, 1, 4 k"),
        ("v = Reshape(m, tokens) s = Add(v, k) y = Reshape(s, last)", "2, 2, 3, 4 m; 1, 6, 4 k"),
        ("v = Reshape(m, tokens) s = Add(v, k) y = Reshape(s, last)", "2, 2, 3, 4 m; 2, 1, 4 k"),
        ("v = Reshape(m, tokens) s = Add(v, k) y = Reshape(s, last)", "2, 2, 3, 4 m; 2, 6, 1 k"),
        ("v = Reshape(m, tokens) s = Add(v, k) y = Reshape(s, last)", "2, 2, 3, 4 m; 6, 4 k"),
        ("v = Reshape(m, tokens) s = Mul(k, v) y = Reshape(s, last)", "2, 2, 3, 4 m; 2, 6, 4 k"),
        ("v = Reshape(m, tokens) s = Mul(c1, v) y = Reshape(s, last)", "2, 2, 3, 4 m"),
        ("v = Reshape(m, tokens) s = Mul(v, c2) y = Reshape(s, last)", "2, 2, 3, 4 m"),
        ("v = Reshape(m, tokens) s = MatMul(v, k) y = Reshape(s, last)", "2, 2, 3, 4 m; 2, 4, 4 k"),
        ("v = Reshape(m, tokens) s = MatMul(k, v) y = Reshape(s, last)", "2, 2, 3, 4 m; 2, 6, 6 k"),
        ("v = Reshape(m, tokens) s = MatMul(v, k) y = Reshape(s, thin)", "2, 2, 3, 4 m; 4 k"),
        ("v = Reshape(m, tokens) s = Softmax<axis = 1>(v) y = Reshape(s, last)", "2, 2, 3, 4 m"),
        ("v = Reshape(m, tokens) s = Relu(v) y = Reshape(s, other)", "2, 2, 3, 4 m"),
        ("v = Reshape(m, tokens) s, i = TopK<axis = 1>(v, six) y = Reshape(s, last)", "2, 2, 3, 4 m"),
        ("v = Reshape(m, tokens) r = Relu(v) s = Add(r, r) y = Reshape(s, last)", "2, 2, 3, 4 m"),
        ("v = Reshape(m, tokens) s = Add(v, v) y = Reshape(s, last)", "2, 2, 3, 4 m"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("step", [FlattenLate, TokensAsMaps])
def test_near_flattened_maps(body, inputs, step):
    made = "; ".join(name for name in "yz" if f" {name} =" in f" {body}")
    constants = (
        VIEWS
        + "int64[4] other = {2, 3, 2, 4}, int64[3] thin = {2, 2, 3}, int64[1] six = {6}, "
        + weights(c1=(4,), c2=(6, 4))
    )
    assert_sound(step, graph(inputs, made, body, constants))


@pytest.mark.parametrize("made", ["y; v", "y; n", "y; l", "y; s", "s; y"])
def test_flattened_values_that_are_handed_out(made):
    constants = VIEWS + weights(g=(4,), h=(4,), w=(4, 4), b=(4,))
    assert_sound(FlattenLate, graph("2, 2, 3, 4 m", made, LATE.replace("AXIS", "-1"), constants))


@pytest.mark.parametrize("bias", [(1, 1, 4), (1, 4), (6, 4), (1,)])
def test_flattened_layers_with_a_bias_of_any_axes(bias):
    body = "v = Reshape(m, tokens) f = MatMul(v, w) l = Add(f, b) y = Reshape(l, last)"
    assert_sound(FlattenLate, graph("2, 2, 3, 4 m", "y", body, VIEWS + weights(w=(4, 4), b=bias)))


# --- GGeMPowers

POOL = "a = Clip(x, eps) b = Reshape(a, grouped) c = Pow(b, p) d = ReduceMean<keepdims = 0>(c, axis) e = Pow(d, q) y = Reshape(e, flat)"
GROUPS = "float eps = {0.01}, int64[4] grouped = {0, 0, 4, 2}, int64[1] axis = {1}, int64[2] flat = {0, 8}, "
EXPONENTS = "float[4, 1] p = {3.0, 2.0, 1.0, 4.0}, float[4, 1] q = {0.33333334, 0.5, 1.0, 0.25}"


@pytest.mark.parametrize(
    ("body", "exponents", "count"),
    [
        (POOL, EXPONENTS, 1),
        (POOL, EXPONENTS.replace("{3.0, 2.0, 1.0, 4.0}", "{3.0, 3.0, 3.0, 3.0}").replace("{0.33333334, 0.5, 1.0, 0.25}", "{0.33333334, 0.33333334, 0.33333334, 0.33333334}"), 1),
        (POOL.replace("c = Pow(b, p)", "c = Pow(b, pi)"), EXPONENTS + ", int64[4, 1] pi = {3, 2, 1, 4}", 1),
        (POOL.replace("Clip(x, eps)", "Max(x, eps)"), EXPONENTS, 1),
        (POOL.replace("Clip(x, eps)", "Max(eps, x)"), EXPONENTS, 0),
        (POOL.replace("Clip(x, eps)", "Clip(x, low)"), EXPONENTS + ", float low = {0.0}", 0),
        (POOL.replace("Clip(x, eps)", "Clip(x, low)"), EXPONENTS + ", float low = {-1.0}", 0),
        (POOL.replace("Clip(x, eps)", "Max(x, lows)"), EXPONENTS + ", float[8] lows = {0.1, 0.1, 0.1, 0.1, 0.2, 0.1, 0.1, 0.3}", 1),
        (POOL.replace("Clip(x, eps)", "Max(x, lows)"), EXPONENTS + ", float[8] lows = {0.1, 0.1, 0.1, 0.1, 0.2, 0.0, 0.1, 0.3}", 0),
        (POOL.replace("Clip(x, eps)", "Relu(x)"), EXPONENTS, 0),
        (POOL.replace("a = Clip(x, eps) b = Reshape(a, grouped)", "a0 = Clip(x, eps) a = Cast<to = 7>(a0) b0 = Reshape(a, grouped) b = Add(b0, b0)").replace("c = Pow(b, p)", "c0 = Pow(b, p) c = Cast<to = 1>(c0)"), EXPONENTS, 0),
        (POOL.replace("e = Pow(d, q)", "e = Pow(q, d)"), EXPONENTS, 0),
        (POOL.replace("e = Pow(d, q)", "e = Mul(d, q)"), EXPONENTS, 0),
        (POOL.replace("c = Pow(b, p)", "c = Pow(p, b)"), EXPONENTS, 0),
        (POOL.replace("c = Pow(b, p)", "c = Pow(b, p5)"), EXPONENTS + ", float[1, 1, 4, 1] p5 = {3.0, 2.0, 1.0, 4.0}", 1),
    ],
)  # fmt: skip
def test_near_pools(body, exponents, count):
    assert_sound(GGeMPowers, graph("batch, 9, 8 x", "float[batch, 8] y", body, GROUPS + exponents), count)


def test_exponents_that_spread_one_channel_over_groups():
    """(4, 1) on (B, N, 1, 2) makes four groups of one; a single exponent would leave one."""
    body = POOL.replace("Pow(d, q)", "Pow(d, q)")
    constants = GROUPS.replace("{0, 0, 4, 2}", "{0, 0, 1, 2}") + EXPONENTS.replace(
        "{3.0, 2.0, 1.0, 4.0}", "{2.0, 2.0, 2.0, 2.0}"
    ).replace("{0.33333334, 0.5, 1.0, 0.25}", "{0.5, 0.5, 0.5, 0.5}")
    assert_sound(GGeMPowers, graph("batch, 9, 2 x", "float[batch, 8] y", body, constants))


@pytest.mark.parametrize("made", ["c", "d", "e", "b"])
def test_pools_whose_parts_are_handed_out(made):
    text = graph("2, 9, 8 x", f"y; {made}", POOL, GROUPS + EXPONENTS)
    assert_sound(GGeMPowers, text, 0 if made in "cd" else 1)


# --- DropUnreadTokens

HEAD = "l = LayerNormalization<axis = -1>(x, g, h) f = MatMul(l, w) r = Gelu(f) o = Add(x, r) t = Gather<axis = 1>(o, n0) y = Neg(t)"
CHOICE = (
    "int64 n0 = {0}, int64 nlast = {-1}, int64[1] n1 = {0}, int64[1] a = {1}, int64[1] b = {2}, int64[2] two = {0, 1}, "
)


@pytest.mark.parametrize(
    ("before", "after", "inputs", "count"),
    [
        ("", "", "batch, 5, 6 x", 1),
        ("(o, n0)", "(o, nlast)", "batch, 5, 6 x", 1),
        ("(o, n0)", "(o, n1)", "batch, 5, 6 x", 0),
        ("Gather<axis = 1>(o, n0)", "Slice(o, a, b, a)", "batch, 5, 6 x", 1),
        ("Gather<axis = 1>(o, n0)", "Slice(o, a, b, a, a)", "batch, 5, 6 x", 1),
        ("Gather<axis = 1>(o, n0)", "Slice(o, a, b, b)", "batch, 5, 6 x", 0),
        ("Gather<axis = 1>", "Gather<axis = 2>", "batch, 5, 6 x", 0),
        ("Gather<axis = 1>(o, n0)", "Gather<axis = 1>(o, two)", "batch, 5, 6 x", 0),
        ("o = Add(x, r)", "o0 = Add(x, r) o = Add(o0, z)", "batch, 5, 6 x; 5, 6 z", 1),
        ("o = Add(x, r)", "o0 = Add(x, r) z2 = Relu(z) o = Add(z2, o0)", "batch, 5, 6 x; 5, 6 z", 1),
        ("o = Add(x, r)", "o0 = Add(x, r) o = Add(o0, z)", "batch, 5, 6 x; 5, 1 z", 1),
        ("o = Add(x, r)", "o0 = Add(x, r) o = Add(o0, z)", "batch, 5, 6 x; 1, 6 z", 1),
        ("o = Add(x, r)", "o0 = Add(x, r) o = Add(o0, z)", "batch, 5, 6 x; 6 z", 1),
        ("o = Add(x, r)", "o0 = Add(x, r) o = Add(o0, z)", "batch, 5, 6 x; 1, 5, 1 z", 1),
        ("o = Add(x, r)", "o0 = Add(x, r) o = Add(o0, p2)", "batch, 5, 6 x", 1),
        ("o = Add(x, r)", "o0 = Add(x, r) o = Add(o0, p3)", "batch, 5, 6 x", 1),
        ("o = Add(x, r)", "o0 = Add(x, r) o = Mul(p1, o0)", "batch, 5, 6 x", 1),
        ("axis = -1>", "axis = 2>", "batch, 5, 6 x", 1),
        ("r = Gelu(f)", "r = Softmax<axis = 1>(f)", "batch, 5, 6 x", None),
        ("f = MatMul(l, w)", "l2 = Transpose<perm = [0, 2, 1]>(l) f0 = MatMul(l2, w5) f = Transpose<perm = [0, 2, 1]>(f0)", "batch, 5, 6 x", None),
        ("f = MatMul(l, w)", "f = MatMul(w5, l)", "batch, 5, 6 x", None),
        ("o = Add(x, r)", "o = Add(z, r)", "batch, 5, 6 x; 5, 6 z", 1),
        ("o = Add(x, r)", "o = Pow(x, r)", "batch, 5, 6 x", None),
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["float", "half"])
def test_near_choices_of_tokens(before, after, inputs, count, kind):
    body = HEAD.replace(before, after) if before else HEAD
    if "Pow" in body:
        body = body.replace("o = Pow(x, r)", "e = Exp(x) o = Pow(e, r)")
    constants = CHOICE + weights(g=(6,), h=(6,), w=(6, 6), w5=(5, 5), p1=(6,), p2=(5, 6), p3=(1, 5, 1))
    text = graph(inputs, "y", body, constants)
    if kind == "half" and "Gelu" in body:
        text = text.replace("Gelu(f)", "Tanh(f)")
    assert_sound(DropUnreadTokens, half(text) if kind == "half" else text, count)


def test_a_norm_over_tokens_and_channels_keeps_all_rows():
    """A LayerNormalization from axis 1 mixes the tokens."""
    body = HEAD.replace("axis = -1>(x, g, h)", "axis = 1>(x, gg, hh)").replace("o = Add(x, r)", "o = Relu(r)")
    constants = CHOICE + weights(gg=(5, 6), hh=(5, 6), w=(6, 6))
    model = assert_sound(DropUnreadTokens, graph("batch, 5, 6 x", "y", body, constants), 1)
    norm = next(node for node in model.graph if node.op_type == "LayerNormalization")
    assert norm.outputs[0].shape[1] == 5


@pytest.mark.parametrize("made", ["y; o", "y; r", "y; f", "y; l", "t; y"])
def test_tokens_that_are_handed_out(made):
    assert_sound(DropUnreadTokens, graph("batch, 5, 6 x", made, HEAD, CHOICE + weights(g=(6,), h=(6,), w=(6, 6))))


def test_a_transpose_with_another_reader_keeps_the_layer():
    body = f"t = {TO_TOKENS}(x) f = MatMul(t, w) y = Relu(f)"
    assert_sound(LinearsOnMaps, graph("2, 4, 2, 3 x", "y; t", body, weights(w=(4, 3))), 0, "has other uses")


@pytest.mark.parametrize("bias", [True, False])
def test_a_product_that_is_wanted_channels_first_stays_flat(bias):
    """TensorRT writes it so, unless a view stands between; the map beside it is what makes the view one of a map."""
    layer = "f = MatMul(v, w) l = Add(f, b) " if bias else "l = MatMul(v, w) "
    body = f"v = Reshape(m, tokens) {layer}y = {SWAP}(l) z = Reshape(k, last)"
    text = graph("2, 2, 3, 4 m; 2, 6, 4 k", "y; z", body, VIEWS + weights(w=(4, 4), b=(4,)))
    assert_sound(FlattenLate, text, 0)
    other = text.replace(f"y = {SWAP}(l)", "y = Transpose<perm = [1, 0, 2]>(l)")
    assert_sound(FlattenLate, other, 2 if bias else 1)


@pytest.mark.parametrize("told", ["float[batch, 6, channels] v, float[batch, 6, channels] r, ", ""])
def test_two_open_sizes_are_not_spelled_by_one_view(told):
    body = "v = Reshape(m, tokens) r = Relu(v) z = Reshape(r, back) y = Reshape(k, last)"
    views = f"{told}int64[3] tokens = {{0, 6, -1}}, int64[4] back = {{0, 2, 3, -1}}, int64[4] last = {{-1, 2, 3, 4}}"
    text = graph("batch, 2, 3, channels m; 2, 6, 4 k", "float[b, 2, 3, c] z; float[2, 2, 3, 4] y", body, views)
    model = read(text)
    assert FlattenLate().run(model).count == 0
    assert [node.op_type for node in model.graph] == ["Reshape", "Relu", "Reshape", "Reshape"]


def test_a_choice_among_an_open_number_of_tokens_stays():
    text = graph("2, tokens, 6 x", "y", "r = Relu(x) y = Gather<axis = 1>(r, first)", "int64 first = {0}")
    model = read(text)
    assert DropUnreadTokens().run(model).count == 0
    assert [node.op_type for node in model.graph] == ["Relu", "Gather"]


def test_a_choice_of_another_domain_is_none():
    model = read(graph("2, 5, 6 x", "y", "r = Relu(x) y = Gather<axis = 1>(r, first)", "int64 first = {0}"))
    model.graph.node(1).domain = "other"
    assert DropUnreadTokens().run(model).count == 0
    model.graph.node(1).domain = ""
    assert DropUnreadTokens().run(model).count == 1


@pytest.mark.parametrize(("axes", "count"), [("<axis = 2>", 1), ("<axis = -1>", 1), ("", 1), ("<axis = 1>", 0)])
def test_a_norm_of_the_flattened_channels_counts_by_its_axis(axes, count):
    sides = (6, 4) if axes == "<axis = 1>" else (4,)
    body = f"v = Reshape(m, tokens) n = LayerNormalization{axes}(v, g, h) y = Reshape(n, last)"
    assert_sound(FlattenLate, graph("2, 2, 3, 4 m", "y", body, VIEWS + weights(g=sides, h=sides)), count)


def test_powers_of_whole_numbers_stay():
    text = graph("batch, 9, 8 x", "y", POOL, GROUPS + EXPONENTS).replace("float[batch", "int64[batch")
    text = text.replace("float[] y", "int64[batch, 8] y").replace("float eps = {0.01}", "int64 eps = {1}")
    record = GGeMPowers().run(read(text))
    assert [refusal.why for refusal in record.refused] == ["powers of INT64, expected floating point"]


@pytest.mark.parametrize("made", ["y; t", "y; u"])
def test_one_of_two_maps_as_tokens_is_read_elsewhere(made):
    body = f"t = {TO_TOKENS}(x) u = {TO_TOKENS}(h) y = Mul(t, u)"
    assert_sound(LinearsOnMaps, graph("2, 4, 2, 3 x; 2, 4, 2, 3 h", made, body, weights(w=(4, 4))), 0)
