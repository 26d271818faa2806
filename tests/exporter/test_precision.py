"""Typing a graph: every value has the type it should, parity holds, and float32 islands have reasons."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from attention_graph import cosine, images, run, vit

from edgesmith.exporter.precision.casts import to_precision
from edgesmith.exporter.precision.islands import OPTIMISM, choose_islands, run_rounded
from edgesmith.graph.run import run_values
from edgesmith.runtime.errors import EdgesmithError, UserMistake

HALF, FLOAT = onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT
HEAD = '<ir_version: 10, opset_import: ["" : 20]>'


def parse(text, **arrays):
    proto = onnx.parser.parse_model(HEAD + text)
    proto.graph.initializer.extend(onnx.numpy_helper.from_array(array, name) for name, array in arrays.items())
    return ir.from_proto(proto)


def checked(result):
    """The typed graph as a proto that ONNX's own type inference accepts."""
    proto = ir.to_proto(result.model)
    onnx.checker.check_model(proto, full_check=True)
    return proto


def ops(result):
    return [node.op_type for node in result.model.graph]


def casts(proto):
    return [(node.input[0], node.attribute[0].i) for node in proto.graph.node if node.op_type == "Cast"]


@pytest.mark.parametrize("batch", [1, "batch"])
def test_fp16_casts_only_at_the_borders(batch):
    result = to_precision(vit(batch), "fp16")
    proto = checked(result)
    assert casts(proto) == [("images", HALF), ("logits_fp16", FLOAT)]
    assert [value.type.tensor_type.elem_type for value in (proto.graph.input[0], proto.graph.output[0])] == [
        FLOAT,
        FLOAT,
    ]
    assert (proto.graph.input[0].name, proto.graph.output[0].name) == ("images", "logits")
    assert all(tensor.data_type != FLOAT for tensor in proto.graph.initializer)
    assert ops(result).count("LayerNormalization") == 2
    assert result.islands == [] and result.report["casts"] == 2
    count = 3 if batch == "batch" else 1
    assert cosine(run(result.model, images(count)), run(vit(batch), images(count))) > 0.99999


def test_bf16_gets_an_opset_whose_convolution_has_it():
    result = to_precision(vit(), "bf16")
    assert checked(result).opset_import[0].version == 22
    assert to_precision(vit(), "bf16", max_opset=20).model.graph.opset_imports[""] == 20


def test_fp32_is_left_alone():
    model = vit()
    assert to_precision(model, "fp32").model is model


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_the_model_given_is_not_touched(precision):
    model = vit()
    before = ir.to_proto(model).SerializeToString()
    to_precision(model, precision)
    assert ir.to_proto(model).SerializeToString() == before


@pytest.mark.parametrize("precision", ["int8", "nvfp4"])
def test_quantised_precisions_are_the_users_mistake(precision):
    with pytest.raises(UserMistake, match="not in this version"):
        to_precision(vit(), precision)


@pytest.mark.parametrize("keep", [{"scores", "softmax"}, lambda node: node.name in ("scores", "softmax")])
def test_kept_nodes_stay_float32_with_one_cast_a_value(keep):
    result = to_precision(vit(), "fp16", keep)
    proto = checked(result)
    # scaled lies between the two, so the chain goes up twice; q and k each once, never a cast of a cast
    wanted = {
        ("images", HALF),
        ("q", FLOAT),
        ("k", FLOAT),
        ("s0", HALF),
        ("s1", FLOAT),
        ("a", HALF),
        ("logits_fp16", FLOAT),
    }
    assert len(casts(proto)) == len(wanted) and set(casts(proto)) == wanted
    assert {row["node"]: row["why"] for row in result.islands} == {"scores": "asked for", "softmax": "asked for"}


def test_a_reason_given_with_a_name_stands_in_the_report():
    result = to_precision(vit(), "fp16", {"softmax": "measured"})
    assert result.islands == [{"node": "softmax", "op": "Softmax", "why": "measured"}]


def test_neighbouring_islands_share_their_values():
    proto = checked(to_precision(vit(), "fp16", {"scores", "scaled", "softmax"}))
    assert sorted(name for name, _ in casts(proto)) == ["a", "images", "k", "logits_fp16", "q"]


def test_a_value_read_twice_is_cast_once():
    model = parse(
        "g (float[4] x) => (float[4] y) { a = Relu(x) b = Exp(a) [s] c = Sin(a) [t] d = Cos(a) e = Add(c, d) y = Add(b, e) }"
    )
    result = to_precision(model, "fp16", {"s", "t"})
    assert [name for name, _ in casts(checked(result))].count("a") == 1


def test_a_weight_read_by_both_sides_exists_twice():
    model = parse(
        "g (float[2, 4] x) => (float[2, 4] y) { [a] h = MatMul(x, w) [b] y = MatMul(h, w) }",
        w=np.eye(4, dtype=np.float32),
    )
    proto = checked(to_precision(model, "fp16", {"b"}))
    assert sorted((tensor.name, tensor.data_type) for tensor in proto.graph.initializer) == [
        ("w", FLOAT),
        ("w_fp16", HALF),
    ]


