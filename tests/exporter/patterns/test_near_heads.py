"""Heads by their elements: those of some tokens, numbers of more axes, and where the tokens come out."""

from __future__ import annotations

import pytest
from graph_asserts import weights
from near_misses import graph, read

from edgesmith.exporter.patterns.matchers.heads import Heads, find_heads, follow_out, scaled_by
from edgesmith.exporter.patterns.matchers.views import merge_views

VIEWS = (
    "int64[4] four = {BATCH, 4, 2, 3}, int64[3] joined = {BATCH, 4, 6}, int64[2] rows = {-1, 6}, int64[1] i0 = {0}, "
    "int64[1] i1 = {1}, int64[1] i2 = {2}, "
)
WAY = "h0 = MatMul(x, w) h1 = Reshape(h0, four) "


def values(body: str, made: str, batch: str = "2", constants: str = "") -> dict:
    views = VIEWS.replace("BATCH", "-1" if batch == "batch" else batch)
    model = read(graph(f"{batch}, 4, 6 x", made, body, constants + views + weights(w=(6, 6))))
    return {value.name: value for node in model.graph for value in node.outputs}


@pytest.mark.parametrize("batch", ["1", "2", "batch"])
def test_heads_of_all_tokens_are_columns_of_the_projection(batch):
    found = values(WAY + "y = Transpose<perm = [0, 2, 1, 3]>(h1)", "y", batch)
    heads = find_heads(found["y"])
    assert isinstance(heads, Heads)
    assert (heads.root.name, heads.heads, heads.tokens, heads.width, heads.offset) == ("h0", 2, 4, 3, 0)


@pytest.mark.parametrize("batch", ["1", "2"])
def test_heads_of_the_first_tokens_start_at_the_cut(batch):
    """In one picture they lie where those of a projection of so few tokens would."""
    found = values(WAY + "c = Slice(h1, i0, i2, i1) y = Transpose<perm = [0, 2, 1, 3]>(c)", "y", batch)
    heads = find_heads(found["y"])
    assert not isinstance(heads, Heads) or (heads.root.name, heads.tokens) == ("c", 2)
    joined = WAY.replace("h1 = Reshape(h0, four)", "h9 = Slice(h0, i0, i2, i1) h1 = Reshape(h9, half)")
    half = f"int64[4] half = {{{batch}, 2, 2, 3}}, "
    heads = find_heads(values(joined + "y = Transpose<perm = [0, 2, 1, 3]>(h1)", "y", batch, half)["y"])
    assert isinstance(heads, Heads)
    assert (heads.root.name, heads.tokens) == ("h9", 2)


@pytest.mark.parametrize(
    ("number", "factor"), [("float", 0.5), ("float[1]", 0.5), ("float[1, 1, 1]", 0.5), ("float[1, 1, 1, 1]", None)]
)
@pytest.mark.parametrize("way", ["Mul(x, n)", "Mul(n, x)", "Div(x, n)", "Div(n, x)"])
def test_a_number_of_no_more_axes_is_a_factor(number, factor, way):
    model = read(graph("2, 4, 6 x", "y", f"y = {way}", f"{number} n = {{0.5}}"))
    found = scaled_by(model.graph.node(0))
    right = None if way == "Div(n, x)" or factor is None else 1 / factor if way.startswith("Div") else factor
    assert (None if found is None else found[1]) == right
    assert found is None or found[0].name == "x"


OUT = "o = Transpose<perm = [0, 2, 1, 3]>(h) "


@pytest.mark.parametrize(
    ("tail", "end"),
    [
        ("a = Reshape(o, joined) y = Relu(a)", "a"),
        ("a = Reshape(o, joined) b = Reshape(a, rows) y = Relu(b)", "a"),  # as tokens, before they are rows
        ("a = Reshape(o, rows) b = Reshape(a, joined) y = Relu(b)", "b"),
        ("a = Reshape(o, rows) y = Relu(a)", "a"),
        ("y = Relu(o)", None),
    ],
)
@pytest.mark.parametrize("batch", ["2", "batch"])
def test_tokens_come_out_with_all_their_axes(tail, end, batch):
    found = values(WAY + "h = Transpose<perm = [0, 2, 1, 3]>(h1) " + OUT + tail, "y", batch)
    heads = find_heads(found["h"])
    assert isinstance(heads, Heads)
    out = follow_out(found["h"], heads)
    assert (None if isinstance(out, str) else (out[0].name, out[1])) == (None if end is None else (end, False))


SWAP = "Transpose<perm = [1, 0, 2]>"


@pytest.mark.parametrize(
    ("body", "ops"),
    [
        ("a = Reshape(x, rows) b = Reshape(a, joined) c = Relu(b) y = Neg(c)", ["Relu", "Neg"]),
        ("r = Relu(x) a = Transpose<perm = [1, 0, 2]>(r) b = Transpose<perm = [1, 2, 0]>(a) y = Neg(b)", ["Relu", "Transpose", "Neg"]),
        ("r = Relu(x) a = Transpose<perm = [1, 0, 2]>(r) b = Transpose<perm = [1, 0, 2]>(a) y = Neg(b)", ["Relu", "Neg"]),
        (f"r = Reshape(x, rows) q = Reshape(r, joined) a = {SWAP}(q) b = {SWAP}(a) s = Reshape(b, rows) y = Neg(s)", ["Reshape", "Neg"]),
        (f"q = Reshape(x, four) u = Reshape(q, turned) a = {SWAP}(u) b = {SWAP}(a) s = Reshape(b, rows) y = Neg(s)", ["Reshape", "Neg"]),
        (f"r = Relu(x) a = {SWAP}(r) y = {SWAP}(a)", ["Relu", "Transpose", "Transpose"]),  # the result keeps its name
    ],
)  # fmt: skip
def test_views_that_follow_each_other_become_as_few_as_they_can_be(body, ops):
    views = VIEWS.replace("BATCH", "2") + "int64[3] turned = {4, 2, 6}"
    model = read(graph("2, 4, 6 x", "y", body, views))
    merge_views(model)
    assert [node.op_type for node in model.graph] == ops
