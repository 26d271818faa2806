"""Shape arithmetic, constants and views that are nearly what the clean-up takes: other ranks, other opsets, names that stay."""

from __future__ import annotations

import onnx_ir as ir
import pytest
from graph_asserts import weights
from near_misses import assert_sound, graph, half, read

from edgesmith.exporter.patterns.cleanup.fold_constants import FoldConstants
from edgesmith.exporter.patterns.cleanup.fold_shapes import FoldShapes
from edgesmith.exporter.patterns.cleanup.no_ops import DropNoOps
from edgesmith.exporter.patterns.cleanup.static_padding import DropZeroPads
from edgesmith.exporter.patterns.cleanup.tidy import CleanUp

NUMBERS = (
    "int64 i0 = {0}, int64 i1 = {1}, int64[1] zero = {0}, int64[1] one = {1}, int64[1] two = {2}, int64[1] minus = {-1}, "
    "int64[1] three = {3}, int64[1] six = {6}, int64[1] end = {9223372036854775807}, int64[1] low = {-9223372036854775808}, "
    "int64[2] pair = {1, 0}, int64[1, 2] grid = {1, 0}, int64[2, 2] square = {1, 0, 0, 1}, int64[2] rows = {-1, 6}, "
    "int64[1, 1] nested = {0}, int64[2] edge = {0, 0}, int64[4] nothing = {0, 0, 0, 0}, int64[4] border = {0, 1, 0, 1}"
)


@pytest.mark.parametrize(
    "body",
    [
        "s = Shape(x) u = Unsqueeze(s, zero) c = Concat<axis = 0>(u, u) y0 = ReduceSum<keepdims = 0>(c, zero) y = Cast<to = 1>(y0)",
        "s = Shape(x) u = Unsqueeze(s, zero) c = Concat<axis = 0>(u, u) r = Gather<axis = 0>(c, i1) y = Reshape(x, r)",
        "s = Shape(x) u = Unsqueeze(s, one) g = Gather<axis = 0>(u, pair) r = Squeeze(g, one) y = Reshape(x, r)",
        "s = Shape(x) g = Gather<axis = 0>(s, grid) r = Squeeze(g, zero) y = Reshape(x, r)",
        "s = Shape(x) g = Gather<axis = 0>(s, square) r = Gather<axis = 0>(g, i0) y = Reshape(x, r)",
        "s = Shape(x) g = Gather<axis = 0>(s, square) r = Gather<axis = 0>(g, i1) y = Reshape(x, r)",
        "s = Shape(x) g = Gather<axis = 0>(s, square) r0 = Slice(g, one, two, zero) r = Squeeze(r0, zero) y = Reshape(x, r)",
        "s = Shape(x) u = Unsqueeze(s, zero) v = Slice(u, zero, one, one) w = Squeeze(v, zero) r = Concat<axis = 0>(w, minus) y = Reshape(x, r)",
        "s = Shape(x) u = Unsqueeze(s, zero) c = Concat<axis = 1>(u, u) v = Slice(c, one, three, one) r = Squeeze(v, zero) y = Reshape(x, r)",
        "s = Shape(x) t = Transpose<perm = [0]>(s) y = Reshape(x, t)",
        "s = Shape(x) a = Gather<axis = 0>(s, i1) u = Unsqueeze(a, zero) r = Concat<axis = 0>(u, minus) y = Reshape(x, r)",
        "s = Shape(x) a = Slice(s, low, one) b = Slice(s, one, end) r = Concat<axis = 0>(b, a) y = Reshape(x, r)",
        "s = Shape(x) a = Slice(s, minus, low, zero, minus) y = Reshape(x, a)",
        "s = Shape(x) a = Slice(s, zero, end, minus) y = Reshape(x, a)",
        "s = Shape<start = -1>(x) r = Concat<axis = 0>(s, minus) y = Reshape(x, r)",
        "s = Shape<start = 1, end = 9>(x) r = Concat<axis = 0>(s, minus) y = Reshape(x, r)",
        "s = Shape(x) z = Shape(s) c = Cast<to = 1>(z) y = Add(x, c)",
        "s = Shape(x) c = Cast<to = 6>(s) d = Cast<to = 7>(c) y = Reshape(x, d)",
        "s = Shape(x) c = Cast<to = 1>(s) d = Cast<to = 7>(c) y = Reshape(x, d)",
        "s = Shape(x) e = Expand(x, s) y = Relu(e)",
        "s = Shape(x) u = Unsqueeze(x, zero) e = Expand(u, s) y = Relu(e)",
        "s = Shape(x) r = Relu(x) y = Reshape(r, s)",
        "s = Shape(x) y = Reshape(x, s)",
        "s = Shape(x) y = Expand(x, s)",
        "r = Relu(x) s = Shape(r) y = Reshape(r, s) z = Reshape(r, s)",
        "r = Relu(x) s = Shape(x) y = Expand(r, s) z = Neg(r)",
        "s = Shape(x) a = Add(s, s) m = Gather<axis = 0>(a, pair) z0 = Sub(m, m) z1 = Concat<axis = 0>(minus) y = Reshape(x, z1)",
        "r = Reshape<allowzero = 1>(x, rows) y = Relu(r)",
        "r = Reshape(x, edge) y = Relu(r)",
        "n = Identity(nested) q = Squeeze(n) s = Shape(x) g = Gather<axis = 0>(s, q) u = Unsqueeze(g, zero) r = Concat<axis = 0>(u, minus) y = Reshape(x, r)",
        "s = Shape(x) g = Gather<axis = 0>(s, nested) q = Squeeze(g, zero) r = Concat<axis = 0>(q, minus) y = Reshape(x, r)",
    ],
)
@pytest.mark.parametrize("shape", ["batch, 6", "4, 6"])
def test_shapes_of_shapes(body, shape):
    made = "float[n, m] y" + ("; float[n2, m2] z" if " z =" in body else "")
    if "ReduceSum" in body or "Shape(s)" in body or body.endswith("(e)") and "Unsqueeze(x" in body:
        made = "y"
    if body.endswith("y = Reshape(x, z1)"):
        made = "float[n] y"
    assert_sound(FoldShapes, graph(f"{shape} x", made, body, NUMBERS))


