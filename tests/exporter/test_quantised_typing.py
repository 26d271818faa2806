"""16 bits around Q/DQ: codes stay as they are, scales follow their tensors, and the CPU shows the rounding of an engine."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from attention_graph import images, vit
from quantised_flow import chosen, quantised

from edgesmith.exporter.precision.casts import to_precision
from edgesmith.exporter.precision.emulate import emulate
from edgesmith.exporter.precision.islands import choose_islands
from edgesmith.exporter.precision.scales_behind import scales_behind
from edgesmith.graph.run import run_values
from edgesmith.runtime.errors import UserMistake

LOW = {"fp16": ir.DataType.FLOAT16, "bf16": ir.DataType.BFLOAT16}


@pytest.fixture(scope="module")
def graph():
    return quantised(vit(4), {"images": images(4)})


def of_type(model, op_type):
    return [node for node in model.graph if node.op_type == op_type]


def codes_of(model):
    """Every initializer that holds codes or a zero point, by name."""
    tensors = {name: value.const_value for name, value in model.graph.initializers.items()}
    return {name: tensor.numpy() for name, tensor in tensors.items() if tensor.dtype == ir.DataType.INT8}


def logits(model, precision, count=4):
    return run_values(emulate(model, precision), {"images": images(count)}, None)["logits"]


def sqnr_db(wanted, found):
    wanted = wanted.astype(np.float64)
    return float(10 * np.log10((wanted**2).sum() / ((wanted - found) ** 2).sum()))


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_scales_have_the_type_of_their_tensors_and_codes_do_not_change(precision):
    graph = quantised(vit(4), {"images": images(4)}, low=precision)
    typed = to_precision(graph.model, precision).model
    onnx.checker.check_model(ir.to_proto(typed), full_check=True)
    quantisers, dequantisers = of_type(typed, "QuantizeLinear"), of_type(typed, "DequantizeLinear")
    assert len(quantisers) == len(chosen(graph)) == 6 and len(dequantisers) == 12
    for node in (*quantisers, *dequantisers):
        assert node.inputs[1].const_value.dtype == LOW[precision]
    assert all(node.outputs[0].dtype == LOW[precision] for node in dequantisers)
    before, after = codes_of(graph.model), codes_of(typed)
    assert before.keys() == after.keys()
    for name, array in before.items():
        np.testing.assert_array_equal(after[name], array)
    # the table's scales are representable, so no step is another number in the typed graph
    ranges = graph.scales.activations
    assert {float(node.inputs[1].const_value.numpy()) for node in quantisers} == {
        float(one.scale) for one in ranges.values()
    }


def test_no_cast_stands_between_a_product_and_its_codes(graph):
    typed = to_precision(graph.model, "fp16").model
    for node in typed.graph:
        if str(node.name) in chosen(graph):
            assert [value.producer().op_type for value in node.inputs[:2]] == ["DequantizeLinear"] * 2
    assert {node.inputs[0].name for node in of_type(typed, "Cast")} == {"images", "logits_fp16"}


def test_channel_scales_go_behind_the_product_and_change_nothing_but_rounding(graph):
    moved = graph.model.clone()
    assert scales_behind(moved) == 6
    feeds = {"images": images(4)}
    wanted, found = (run_values(model, feeds, None)["logits"] for model in (graph.model, moved))
    # powers of two aside, one product is rounded differently: a code in some thousand flips
    assert sqnr_db(wanted, found) > 60
    for node in of_type(moved, "MatMul"):
        if str(node.name) in chosen(graph):
            step = float(node.inputs[1].producer().inputs[1].const_value.numpy())
            assert np.log2(step) == round(np.log2(step))
            assert [use.node.op_type for use in node.outputs[0].uses()] == ["Mul"]
    assert scales_behind(moved) == 0


def test_sums_of_codes_stay_in_fp16_only_with_the_scales_behind():
    """K = 1024 products of codes up to 127: the sum that an engine stores passes 65504, the scaled one does not."""
    rng = np.random.default_rng(0)
    model = ir.from_onnx_text("""
      <ir_version: 10, opset_import: ["" : 20]>
      g (float[2, 4, 1024] x) => (float[2, 4, 64] y) { [up] h = MatMul(x, w) [act] y = Tanh(h) }""")
    weight = np.abs(rng.standard_normal((1024, 64))).astype(np.float32) * np.linspace(0.1, 1, 64, dtype=np.float32)
    model.graph.inputs[0].name = "images"
    model.graph.initializers.add(
        value := ir.Value(name="w", shape=ir.Shape(weight.shape), type=ir.TensorType(ir.DataType.FLOAT))
    )
    value.const_value = ir.tensor(weight, name="w")
    next(iter(model.graph)).replace_input_with(1, value)
    feeds = {"images": np.abs(rng.standard_normal((2, 4, 1024))).astype(np.float32)}
    graph = quantised(model, feeds, also=("up",))
    assert chosen(graph) == ["up"]
    before = graph.model.clone()
    real = run_values(before, feeds, ["h"])["h"]
    steps = graph.scales.activations["up"].scale * graph.scales.weights["up"].scale.ravel()
    assert np.abs(real / steps).max() > 65504
    typed = to_precision(graph.model, "fp16").model
    stored = run_values(emulate(typed, "fp16"), feeds, ["h_unscaled", "h"])
    assert np.abs(stored["h_unscaled"]).max() < 2 * np.abs(real).max() < 65504
    np.testing.assert_allclose(stored["h"], real, rtol=4e-3)


MAPS = """
<ir_version: 10, opset_import: ["" : 20]>
g (float[1, 16, 8, 8] images) => (float[1, 16, 8, 8] logits)
{
  [stem] s = Relu(images)
  [up] a = Conv<kernel_shape = [1, 1]>(s, w1, b1)
  [deep] b = Conv<kernel_shape = [3, 3], pads = [1, 1, 1, 1], group = 32>(a, w2, b2)
  [gelu] c = Gelu(b)
  [down] d = Conv<kernel_shape = [1, 1]>(c, w3, b3)
  [last] logits = Add(d, images)
}
"""


def maps():
    rng = np.random.default_rng(3)
    proto = onnx.parser.parse_model(MAPS)
    shapes = {"w1": (32, 16, 1, 1), "b1": (32,), "w2": (32, 1, 3, 3), "b2": (32,), "w3": (16, 32, 1, 1), "b3": (16,)}
    proto.graph.initializer.extend(
        onnx.numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32) / 3, name)
        for name, shape in shapes.items()
    )
    return ir.from_proto(proto)


def test_a_convolution_hands_its_scales_to_the_depthwise_one_behind_it():
    feeds = {"images": np.random.default_rng(1).standard_normal((1, 16, 8, 8)).astype(np.float32)}
    graph = quantised(maps(), feeds, also=("up", "down"), equalise=False)
    assert chosen(graph) == ["up", "down"]
    typed = to_precision(graph.model, "fp16", engine="tensorrt_rtx")
    assert typed.report["scales_behind"] == 2
    names = [str(node.name) for node in typed.model.graph]
    assert "up_scale" not in names and {"down_scale", "down_bias"} <= set(names)
    wanted = run_values(graph.model, feeds, None)["logits"]
    found = run_values(emulate(typed.model, "fp16"), feeds, None)["logits"]
    assert sqnr_db(wanted, found) > 45
    # TensorRT itself takes the scales of a convolution along
    elsewhere = to_precision(graph.model, "fp16")
    assert "scales_behind" not in elsewhere.report


def test_islands_beside_codes_have_float32_scales(graph):
    typed = to_precision(graph.model, "fp16", {"norm2", "up", "pool"}).model
    nodes = {str(node.name): node for node in typed.graph}
    assert nodes["up_Q"].inputs[1].const_value.dtype == ir.DataType.FLOAT  # reads what norm2 makes in float32
    assert nodes["up_DQ"].outputs[0].dtype == nodes["up_weight_DQ"].outputs[0].dtype == ir.DataType.FLOAT
    assert nodes["up"].outputs[0].dtype == ir.DataType.FLOAT and "up_scale" not in nodes
    assert nodes["down_DQ"].outputs[0].dtype == ir.DataType.FLOAT16
    onnx.checker.check_model(ir.to_proto(typed), full_check=True)


def test_codes_of_a_float32_island_are_read_in_16_bits_without_a_cast(graph):
    typed = to_precision(graph.model, "fp16", {"norm2"}).model
    nodes = {str(node.name): node for node in typed.graph}
    assert nodes["up_Q"].inputs[0] is nodes["norm2"].outputs[0]
    assert nodes["up_DQ"].outputs[0].dtype == ir.DataType.FLOAT16
    assert nodes["up_Q"].inputs[1].const_value.numpy() == nodes["up_DQ"].inputs[1].const_value.numpy()


def test_names_of_islands_found_on_the_float_graph_hold_on_the_quantised_one():
    model = vit(2)
    up = next(node for node in model.graph if node.name == "up")
    weight = up.inputs[1]
    weight.const_value = ir.tensor(weight.const_value.numpy() * np.float32(3e5), name="w1")  # 1e5 and more: past fp16
    found = choose_islands(model, {"images": images(2)})
    assert {"up", "gelu"} <= found.names
    graph = quantised(model, {"images": images(2)}, also=("head",))
    typed = to_precision(graph.model, "fp16", found.why)
    assert {"up", "gelu", "up_DQ", "up_weight_DQ", "down_Q"} <= {row["node"] for row in typed.islands}
    assert np.isfinite(logits(typed.model, "fp16", 2)).all()
    assert not np.isfinite(logits(to_precision(graph.model, "fp16").model, "fp16", 2)).all()


def test_the_bias_that_was_cut_off_a_gemm_goes_with_it():
    graph = quantised(vit(2), {"images": images(2)}, also=("head",))
    typed = to_precision(graph.model, "fp16", {"head": "measured"})
    whys = {row["node"]: row["why"] for row in typed.islands}
    assert whys["head"] == whys["head_bias"] == "measured" and "head" in whys["head_DQ"]


def test_a_scale_that_fp16_loses_keeps_its_node():
    graph = quantised(vit(2), {"images": images(2)})
    node = next(node for node in graph.model.graph if node.name == "down_Q")
    small = node.inputs[1]
    small.const_value = ir.tensor(np.float32(1e-5), name=small.name)  # representable, but 1e5 is not
    whys = {row["node"]: row["why"] for row in to_precision(graph.model, "fp16").islands}
    assert "reciprocal of the scale 1.0e-05" in whys["down_Q"]
    small.const_value = ir.tensor(np.float32(1e-9), name=small.name)
    whys = {row["node"]: row["why"] for row in to_precision(graph.model, "fp16").islands}
    assert "becomes 0 in fp16" in whys["down_DQ"]
    assert not to_precision(graph.model, "bf16").islands


@pytest.mark.parametrize(("precision", "share"), [("fp16", 0.03), ("bf16", 0.2)])
def test_codes_of_the_engine_are_within_one_of_the_exact_ones(precision, share):
    """x * (1 / s) in 16 bits against x / s in float64, on the very values that the typed graph quantises."""
    graph = quantised(vit(4), {"images": images(4)}, low=precision)
    emulated = emulate(to_precision(graph.model, precision).model, precision)
    nodes = {str(node.name): node for node in graph.model.graph}
    scale = graph.scales.activations["up"].scale
    found = run_values(emulated, {"images": images(4)}, ["n2", nodes["up_Q"].outputs[0].name])
    exact = np.clip(np.rint(found["n2"].astype(np.float64) / scale), -128, 127)
    codes = found[nodes["up_Q"].outputs[0].name].astype(np.float64)
    assert np.abs(codes - exact).max() <= 1
    assert 0 < (codes != exact).mean() < share


def test_the_emulation_rounds_the_reciprocal_and_the_product():
    text = """<ir_version: 10, opset_import: ["" : 20]>
    g (float[1, 400] images) => (float[1, 400] logits)
    { [q] c = QuantizeLinear(images, s, z) [dq] d = DequantizeLinear(c, s, z) logits = Neg(d) }"""
    proto = onnx.parser.parse_model(text)
    scale = np.float16(0.0123)
    for name, array in (("s", np.float32(scale)), ("z", np.int8(0))):
        proto.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(array), name))
    x = np.linspace(-1.7, 1.7, 400, dtype=np.float32)[None]
    emulated = emulate(to_precision(ir.from_proto(proto), "fp16").model, "fp16")
    codes = run_values(emulated, {"images": x}, ["c"])["c"]
    product = x.astype(np.float16) * np.float16(1 / np.float32(scale))
    np.testing.assert_array_equal(codes, np.clip(np.rint(product), -128, 127).astype(np.int8))


@pytest.mark.parametrize(("precision", "worst_db"), [("fp16", 40), ("bf16", 25)])
def test_a_typed_quantised_graph_agrees_with_the_float32_one(graph, precision, worst_db):
    wanted = run_values(graph.model, {"images": images(4)}, None)["logits"]
    assert sqnr_db(wanted, logits(to_precision(graph.model, precision).model, precision)) > worst_db


def test_fp8_codes_survive_typing():
    eight = quantised(vit(2), {"images": images(2)}, precision="fp8")
    typed = to_precision(eight.model, "fp16").model
    onnx.checker.check_model(ir.to_proto(typed), full_check=True)
    kinds = {value.const_value.dtype for value in typed.graph.initializers.values()}
    assert ir.DataType.FLOAT8E4M3FN in kinds
    wanted = run_values(eight.model, {"images": images(2)}, None)["logits"]
    assert sqnr_db(wanted, logits(typed, "fp16", 2)) > 25


def test_an_opset_without_16_bit_scales_is_refused(graph):
    old = graph.model.clone()
    old.graph.opset_imports[""] = 17
    with pytest.raises(UserMistake, match="Opset 17") as caught:
        to_precision(old, "fp16")
    assert "--opset 20" in str(caught.value)
    assert to_precision(old, "fp32").model is old
