"""Shape arithmetic becomes constants, with the open batch spelled -1 or 0."""

import pytest
from graph_asserts import assert_refuses, assert_rewrites, op_types, parse

from edgesmith.exporter.patterns.cleanup.fold_shapes import FoldShapes
from edgesmith.graph.read import constant

KEYS = """
<ir_version: 10, opset_import: ["" : 20]>
keys (float[batch, 3, 5, 4] k) => (float[batch, 3, 4, 5] y)
<int64[1] last = {-1}, int64[1] before = {-2}, int64[1] first = {-9223372036854775808}, int64[1] end = {9223372036854775807}>
{
  shape = Shape(k)
  width = Slice(shape, last, end)
  tokens = Slice(shape, before, last)
  lead = Slice(shape, first, before)
  flat = Concat<axis = 0>(last, tokens, width)
  a = Reshape(k, flat)
  b = Transpose<perm = [0, 2, 1]>(a)
  back = Concat<axis = 0>(lead, width, tokens)
  y = Reshape(b, back)
}
"""


def test_keys_transposed_through_three_axes():
    model = assert_rewrites(FoldShapes, KEYS, to=["Reshape", "Transpose", "Reshape"], count=2)
    targets = [constant(node.inputs[1]).tolist() for node in model.graph if node.op_type == "Reshape"]
    assert targets == [[-1, 5, 4], [-1, 3, 4, 5]]


def test_a_fixed_shape_is_a_constant():
    text = """
    <ir_version: 10, opset_import: ["" : 20]>
    fixed (float[2, 6] x) => (float[12] y)
    { s = Shape(x) t = ReduceProd<keepdims = 1>(s) y = Reshape(x, t) }
    """
    model = parse(text)
    assert FoldShapes().run(model).count == 1
    assert op_types(model) == ["ReduceProd", "Reshape"]


def test_reshape_and_expand_to_the_shape_that_is_there_go():
    text = """
    <ir_version: 10, opset_import: ["" : 20]>
    same (float[batch, 6] x) => (float[batch, 6] y)
    <int64[2] target = {-1, 6}>
    { s = Shape(x) a = Relu(x) b = Expand(a, s) c = Reshape(b, target) y = Relu(c) }
    """
    assert_rewrites(FoldShapes, text, to=["Relu", "Relu"], count=2)


def test_an_expand_to_the_batch_stays():
    text = """
    <ir_version: 10, opset_import: ["" : 20]>
    token (float[batch, 6] x) => (float[batch, 6] y)
    <float[1, 6] class_token = {1, 2, 3, 4, 5, 6}, int64[1] six = {6}>
    { b = Shape<start = 0, end = 1>(x) s = Concat<axis = 0>(b, six) e = Expand(class_token, s) y = Add(x, e) }
    """
    model = parse(text)
    assert FoldShapes().run(model).count == 0
    assert "Expand" in op_types(model)


def test_two_open_sizes_are_copied_where_the_input_has_them():
    text = """
    <ir_version: 10, opset_import: ["" : 20]>
    two (float[batch, tokens, 6] x) => (float[batch, tokens, 2, 3] y)
    <int64[2] heads = {2, 3}>
    { s = Shape<start = 0, end = 2>(x) t = Concat<axis = 0>(s, heads) y = Reshape(x, t) }
    """
    model = assert_rewrites(FoldShapes, text, to=["Reshape"])
    (reshape,) = model.graph
    assert sorted(constant(reshape.inputs[1]).tolist()[:2]) in ([-1, 0], [0, 0])


def test_refuses_open_sizes_that_change_places():
    text = """
    <ir_version: 10, opset_import: ["" : 20]>
    swapped (float[batch, tokens] x) => (float[tokens, batch] y)
    { b = Shape<start = 0, end = 1>(x) n = Shape<start = 1, end = 2>(x) t = Concat<axis = 0>(n, b) y = Reshape(x, t) }
    """
    assert_refuses(FoldShapes, text, because="more open sizes than -1 and 0 can spell")


@pytest.mark.parametrize("allowzero", [0, 1])
def test_a_zero_in_a_target_means_what_it_says(allowzero):
    text = f"""
    <ir_version: 10, opset_import: ["" : 20]>
    zero (float[batch, 6] x) => (float[batch, 6] y)
    <int64[2] target = {{0, 6}}>
    {{ a = Reshape<allowzero = {allowzero}>(x, target) y = Relu(a) }}
    """
    model = parse(text)
    assert FoldShapes().run(model).count == (0 if allowzero else 1)