@pytest.mark.parametrize(
    "body",
    [
        "a = Reshape(x, rows) b = Reshape(a, minus) y = Reshape(b, rows)",
        "a = Reshape(x, minus) y = Reshape<allowzero = 1>(a, rows)",
        "a = Relu(x) y = Transpose<perm = [0, 1]>(a)",
        "a = Relu(x) y = Transpose<perm = [0, 1]>(a) z = Transpose<perm = [0, 1]>(a)",
        "y = Transpose<perm = [0, 1]>(x)",
        "a = Relu(x) b = Transpose<perm = [1, 0]>(a) y = Transpose<perm = [1, 0]>(b)",
        "a = Relu(x) b = Transpose(a) y = Transpose(b)",
        "a = Relu(x) b = Transpose<perm = [1, 0]>(a) y = Transpose<perm = [1, 0]>(b) z = Transpose<perm = [1, 0]>(a)",
        "a = Relu(x) y = Concat<axis = 0>(a) z = Concat<axis = 1>(a)",
        "a = Relu(x) y = Slice(a, zero, end, one) z = Neg(a)",
        "a = Relu(x) y = Slice(a, zero, end, minus)",
        "a = Relu(x) y = Slice(a, zero, end, minus, one)",
        "a = Relu(x) y = Slice(a, low, end, one)",
        "a = Relu(x) y = Slice(a, minus, low, one, minus)",
        "a = Relu(x) y = Pad(a, nothing)",
        "a = Relu(x) y = Pad(a, nothing) z = Pad(a, border)",
        'a = Relu(x) b = Pad<mode = "reflect">(a, border) y = Relu(b)',
        "a = Slice(x, zero, two, one) b = Slice(x, two, six, one) y = Neg(a) z = Neg(b)",
        "a = Slice(x, two, six, one) b = Slice(x, zero, two, one) y = Neg(a) z = Neg(b)",
        "y = Slice(x, zero, two, one) z = Slice(x, two, six, one)",
        "a = Slice(x, zero, two, one) b = Slice(x, two, end, minus) y = Neg(a) z = Neg(b)",
        "a = Slice(x, zero, zero, one) b = Slice(x, zero, six, one) c = Concat<axis = 1>(a, b) y = Neg(c)",
        "a = Slice(x, zero, two, one) b = Slice(x, two, six, one) c = Slice(x, zero, two, one) y = Neg(a) d = Concat<axis = 1>(b, c) z = Neg(d)",
        "r = Reshape(x, minus) s = Reshape(r, rows) y = Relu(s) z = Neg(r)",
        "r = Reshape(x, minus) y = Reshape(r, rows) z = Reshape(r, rows)",
        "a = Relu(x) b = Transpose<perm = [1, 0]>(a) c = Relu(b) d = Transpose<perm = [1, 0]>(c) e = Reshape(d, rows) y = Reshape(e, rows)",
        "a = Relu(x) b = Reshape(a, rows) d = Slice(b, zero, two, one) e = Slice(b, two, six, one) y = Concat<axis = 1>(d, e) z = Neg(b)",
        "b = Reshape(x, rows) c = Transpose<perm = [0, 1]>(b) d = Slice(c, zero, two, one) e = Slice(b, two, six, one) y = Concat<axis = 1>(d, e)",
        "b = Relu(x) c = Slice(b, zero, end, one) d = Slice(c, zero, two, one) e = Slice(b, two, six, one) y = Concat<axis = 1>(d, e)",
    ],
)  # fmt: skip
@pytest.mark.parametrize("shape", ["batch, 6", "4, 6"])
@pytest.mark.parametrize("step", [DropNoOps, DropZeroPads, CleanUp])
def test_views_and_no_ops(body, shape, step):
    if step is not DropNoOps and "Pad" not in body and "z =" not in body:
        return
    made = "float[n, m] y" + ("; float[n2, m2] z" if " z =" in body else "")
    if " z = Neg(r)" in body:
        made = "float[n, m] y; float[n2] z"
    assert_sound(step, graph(f"{shape} x", made, body, NUMBERS))


