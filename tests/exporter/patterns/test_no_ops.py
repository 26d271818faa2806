"""What changes nothing goes; what is open stays."""

import pytest
from graph_asserts import assert_rewrites, op_types, parse

from edgesmith.exporter.patterns.cleanup.no_ops import DropNoOps

HEAD = '<ir_version: 10, opset_import: ["" : 20]>\n'
CONSTANTS = """<int64[1] zero = {0}, int64[1] one = {1}, int64[1] two = {2}, int64[1] four = {4}, int64[1] six = {6},
 int64[1] end = {9223372036854775807}, int64[4] nothing = {0, 0, 0, 0}, int64[4] border = {0, 1, 0, 1},
 int64[2] rows = {-1, 2}, int64[1] flat = {-1}>"""


def graph(body: str, shape: str = "batch, 6", out: str = "batch, 6") -> str:
    return f"{HEAD} g (float[{shape}] x) => (float[{out}] y) {CONSTANTS} {{ {body} }}"


@pytest.mark.parametrize(
    "body",
    [
        "a = Relu(x) b = Pad(a, nothing) y = Relu(b)",
        "a = Relu(x) b = Transpose<perm = [0, 1]>(a) y = Relu(b)",
        "a = Relu(x) b = Slice(a, zero, end, one) y = Relu(b)",
        "a = Relu(x) b = Slice(a, zero, end, zero) y = Relu(b)",
        "a = Relu(x) b = Concat<axis = 1>(a) y = Relu(b)",
    ],
)
def test_a_node_that_changes_nothing_goes(body):
    assert_rewrites(DropNoOps, graph(body), to=["Relu", "Relu"])


@pytest.mark.parametrize(
    ("body", "out"),
    [
        ("a = Relu(x) y = Slice(a, one, end, zero)", "rest, 6"),
        ("a = Relu(x) y = Slice(a, zero, four, zero)", "some, 6"),  # four may be less than the batch
        ("a = Relu(x) y = Pad(a, border)", "batch, 8"),
    ],
)
def test_a_node_that_may_change_something_stays(body, out):
    model = parse(graph(body, out=out))
    assert DropNoOps().run(model).count == 0
    assert len(op_types(model)) == 2


def test_views_of_views_are_one_view():
    text = graph("a = Reshape(x, flat) b = Reshape(a, rows) y = Relu(b)", out="n, 2")
    assert_rewrites(DropNoOps, text, to=["Reshape", "Relu"])
    text = graph("a = Transpose<perm = [1, 0]>(x) b = Transpose<perm = [1, 0]>(a) y = Relu(b)")
    assert_rewrites(DropNoOps, text, to=["Relu"])


@pytest.mark.parametrize("target", ["{-1, 6}", "{0, 6}", "{0, -1}"])
def test_a_view_of_the_own_shape_goes_whatever_the_open_size_is_called(target):
    text = graph("a = Relu(x) b = Reshape(a, own) y = Relu(b)").replace(
        "int64[1] flat", f"int64[2] own = {target}, int64[1] flat"
    )
    assert_rewrites(DropNoOps, text, to=["Relu", "Relu"])


def test_two_views_that_undo_each_other_go_at_once_where_nothing_tells_their_shapes():
    text = graph("a = Reshape(x, flat) b = Reshape(a, back) y = Relu(b)").replace(
        "int64[1] flat", "int64[2] back = {-1, 6}, int64[1] flat"
    )
    assert_rewrites(DropNoOps, text, to=["Relu"], count=2)


PARTS = (
    "a = Slice(x, zero, two, one) b = Slice(x, two, four, one) c = Slice(x, four, six, one) d = Mul(a, b) y = Add(d, c)"
)


def test_slices_that_cut_a_value_into_its_parts_become_a_split():
    assert_rewrites(DropNoOps, graph(PARTS, out="batch, 2"), to=["Split", "Mul", "Add"])


def test_slices_with_a_gap_or_another_reader_stay():
    gap = PARTS.replace("b = Slice(x, two, four, one)", "b = Slice(x, one, two, one)")
    for body in (gap, PARTS.replace("y = Add(d, c)", "e = ReduceMax(x) f = Add(d, e) y = Add(f, c)")):
        model = parse(graph(body, out="batch, 2"))
        assert DropNoOps().run(model).count == 0
        assert op_types(model).count("Slice") == 3
