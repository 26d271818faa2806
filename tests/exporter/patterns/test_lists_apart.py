"""Lists of tensors: every way of splitting and joining without them, and which stay; casts that change nothing beside them."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from graph_asserts import assert_refuses, assert_rewrites, op_types, run
from near_misses import assert_sound, graph, half
from rtx_build import builds_on_rtx

from edgesmith.exporter.patterns.cleanup.casts import DropCasts
from edgesmith.exporter.patterns.cleanup.fold_constants import FoldConstants
from edgesmith.exporter.patterns.cleanup.lists_apart import ListsApart
from edgesmith.exporter.precision.casts import to_precision
from edgesmith.exporter.precision.islands import choose_islands
from edgesmith.graph.read import LISTS

NUMBERS = "int64 i0 = {0}, int64 i1 = {1}, int64 last = {-1}, int64 two = {2}, int64[2] widths = {1, 4}, int64[1] axes = {1}, float half = {0.5}"


def lists(body: str, made: str = "y", version: int = 20, inputs: str = "2, 5, 3 x") -> str:
    return graph(inputs, made, body, NUMBERS, version)


AT = "y = SequenceAt(s, i1)"
HALVES = "s = SplitToSequence<axis = 1>(x, widths) a = SequenceAt(s, i1) b = SequenceAt(s, i0) c = Concat<axis = 1>(a, b) y = Neg(c)"


@pytest.mark.parametrize(
    ("body", "to"),
    [
        (HALVES, ["Split", "Concat", "Neg"]),
        (f"s = SplitToSequence<axis = -2>(x, two) {AT}", ["Split"]),
        (f"s = SplitToSequence<axis = 1>(x, two) {AT.replace('i1', 'last')}", ["Split"]),  # narrower than the others
        (f"s = SplitToSequence<axis = 2>(x) {AT}", ["Split"]),
        (f"s = SplitToSequence<axis = 2, keepdims = 0>(x) {AT}", ["Split", *["Squeeze"] * 3]),
        (f"s = SplitToSequence<axis = 1, keepdims = 0>(x, widths) {AT}", ["Split"]),  # widths that are told keep the axis
        (f"a = Neg(x) s = SequenceConstruct(x, a) {AT}", ["Neg"]),
        ("s = SplitToSequence<axis = 1>(x, widths) y = ConcatFromSequence<axis = 1>(s)", ["Split", "Concat"]),
        ("a = Neg(x) s = SequenceConstruct(x, a) y = ConcatFromSequence<axis = -1, new_axis = 1>(s)", ["Neg", "Unsqueeze", "Unsqueeze", "Concat"]),
        ("s = SplitToSequence<axis = 1>(x) n = SequenceLength(s) f = Cast<to = 1>(n) y = Mul(x, f)", ["Cast", "Mul"]),
    ],
)  # fmt: skip
def test_elements_are_read_in_place_of_lists(body, to):
    model = ir.from_proto(onnx.shape_inference.infer_shapes(onnx.parser.parse_model(lists(body))))
    after = sorted(set(to)) if "keepdims = 0>(x)" in body else None  # of those that nobody reads
    before = run(model)
    assert ListsApart().run(model).count > 0
    assert (sorted(set(op_types(model))) == after) if after else sorted(op_types(model)) == sorted(to)
    onnx.checker.check_model(ir.to_proto(model))
    np.testing.assert_array_equal(run(model)[0], before[0])
    assert ListsApart().run(model).count == 0


@pytest.mark.parametrize("version", [13, 18, 24])
def test_a_list_that_is_read_by_several_is_split_once(version):
    model = assert_sound(ListsApart, lists(HALVES, version=version, inputs="batch, 5, 3 x"), 2)
    assert op_types(model).count("Split") == 1


def test_what_is_split_may_be_read_and_handed_out_too():
    body = "t = Relu(x) s = SplitToSequence<axis = 1>(t, widths) y = SequenceAt(s, i1) z = SequenceAt(s, i1) v = Neg(t)"
    model = assert_sound(ListsApart, lists(body, "y; z; t; v"), 2)
    assert not LISTS.intersection(op_types(model))


@pytest.mark.parametrize(
    ("body", "inputs", "because"),
    [
        ("n = ReduceMax<keepdims = 0>(x) k = Cast<to = 7>(n) s = SplitToSequence<axis = 1>(x) y = SequenceAt(s, k)", "2, 5, 3 x", "is computed in the graph"),
        ("a = Neg(x) r = SequenceConstruct(x) s = SequenceInsert(r, a) y = SequenceAt(s, i1)", "2, 5, 3 x", "made by SequenceInsert"),
        (f"s = SplitToSequence<axis = 1>(x) {AT}", "2, n, 3 x", "expected known sizes"),
        ("w = Shape<start = 1, end = 2>(x) s = SplitToSequence<axis = 1>(x, w) y = SequenceAt(s, i0)", "2, n, 3 x", "widths that are computed"),
        ("s = SplitToSequence<axis = 1>(x, widths) y = SequenceAt(s, two)", "2, 5, 3 x", "place 2 of a list of 2"),
    ],
)  # fmt: skip
def test_lists_that_are_not_known_stay(body, inputs, because):
    model = ir.from_proto(onnx.shape_inference.infer_shapes(onnx.parser.parse_model(lists(body, inputs=inputs))))
    assert_refuses(ListsApart, model, because=because)


def test_a_list_that_stays_is_no_constant_and_stays_in_float32():
    """A constant list would become one tensor of all its elements, and no type is given to a list."""
    body = "s = SplitToSequence<axis = 0>(table) e = SequenceAt(s, i1) t = SplitToSequence<axis = 1>(x) a = SequenceAt(t, i0) b = Mul(a, a) y = Add(b, e)"
    text = graph("2, 2, 3 x", "float[2, 1, 3] y", body, NUMBERS + ", float[2, 3] table = {1, 2, 3, 4, 5, 6}")
    model = ir.from_proto(onnx.shape_inference.infer_shapes(onnx.parser.parse_model(text)))
    feeds = {"x": np.random.default_rng(0).standard_normal((2, 2, 3)).astype(np.float32)}
    expected = feeds["x"][:, :1] ** 2 + np.array([[4, 5, 6]], np.float32)
    assert FoldConstants().run(model).count == 0
    np.testing.assert_allclose(run(model)[0], expected, rtol=1e-6)
    typed = to_precision(model, "fp16", choose_islands(model, feeds).why)
    assert {one["op"] for one in typed.islands} == {"SplitToSequence"}
    onnx.checker.check_model(ir.to_proto(typed.model), full_check=True)
    np.testing.assert_allclose(run(typed.model)[0], expected, rtol=1e-2, atol=1e-3)


def test_tensorrt_rtx_builds_what_had_lists():
    model = half(lists(HALVES))
    with pytest.raises(AssertionError, match="Sequence"):
        builds_on_rtx(ir.to_proto(model))
    ListsApart().run(model)
    assert builds_on_rtx(ir.to_proto(model)) > 0


@pytest.mark.parametrize(
    ("body", "to", "count"),
    [
        ("a = CastLike(half, x) y = Max(x, a)", ["Max"], 1),
        ("a = Neg(x) b = Cast<to = 1>(a) y = Relu(b)", ["Neg", "Relu"], 1),
        ("a = Cast<to = 10>(x) b = CastLike(half, a) c = Max(a, b) y = Cast<to = 1>(c)", ["Cast", "Cast", "Max", "Cast"], 1),
        ("a = Neg(x) y = CastLike(a, x)", ["Neg"], 1),
    ],
)  # fmt: skip
def test_casts_that_change_nothing_go(body, to, count):
    model = ir.from_proto(onnx.shape_inference.infer_shapes(onnx.parser.parse_model(lists(body))))
    assert_rewrites(DropCasts, model, to=to, count=count)


def test_casts_of_inputs_and_of_outputs_that_need_names_stay():
    assert_sound(DropCasts, lists("y = Cast<to = 1>(x)"), 0)
    assert_sound(DropCasts, lists("z = Neg(x) y = Cast<to = 1>(z)", "y; z"), 0)
    assert_sound(DropCasts, lists("a = Cast<to = 1>(x) y = Neg(a) z = Abs(a) u = CastLike(y, x)", "y; z; u"), 1)


def test_a_cast_like_a_value_of_unknown_type_stays():
    model = ir.from_proto(
        onnx.parser.parse_model(lists("a = Neg(x) b = CastLike(a, x) c = CastLike(b, a) y = Relu(c)"))
    )
    assert_refuses(DropCasts, model, because="expected two known types")
