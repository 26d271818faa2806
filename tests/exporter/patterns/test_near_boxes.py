"""A detector's end that is nearly one: distances over another axis, levels joined otherwise, tables of another size."""

from __future__ import annotations

import pytest
from graph_asserts import assert_told, op_types
from near_misses import assert_sound, graph, half, read

from edgesmith.exporter.patterns.boxes.box_distances import DistancesByReduction, DistancesOnMaps, expectation
from edgesmith.exporter.patterns.boxes.merge_levels import MergeLevels
from edgesmith.exporter.patterns.boxes.select_candidates import SelectCandidates

STEPS = "float[5] r = {0, 1, 2, 3, 4}, float[5, 1] rc = {0, 1, 2, 3, 4}, int64[4] sides = {0, 0, 4, 5}, int64[1] last = {3}, "
STEPS += "int64[4] swapped = {6, 2, 4, 5}, int64[4] split = {0, 0, 5, 4}, int64[3] rows = {0, 0, 20}"
DISTANCES = "b = Reshape(s, sides) c = Softmax<axis = -1>(b) y = MatMul(c, r)"


@pytest.mark.parametrize(
    ("before", "after", "count"),
    [
        ("", "", 1),
        ("(c, r)", "(c, rc)", 1),
        ("axis = -1", "axis = 3", 1),
        ("axis = -1", "axis = 2", 0),
        ("Softmax<axis = -1>(b)", "Sigmoid(b)", 0),
        ("Softmax<axis = -1>(b)", "LogSoftmax<axis = -1>(b)", 0),
    ],
)
@pytest.mark.parametrize("kind", ["float", "half"])
def test_near_expectations(before, after, count, kind):
    body = DISTANCES.replace(before, after) if before else DISTANCES
    text = graph("batch, 6, 20 s", "y", body, STEPS)
    assert_sound(DistancesByReduction, half(text) if kind == "half" else text, count)


def test_a_distribution_that_is_handed_out():
    assert_sound(DistancesByReduction, graph("2, 6, 20 s", "y; c", DISTANCES, STEPS), 0, "other uses")


MAPS = (
    "f0 = Transpose<perm = [0, 2, 1]>(m) f1 = Transpose<perm = [0, 2, 1]>(k) s = Concat<axis = 1>(f0, f1) "
    "b = Reshape(s, sides) c = Softmax<axis = -1>(b) y = MatMul(c, r)"
)


@pytest.mark.parametrize(
    ("before", "after", "inputs", "made", "because"),
    [
        ("", "", "2, 20, 4 m; 2, 20, 2 k", "y", None),
        ("axis = 1>(f0", "axis = -2>(f0", "2, 20, 4 m; 2, 20, 2 k", "y", None),
        ("", "", "batch, 20, 4 m; batch, 20, 2 k", "y", None),
        ("(c, r)", "(c, rc)", "2, 20, 4 m; 2, 20, 2 k", "y", ""),
        ("(s, sides)", "(s, swapped)", "2, 20, 4 m; 2, 20, 2 k", "y", "the distributions lie as"),
        ("f1 = Transpose<perm = [0, 2, 1]>(k)", "f1 = Relu(k)", "2, 20, 4 m; 2, 2, 20 k", "y", "the cells come from"),
        ("f1 = Transpose<perm = [0, 2, 1]>(k)", "g0 = Transpose<perm = [0, 2, 1]>(k) f1 = Concat<axis = 1>(g0, h)", "2, 20, 4 m; 2, 20, 1 k; 2, 1, 20 h", "y", "the cells come from"),
        ("f1 = Transpose<perm = [0, 2, 1]>(k)", "g0 = Transpose<perm = [0, 2, 1]>(k) f1 = Concat<axis = 1>(g0, g0)", "2, 20, 4 m; 2, 20, 1 k", "y", None),
        ("s = Concat<axis = 1>(f0, f1)", "s = Concat<axis = 1>(f0, f1)", "2, 20, 4 m; 2, 20, 2 k", "y; s", "other uses"),
        ("s = Concat<axis = 1>(f0, f1)", "s = Concat<axis = 1>(f0, f1)", "2, 20, 4 m; 2, 20, 2 k", "y; b", "other uses"),
        ("s = Concat<axis = 1>(f0, f1)", "s = Concat<axis = 1>(f0, f1)", "2, 20, 4 m; 2, 20, 2 k", "y; c", "other uses"),
        ("s = Concat<axis = 1>(f0, f1)", "s = Concat<axis = 1>(f0, f1)", "2, 20, 4 m; 2, 20, 2 k", "y; f0", None),
        ("f0 = Transpose<perm = [0, 2, 1]>(m)", "f0 = Transpose<perm = [1, 2, 0]>(m)", "20, 2, 4 m; 2, 20, 2 k", "y", "the cells come from"),
        ("s = Concat<axis = 1>(f0, f1)", "s0 = Concat<axis = 2>(f0, f1) s = Reshape(s0, rows)", "2, 10, 4 m; 2, 10, 4 k", "y", "the cells come from"),
    ],
)  # fmt: skip
def test_near_maps_of_distances(before, after, inputs, made, because):
    """What is refused is left as it was, joins included."""
    body = MAPS.replace(before, after) if before else MAPS
    model = read(graph(inputs, made, body, STEPS))
    nodes = op_types(model)
    assert_sound(DistancesOnMaps, model, 1 if because is None else 0, because or "")
    assert because is None or op_types(model) == nodes