@pytest.mark.parametrize(
    ("step", "body", "version"),
    [
        (DropNoOps, "a = Relu(x) b = Pad<pads = [0, 0, 0, 0]>(a) y = Relu(b)", 10),
        (DropNoOps, "a = Relu(x) b = Pad<pads = [0, 1, 0, 1]>(a) y = Relu(b)", 10),
        (DropZeroPads, "a = Relu(x) b = Pad<pads = [0, 0, 0, 0]>(a) y = Relu(b)", 10),
        (DropNoOps, "a = Slice<axes = [1], starts = [0], ends = [2]>(x) b = Slice<axes = [1], starts = [2], ends = [6]>(x) y = Concat<axis = 1>(b, a)", 9),
        (DropNoOps, "a = Slice(x, zero, two, one) b = Slice(x, two, six, one) y = Concat<axis = 1>(b, a)", 11),
        (DropNoOps, "a = Slice(x, zero, two, one) b = Slice(x, two, six, one) y = Concat<axis = 1>(b, a)", 12),
        (DropNoOps, "a = Slice(x, zero, two, one) b = Slice(x, two, six, one) y = Concat<axis = 1>(b, a)", 13),
        (FoldShapes, "s = Shape(x) a = Gather<axis = 0>(s, i1) u = Unsqueeze<axes = [0]>(a) r = Concat<axis = 0>(u, minus) y = Reshape(x, r)", 11),
        (FoldShapes, "s = Shape(x) a = Slice<axes = [0], starts = [1], ends = [2]>(s) r = Concat<axis = 0>(a, minus) y = Reshape(x, r)", 9),
        (FoldConstants, "a = Unsqueeze<axes = [0]>(zero) b = Squeeze<axes = [0]>(a) c = Cast<to = 1>(b) y = Add(x, c)", 11),
    ],
)  # fmt: skip
def test_older_opsets(step, body, version):
    assert_sound(
        step, graph("4, 6 x", "float[n, m] y", body, NUMBERS, version).replace("ir_version: 10", "ir_version: 7")
    )


# --- FoldConstants

TABLE = NUMBERS + ", " + weights(w=(6, 6), v=(6,))