GGEM = """
g (float[1, 4, 6] x) => (float[1, 6] y)
<float low = {1e-6}, int64[4] grouped = {1, 4, 3, 2}, int64[1] axis = {1}, int64[2] flat = {1, 6}>
{
  [stem] h = Mul(x, x)
  [clip] a = Clip(h, low)
  [view] b = Reshape(a, grouped)
  [power] c = Pow(b, p)
  [mean] d = ReduceMean<keepdims = 0>(c, axis)
  [inverse] q = Reciprocal(p)
  [root] e = Pow(d, q)
  [out] y = Reshape(e, flat)
}
"""


def test_ggem_pooling_is_an_island():
    p = np.array([[3.0], [2.0], [5.0]], np.float32)
    model = parse(GGEM, p=p)
    result = to_precision(model, "fp16")
    assert {row["node"] for row in result.islands} == {"clip", "view", "power", "mean", "inverse", "root"}
    assert all("GGeM" in row["why"] for row in result.islands)
    # 40^5 leaves fp16: only the island makes this finite, the rest of the error is one fp16 rounding at each border
    x = np.random.default_rng(0).uniform(5, 6.3, (1, 4, 6)).astype(np.float32)
    np.testing.assert_allclose(run(checked_model(result), x), run(model, x), rtol=4e-3)


def checked_model(result):
    checked(result)
    return result.model


def test_an_epsilon_that_fp16_loses_keeps_its_node():
    text = "g (float[4] x) => (float[4] y) <float tiny = {1e-12}> { [guard] m = Max(x, tiny) [ratio] y = Div(x, m) }"
    result = to_precision(parse(text), "fp16")
    assert [row["node"] for row in result.islands] == ["guard"]
    assert "becomes 0 in fp16" in result.islands[0]["why"]
    assert to_precision(parse(text), "bf16").islands == []


def test_a_weight_that_fp16_cannot_hold_keeps_its_node_but_a_mask_saturates():
    big = np.array([1e5, -1e9], np.float32)
    product = to_precision(parse("g (float[2] x) => (float[2] y) { [scale] y = Mul(x, w) }", w=big), "fp16")
    assert "1.0e+09" in product.islands[0]["why"]
    mask = to_precision(parse("g (float[2] x) => (float[2] y) { [mask] y = Add(x, w) }", w=big), "fp16")
    assert mask.islands == [] and mask.report["weights"]["overflow"] == 2
    stored = mask.model.graph.initializers["w_fp16"].const_value.numpy()
    assert stored.tolist() == [65504.0, -65504.0]


def test_lost_weights_are_counted():
    weights = np.array([1e-9, 1.0, 0.0, -1e-8], np.float32)
    report = to_precision(parse("g (float[4] x) => (float[4] y) { y = Mul(x, w) }", w=weights), "fp16").report[
        "weights"
    ]
    assert report["underflow"] == 2 and report["converted"] == 1 and report["elements"] == 4
    assert (report["bytes_before"], report["bytes_after"]) == (16, 8)
    assert report["lossy"] == [{"name": "w", "size": 4, "overflow": 0, "underflow": 2}]


def test_casts_from_integers_follow_and_float_casts_go():
    text = """g (float[4] x, int64[4] n) => (float[4] y) {
      a = Cast<to = 1>(n)
      b = Cast<to = 1>(x)
      c = ConstantOfShape<value = float[1] {2.0}>(s)
      d = Add(a, b)
      y = Mul(d, c)
    }"""
    result = to_precision(parse(text, s=np.array([4])), "fp16")
    proto = checked(result)
    assert sorted(casts(proto)) == sorted([("x", HALF), ("n", HALF), ("y_fp16", FLOAT)])
    fill = next(node for node in proto.graph.node if node.op_type == "ConstantOfShape")
    assert fill.attribute[0].t.data_type == HALF


def test_an_input_that_is_low_already_is_cast_where_float32_is_kept():
    text = """g (float16[1, 4] stored, float[4] x) => (float[4] y, float[4] z) {
      row = Squeeze(stored, first)
      a = Cast<to = 1>(row)
      [kept] y = Add(a, x)
      [low] z = Mul(a, x)
    }"""
    proto = checked(to_precision(parse(text, first=np.array([0])), "fp16", keep={"kept"}))
    assert sorted(casts(proto)) == sorted([("row", FLOAT), ("x", HALF), ("z_fp16", FLOAT)])


def test_constant_nodes_become_typed_initializers():
    result = to_precision(
        parse("g (float[2] x) => (float[2] y) { c = Constant<value_floats = [1.5, 2.5]>() y = Mul(x, c) }"), "fp16"
    )
    checked(result)
    assert "Constant" not in ops(result) and result.report["weights"]["converted"] == 1