LEVELS = "a = Transpose<perm = [0, 2, 1]>(p) b = Transpose<perm = [0, 2, 1]>(q) y = Concat<axis = 1>(a, b)"


@pytest.mark.parametrize(
    ("before", "after", "inputs", "made", "count"),
    [
        ("", "", "batch, 3, 4 p; batch, 3, 5 q", "y", 1),
        ("axis = 1", "axis = -2", "batch, 3, 4 p; batch, 3, 5 q", "y", 1),
        ("axis = 1", "axis = 2", "batch, 3, 4 p; batch, 2, 4 q", "y", 1),
        ("axis = 1", "axis = 0", "2, 3, 4 p; 3, 3, 4 q", "y", 1),
        ("a = Transpose<perm = [0, 2, 1]>", "a = Transpose<perm = [1, 2, 0]>", "3, 2, 4 p; 2, 3, 5 q", "y", 0),
        ("a = Transpose<perm = [0, 2, 1]>", "a = Transpose", "3, 4, 2 p; 2, 3, 5 q", "y", 0),
        ("Transpose<perm = [0, 2, 1]>", "Transpose", "3, 4, 2 p; 3, 5, 2 q", "y", 0),
        ("(a, b)", "(a, a)", "2, 3, 4 p; 2, 3, 5 q", "y", 0),
        ("", "", "2, 3, 4 p; 2, 3, 5 q", "y; a", 0),
        ("", "", "2, 3, 4 p; 2, 3, 5 q", "b; y", 0),
        ("(a, b)", "(a)", "2, 3, 4 p; 2, 3, 5 q", "y", 0),
    ],
)
def test_near_levels(before, after, inputs, made, count):
    body = LEVELS.replace(before, after) if before else LEVELS
    assert_sound(MergeLevels, graph(inputs, made, body), count)


CELLS = 1200
DECODING = (
    "scores = Sigmoid(l) v = Reshape(s, sides) c = Softmax<axis = -1>(v) w = Mul(c, r) d = ReduceSum<keepdims = 0>(w, last) "
    "m = Mul(d, reach) boxes = Add(points, m)"
)
TABLES = "int64[4] sides = {0, 0, 4, 3}, float[3] r = {0, 1, 2}, int64[1] last = {-1}"


def decoding(
    points: str = f"{CELLS}, 4", reach: str = f"{CELLS}, 4", made: str = "boxes; scores", body: str = DECODING
) -> str:
    inputs = f"1, {CELLS}, 2 l; 1, {CELLS}, 12 s; {points} points; {reach} reach"
    return graph(inputs, made, body, TABLES)


def chosen(text: str) -> int:
    model = read(text)
    count = SelectCandidates().run(model).count
    assert_told(model)
    from near_misses import outputs

    outputs(model, 2)
    return count


@pytest.mark.parametrize(
    ("text", "because"),
    [
        (decoding(points="1, 4"), "no table of"),
        (decoding(reach="1, 4"), "no table of"),
        (decoding(reach=f"{CELLS}, 1"), "no table of"),
        (decoding(made="boxes; scores; d"), ""),
        (decoding(body=DECODING.replace("Softmax<axis = -1>", "Softmax<axis = 2>")), ""),
        (decoding(body=DECODING.replace("v = Reshape(s, sides)", "z = Neg(l) v = Reshape(s, sides)"), made="boxes; scores; z"), ""),
    ],
)  # fmt: skip
def test_decodings_whose_tables_are_something_else_keep_every_cell(text, because):
    assert_sound(SelectCandidates, text, 0, because)


def test_a_decoding_is_cut():
    assert chosen(decoding()) == 1


@pytest.mark.parametrize("extra", [" z = Neg(l)", " z = Neg(v)"])
def test_logits_that_are_read_elsewhere_keep_every_cell(extra):
    model = read(decoding(body=DECODING + extra))
    record = SelectCandidates().run(model)
    assert record.count == 0
    assert "other uses" in record.refused[0].why


def test_few_cells_stay():
    text = decoding().replace("1200", "1000")
    record = SelectCandidates().run(read(text))
    assert record.count == 0 and "no more than the 1000" in record.refused[0].why


MEANS = (
    "float[5] r = {0, 1, 2, 3, 4}, float[5, 1] rc = {0, 1, 2, 3, 4}, float[5, 2] r2 = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, "
    "float[1, 1, 5, 1, 1] r5 = {0, 1, 2, 3, 4}, float[1] one_bin = {2}, float number = {2}, float[4] r4 = {0, 1, 2, 3}, "
    "int64[1] last = {-1}, int64[1] second = {1}, int64[1] third = {2}, int64[2] both = {2, 3}"
)
SUM = "c = Softmax<axis = -1>(x) w = Mul(c, r) y = ReduceSum<keepdims = 0>(w, last)"