@pytest.mark.parametrize(
    "body",
    [
        "a = Add(w, v) y = MatMul(x, a)",
        "a = Add(w, v) y = MatMul(x, a) z = Identity(a)",
        "a = Add(w, v) b = Neg(a) y = MatMul(x, b) z = Neg(b)",
        "a, b = Split<axis = 0, num_outputs = 2>(w) y = Concat<axis = 0>(x, a)",
        "a, b = TopK<axis = 1>(w, two) c = Cast<to = 1>(b) d = MatMul(w, a) e = Add(d, c) f = ReduceSum<keepdims = 0>(e, one) y = Add(x, f)",
        "a, = Dropout(v) y = Add(x, a)",
        "a = Dropout(v) y = Add(x, a)",
        "a, b, c = LayerNormalization(w, v, v) y = MatMul(x, a)",
        "q = SequenceConstruct(v, v) a = SequenceAt(q, i0) y = Add(x, a)",
        "q = SplitToSequence<axis = 0, keepdims = 0>(w) a = SequenceAt(q, i1) y = Add(x, a)",
        "a = RandomNormalLike<seed = 1.0>(v) b = Sub(a, a) y = Add(x, b)",
        "a = ConstantOfShape(two) b = ReduceSum(a) y = Add(x, b)",
        "a = NonZero(v) b = Cast<to = 1>(a) c = ReduceSum(b) y = Add(x, c)",
        "a = Cast<to = 16>(v) b = Cast<to = 1>(a) y = Add(x, b)",
        "a = Cast<to = 11>(v) b = Sqrt(a) c = Cast<to = 1>(b) y = Add(x, c)",
        "a = Cast<to = 8>(two) b = Cast<to = 1>(a) y = Add(x, b)",
        "a = Greater(v, v) b = Where(a, v, v) y = Add(x, b)",
    ],
)
def test_constants_of_every_kind(body):
    made = "float[n, m] y" + ("; float[k, l] z" if " z =" in body else "")
    body = body.replace("a, = Dropout", "a = Dropout")
    assert_sound(FoldConstants, graph("batch, 6 x", made, body, TABLE))


def test_an_initializer_that_may_be_fed_is_no_constant():
    """What is listed among the inputs is a default, and every pass leaves it one."""
    body = "a = Add(w0, v) y = MatMul(x, a)"
    text = graph("batch, 6 x; 6, 6 w0", "float[n, m] y", body, TABLE + ", " + weights(w0=(6, 6)))
    for step in (FoldConstants, CleanUp):
        model = assert_sound(step, text)
        assert "Add" in [node.op_type for node in model.graph]
        assert [value.name for value in model.graph.inputs] == ["x", "w0"]


def test_equal_initializers_of_which_one_may_be_fed_stay_two():
    same = weights(w0=(6, 6))
    text = graph(
        "batch, 6 x; 6, 6 w0",
        "float[n, m] y; float[k, l] z",
        "y = MatMul(x, w0) z = MatMul(x, w1)",
        same + ", " + same.replace("w0", "w1"),
    )
    assert_sound(CleanUp, text)


def test_shape_arithmetic_in_half_precision():
    body = "s = Shape(x) a = Slice(s, one, end) r = Concat<axis = 0>(minus, a) h = Relu(x) y = Reshape(h, r)"
    assert_sound(FoldShapes, half(graph("batch, 6 x", "float[n, m] y", body, NUMBERS)), 1)


def test_two_draws_stay_two():
    text = graph(
        "4, 6 x",
        "float[n, m] y",
        "a = Bernoulli<seed = 1.0>(x) b = Bernoulli<seed = 1.0>(x) c = Sub(a, b) y = Add(x, c)",
    )
    model = read(text.replace("Bernoulli<seed = 1.0>(x)", "Bernoulli(p)").replace("{ a", "{ p = Sigmoid(x) a"))
    CleanUp().run(model)
    assert [node.op_type for node in model.graph].count("Bernoulli") == 2


def test_what_folds_once_others_are_folded_folds_at_once():
    """The table is read by two: once the small result is a constant, the large one makes it superfluous."""
    body = "a = Transpose<perm = [1, 0]>(big) s = ReduceSum(big) b = Neg(a) c = MatMul(x, b) y = Add(c, s)"
    constants = weights(big=(40, 40)) + ", int64[2] axes = {0, 1}"
    assert_sound(FoldConstants, graph("batch, 40 x", "float[n, m] y", body, constants), 2)


TWICE = "a = Relu(x) y = Identity(a) z = Identity(a)"