def test_shape_arithmetic_and_resize_scales_stay():
    text = """g (float[1, 1, 3, H] x) => (float[a, b, c, d] y)
      { shape = Shape(x) f = Cast<to = 1>(shape) [half] g2 = Div(f, two) [back] n = Cast<to = 7>(g2)
        r = Resize<mode = "nearest">(x, , scales) [cut] y = Reshape(r, free) z = Identity(n) }"""
    scales = np.array([1, 1, 2, 2], np.float32)
    model = parse(text, two=np.array(2, np.float32), scales=scales, free=np.array([1, 1, 6, -1]))
    model.graph.outputs.append(next(node for node in model.graph if node.op_type == "Identity").outputs[0])
    result = to_precision(model, "fp16")
    proto = ir.to_proto(result.model)
    resize = next(node for node in proto.graph.node if node.op_type == "Resize")
    assert resize.input[2] == "scales"
    assert next(tensor for tensor in proto.graph.initializer if tensor.name == "scales").data_type == FLOAT
    assert {row["node"] for row in result.islands if "shapes" in row["why"]} >= {"half", "back"}


def test_control_flow_is_refused_in_words():
    body = onnx.parser.parse_graph("body () => (float[1] z) { z = Constant<value_floats = [1.0]>() }")
    node = onnx.helper.make_node("If", ["c"], ["y"], name="fork", then_branch=body, else_branch=body)
    graph = onnx.parser.parse_model(HEAD + "g (bool c) => (float[1] y) { y = Cast<to = 1>(c) }")
    del graph.graph.node[:]
    graph.graph.node.append(node)
    with pytest.raises(EdgesmithError, match="fork holds a graph of its own"):
        to_precision(ir.from_proto(graph), "fp16")


OVERFLOW = "g (float[1, 8] x) => (float[1, 8] y) { [up] a = Mul(x, k) [square] b = Mul(a, a) [down] c = Div(b, big) [last] y = Sub(c, x) }"


def test_an_overflow_is_found_and_kept():
    model = parse(OVERFLOW, k=np.array(100.0, np.float32), big=np.array(5e4, np.float32))
    x = np.random.default_rng(0).uniform(2, 8, (1, 8)).astype(np.float32)
    assert not np.isfinite(run_rounded(to_precision(model, "fp16").model, {"x": x}, None)["y"]).all()
    found = choose_islands(model, {"x": x})
    assert set(found.names) == {"square", "down"} and "more than 65504" in found.why["square"]
    assert found.cosine_before == -1 and found.cosine_after >= found.limit and OPTIMISM in found.notes
    assert np.isfinite(run_rounded(checked_model(to_precision(model, "fp16", found.names)), {"x": x}, None)["y"]).all()


CANCEL = """g (float[1, 64] x) => (float[1, 64] y)
  { [far] a = Add(x, off) [near] b = Sub(a, off) [calm] c = Tanh(b) [wave] d = Sin(c) y = Identity(d) }"""


def test_a_loss_of_parity_is_traced_to_the_nodes_that_cause_it():
    model = parse(CANCEL, off=np.array(2000.0, np.float32))  # in fp16 the sum keeps steps of 1 or 2
    x = np.random.default_rng(0).standard_normal((1, 64)).astype(np.float32)
    found = choose_islands(model, {"x": x})
    assert found.cosine_before < 0.99 and found.cosine_after >= 0.9999
    assert "far" in found.names and "wave" not in found.names
    assert "error rises here" in found.why["far"]


def test_the_worst_picture_of_the_worst_output_decides():
    """Eight outputs are exact and one of four pictures is far off in the ninth: no mean may hide it."""
    exact = " ".join(f"y{index} = Tanh(x)" for index in range(8))
    head = ", ".join(f"float[4, 64] y{index}" for index in range(8))
    model = parse(
        f"g (float[4, 64] x) => ({head}, float[4, 64] z) {{ {exact} [far] a = Add(x, off) [near] b = Sub(a, off) z = Tanh(b) }}",
        off=np.array([[0], [0], [4000], [0]], np.float32),
    )
    x = np.random.default_rng(0).standard_normal((4, 64)).astype(np.float32)
    found = choose_islands(model, {"x": x})
    low = run_rounded(to_precision(model, "fp16").model, {"x": x}, None)["z"][2].astype(np.float64)
    right = np.tanh(x[2].astype(np.float64))
    assert found.cosine_before == pytest.approx(right @ low / np.linalg.norm(right) / np.linalg.norm(low), abs=1e-4)
    assert found.cosine_before < 0.9 and found.cosine_after >= 0.9999 and "far" in found.names


def test_no_islands_where_none_are_needed():
    found = choose_islands(vit(), {"images": images()})
    assert found.names == frozenset() and found.cosine_before == found.cosine_after > 0.9999


def test_bf16_islands_are_judged_by_emulation():
    found = choose_islands(vit(), {"images": images()}, precision="bf16")
    assert found.names == frozenset() and 0.999 <= found.cosine_before < 1


def test_run_values_gives_the_named_values():
    values = run_values(vit(), {"images": images()}, ["a", "s1", "no such value"])
    assert set(values) == {"logits", "a", "s1"} and values["a"].shape == (1, 2, 16, 16)