@pytest.mark.parametrize(
    ("body", "shape", "found"),
    [
        ("c = Softmax<axis = -1>(x) y = MatMul(c, r)", "2, 6, 4, 5", (3, 0)),
        ("c = Softmax<axis = -1>(x) y = MatMul(c, rc)", "2, 6, 4, 5", (3, 1)),
        ("c = Softmax<axis = -1>(x) y = MatMul(c, r2)", "2, 6, 4, 5", None),  # two sums
        ("c = Softmax<axis = 2>(x) y = MatMul(c, r)", "2, 6, 5, 5", None),
        ("c = Sigmoid(x) y = MatMul(c, r)", "2, 6, 4, 5", None),
        ("c = Softmax<axis = -1>(x) y = MatMul(c, x)", "2, 2, 5, 5", None),
        ("y = MatMul(x, r)", "2, 6, 4, 5", None),
        ("c = Softmax<axis = -1>(x) y = Mul(c, r)", "2, 6, 4, 5", None),
        (SUM, "2, 6, 4, 5", (3, 0)),
        (SUM.replace("keepdims = 0", "keepdims = 1"), "2, 6, 4, 5", (3, 1)),
        (SUM.replace("Mul(c, r)", "Mul(c, rc)").replace("last", "third").replace("axis = -1", "axis = 2"), "2, 6, 5, 4", (2, 0)),
        (SUM.replace("Mul(c, r)", "Mul(c, rc)"), "2, 6, 5, 5", None),  # the steps stand along another axis
        (SUM.replace("last", "third"), "2, 6, 5, 5", None),  # summed over another one
        (SUM.replace("axis = -1", "axis = 2"), "2, 6, 5, 5", None),
        (SUM.replace("last", "both"), "2, 6, 5, 5", None),
        (SUM.replace("(w, last)", "(w)"), "2, 6, 4, 5", None),
        (SUM.replace("Mul(c, r)", "Add(c, r)"), "2, 6, 4, 5", None),
        (SUM.replace("Mul(c, r)", "Mul(c, x)"), "2, 6, 4, 5", None),
        (SUM.replace("Mul(c, r)", "Mul(c, r2)").replace("last", "third").replace("axis = -1", "axis = 2"), "2, 6, 5, 2", None),
        (SUM.replace("Mul(c, r)", "Mul(c, r5)").replace("last", "second").replace("axis = -1", "axis = 1"), "2, 5, 4, 6", None),  # five axes
        (SUM.replace("Mul(c, r)", "Mul(c, one_bin)"), "2, 6, 4, 5", None),
        (SUM.replace("Softmax<axis = -1>", "Relu"), "2, 6, 4, 5", None),
        (SUM.replace("Mul(c, r)", "Mul(c, number)"), "2, 6, 4, 5", None),
    ],
)  # fmt: skip
def test_what_is_an_expectation(body, shape, found):
    """The axis of the bins and whether it stays, or None."""
    mean = expectation(read(graph(f"{shape} x", "y", body, MEANS)).graph.node(-1))
    assert (None if mean is None else (mean.axis, mean.keepdims)) == found


def test_an_expectation_over_what_another_domain_makes_is_none():
    model = read(graph("2, 6, 4, 5 x", "y", SUM, MEANS))
    for node in model.graph:
        node.domain = "other"
        assert expectation(model.graph.node(-1)) is None
        node.domain = ""
    assert expectation(model.graph.node(-1)) is not None


def test_bins_that_no_reshape_made_stay_where_they_are():
    """One bin a side: an axis more, and no distribution that was taken apart."""
    body = "t = Transpose<perm = [0, 2, 1]>(m) b = Unsqueeze(t, last) c = Softmax<axis = -1>(b) y = MatMul(c, r)"
    assert_sound(DistancesOnMaps, graph("2, 4, 6 m", "y", body, "int64[1] last = {3}, float[1] r = {2}"), 0)


def test_distances_tell_their_shape_to_what_follows():
    assert_sound(DistancesOnMaps, graph("2, 20, 4 m; 2, 20, 2 k", "z", MAPS + " z = Neg(y)", STEPS), 1)


@pytest.mark.parametrize(
    ("text", "because"),
    [
        (decoding().replace("1200, 2] l", "1200, classes] l"), "expected (B, N, classes)"),
        (decoding().replace("{0, 0, 4, 3}, float[3] r = {0, 1, 2}",
                            "{0, 0, 1, 12}, float[12] r = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}"), "expected 4 sides of 12 bins"),
    ],
)  # fmt: skip
def test_decodings_of_another_form_keep_every_cell(text, because):
    assert_sound(SelectCandidates, text, 0, because)