@pytest.mark.parametrize(
    "body",
    [TWICE, TWICE.replace("z = Identity(a)", "z = Identity(y)"), TWICE.replace("y = Identity(a)", "y = Identity(x)"),
     "y = Identity(v) z = Identity(v)", "b = Identity(x) y = Relu(b) z = Identity(y)"],
)  # fmt: skip
def test_copies_that_are_handed_out_keep_their_names(body):
    """Twice: another pass writes such copies, and the clean-up after it must not join their names."""
    model = assert_sound(
        CleanUp,
        graph(
            "4, 6 x",
            "float[n, m] y; float[k] z" if "(v)" in body else "float[n, m] y; float[k, l] z",
            body.replace("y = Identity(v)", "y = Add(x, v)"),
            weights(v=(6,)),
        ),
    )
    CleanUp().run(model)
    assert [value.name for value in model.graph.outputs] == ["y", "z"]
    assert_sound(CleanUp, model)


def test_a_constant_is_not_taken_from_an_initializer_that_may_be_fed():
    """The default of the input w0 is what the sum gives; whoever feeds another w0 must not change the sum."""
    text = graph(
        "2, 3 x; 3 w0",
        "float[n, m] y; float[k, l] z",
        "a = Add(v, v) y = Mul(x, a) z = Mul(x, w0)",
        "float[3] v = {1, 2, 3}, float[3] w0 = {2, 4, 6}",
    )
    assert_sound(FoldConstants, text, 1)


@pytest.mark.parametrize("number", ["value_float = 2.0", "value_floats = [2.0]", "value = float {2.0}"])
def test_a_constant_becomes_an_initializer_however_it_is_written(number):
    model = assert_sound(CleanUp, graph("4, 6 x", "float[n, m] y", f"c = Constant<{number}>() y = Mul(x, c)"))
    assert [node.op_type for node in model.graph] == ["Mul"] and len(model.graph.initializers) == 1


@pytest.mark.parametrize(("index", "count"), [(1, 1), (-1, 1), (2, 0), (-3, 0)])
def test_a_size_behind_the_last_is_not_folded(index, count):
    """The runtime refuses such a graph; the pass only leaves it alone."""
    body = "s = Shape(x) g = Gather<axis = 0>(s, at) r = Concat<axis = 0>(g, minus) y = Reshape(x, r)"
    text = graph("batch, 6 x", "float[n, m] y", body, f"int64[1] at = {{{index}}}, int64[1] minus = {{-1}}")
    model = read(text)
    assert FoldShapes().run(model).count == count


@pytest.mark.parametrize(("target", "shape"), [("{-1, 8}", (3, 8)), ("{0, -1}", (4, 6)), ("{2, -1}", (2, 12))])
def test_the_rest_of_known_sizes_is_a_number(target, shape):
    """Nothing was inferred before: what stands behind -1 is told to what follows."""
    text = graph(
        "4, 6 x", "float[n, m] y", "r = Relu(x) s = Reshape(r, target) y = Neg(s)", f"int64[2] target = {target}"
    )
    model = ir.from_onnx_text(text)
    model.graph.node(0).outputs[0].shape = ir.Shape((4, 6))
    reader = model.graph.node(2)
    FoldShapes().run(model)
    assert tuple(reader.inputs[0].shape) == shape


def test_a_result_that_is_a_copy_of_a_value_on_the_way_takes_its_place():
    model = assert_sound(DropNoOps, graph("4, 6 x", "float[n, m] y", "a = Relu(x) y = Transpose<perm = [0, 1]>(a)"), 1)
    assert [node.op_type for node in model.graph] == ["Relu"]


def test_a_constant_that_is_read_on_the_way_is_one_too():
    body = "a = Neg(v) b = Exp(a) y = Add(x, a) z = Mul(x, b)"
    text = graph("4, 6 x", "float[n, m] y; float[k, l] z", body, weights(v=(6,)))
    model = assert_sound(FoldConstants, text, 2)
    assert [node.op_type for node in model.graph] == ["Add", "Mul"]


def test_a_size_is_followed_through_squeeze_and_unsqueeze():
    body = "s = Shape(x) a = Gather<axis = 0>(s, at) q = Squeeze(a, zero) u = Unsqueeze(q, zero) r = Concat<axis = 0>(minus, u) h = Relu(x) y = Reshape(h, r)"
    constants = "int64[1] at = {1}, int64[1] zero = {0}, int64[1] minus = {-1}"
    model = assert_sound(FoldShapes, graph("batch, 6 x", "float[n, m] y", body, constants), 1)
    assert [node.op_type for node in model.graph] == ["Relu"]
