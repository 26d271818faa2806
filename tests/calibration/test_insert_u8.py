"""The form of convolutional networks: whole chains on codes, equal scales where codes are only moved."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir
import pytest
from quantised_flow import quantised
from saturation import exact_products
from scale_tables import chain_table
from silu_detector import silu_detector

from edgesmith.calibration.forms.u8 import insert_u8
from edgesmith.calibration.judge.accuracy import sqnr_db
from edgesmith.calibration.nouns import Recipe, ScaleTable
from edgesmith.calibration.sites.observed import chain_nodes, chain_values, tensors_for
from edgesmith.calibration.sites.sites import find_sites
from edgesmith.graph.run import open_session, run_values

IMAGES = {"images": np.random.default_rng(2).standard_normal((1, 3, 32, 32)).astype(np.float32)}
# a float island (Gelu) in the middle, a clamp, a pool, and a float reader of a quantised value
TEXT = """
<ir_version: 10, opset_import: ["" : 20]>
net (float[1, 4, 8, 8] x) => (float[1, 4, 4, 4] y, float[1, 4, 8, 8] side)
{
  first = Conv(x, w1, b1)
  zeroed = Relu(first)
  second = Conv(zeroed, w2)
  curved = Gelu(second)
  third = Conv(curved, w3)
  side = Gelu(third)
  pooled = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(third)
  fourth = Conv(pooled, w4)
  y = Tanh(fourth)
}
"""


@pytest.fixture(scope="module")
def net() -> ir.Model:
    proto, rng = onnx.parser.parse_model(TEXT), np.random.default_rng(3)
    shapes = {"b1": (4,)} | {f"w{i}": (4, 4, 1, 1) for i in (1, 2, 3, 4)}
    for name, shape in shapes.items():
        array = rng.standard_normal(shape).astype(np.float32)
        proto.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    for node in proto.graph.node:
        node.name = node.output[0]
    return ir.from_proto(onnx.shape_inference.infer_shapes(proto))


FEEDS = {"x": np.random.default_rng(4).standard_normal((1, 4, 8, 8)).astype(np.float32)}


@pytest.fixture(scope="module")
def inserted(net) -> ir.Model:
    sites = find_sites(net, FEEDS)
    return insert_u8(net, sites, chain_table(net, sites, FEEDS), Recipe(form="u8"))


def nodes(model: ir.Model) -> dict[str, ir.Node]:
    return {str(node.name): node for node in model.graph}


def test_chains_end_at_what_has_no_integer_kernel(net):
    sites = {"first", "second", "third", "fourth"}
    assert {node.name for node in chain_nodes(net, sites)} == sites | {"zeroed", "pooled"}
    ranges = {str(value.name): str(source.name) for value, source in chain_values(net, sites).items()}
    assert ranges == {
        "x": "x", "zeroed": "zeroed", "second": "second", "curved": "curved", "third": "third", "pooled": "third",
        "fourth": "fourth",
    }, "the clamped value has codes, not the one before; pooled codes are those of the pool's input"  # fmt: skip
    assert {node.name for node in chain_nodes(net, {"fourth"})} == {"fourth"}


def test_each_value_is_quantised_once_and_dequantised_for_every_reader(inserted):
    onnx.checker.check_model(ir.to_proto(inserted), full_check=True)
    quantised = {node.inputs[0].name for node in inserted.graph if node.op_type == "QuantizeLinear"}
    assert quantised == {"x", "zeroed", "second", "curved", "third", "pooled", "fourth"}
    for node in inserted.graph:
        if node.op_type == "DequantizeLinear" and node.inputs[0].producer() is not None:
            assert len(list(node.outputs[0].uses())) == 1
    assert nodes(inserted)["side"].inputs[0].producer().op_type == "DequantizeLinear", "a chain made it: codes only"
    assert nodes(inserted)["zeroed"].inputs[0].producer().op_type == "Conv", "nothing between a Conv and its clamp"


def test_codes_that_are_moved_keep_scale_and_zero_point(inserted):
    before, after = nodes(inserted)["third_Q"], nodes(inserted)["pooled_Q"]
    for index in (1, 2):
        assert before.inputs[index].const_value.numpy() == after.inputs[index].const_value.numpy()
    assert after.inputs[2].const_value.numpy() > 0, "asymmetric"


def test_the_bias_has_the_scale_of_the_sums(net, inserted):
    dequantise = nodes(inserted)["first"].inputs[2].producer()
    codes, scale = (value.const_value.numpy() for value in dequantise.inputs)
    assert codes.dtype == np.int32
    weight = nodes(inserted)["first"].inputs[1].producer().inputs[1].const_value.numpy()
    np.testing.assert_array_equal(scale, weight * nodes(inserted)["x_Q"].inputs[1].const_value.numpy())
    bias = net.graph.initializers["b1"].const_value.numpy()
    np.testing.assert_allclose(codes * scale, bias, atol=scale.max() / 2)


@pytest.mark.parametrize("optimise", [False, pytest.param(True, marks=exact_products)])
def test_the_numbers_are_those_of_the_float_graph_but_for_eight_bits(net, inserted, optimise):
    outputs = ["y", "side"]
    whole = open_session(net, optimise=False).run(outputs, FEEDS)
    for expected, found in zip(whole, open_session(inserted, optimise=optimise).run(outputs, FEEDS), strict=True):
        assert 28 < sqnr_db(expected, found) < 60


def test_a_graph_output_is_not_rounded():
    net = silu_detector(32, 8, 2)
    boxes = net.graph[-1]
    boxes.outputs[0].name = None
    conv = boxes.inputs[0].producer()
    conv.outputs[0].name, net.graph.outputs[0] = "boxes", conv.outputs[0]
    net.graph.remove(boxes, safe=True)
    sites = find_sites(net, IMAGES)
    assert conv.name in {site.node for site in sites}
    found = insert_u8(net, sites, chain_table(net, sites, IMAGES), Recipe(form="u8"))
    assert found.graph.outputs[0].producer().op_type == "Conv"
    assert found.graph.outputs[0].producer().inputs[1].is_initializer(), "its weight stays in float too"


def test_a_detector_is_one_chain_from_stem_to_head():
    net = silu_detector(32, 8, 2)
    sites = find_sites(net, IMAGES)
    table = chain_table(net, sites, IMAGES)
    found = insert_u8(net, sites, table, Recipe(form="u8"))
    onnx.checker.check_model(ir.to_proto(found), full_check=True)
    quantised = {node.inputs[0].producer() for node in found.graph if node.op_type == "QuantizeLinear"}
    floats = Counter(node.op_type for node in found.graph if node not in quantised)
    assert floats.keys() == {"QuantizeLinear", "DequantizeLinear", "Identity"}
    assert sqnr_db(run_values(net, IMAGES, None)["boxes"], run_values(found, IMAGES, None)["boxes"]) > 18


def test_statistics_of_all_sites_serve_every_choice_among_them():
    net = silu_detector(32, 8, 2)
    sites = find_sites(net, IMAGES)
    every = set(tensors_for("u8", sites, net))
    pool = next(node for node in net.graph if node.op_type == "MaxPool")
    assert pool.outputs[0].name in every, "a chain may start behind the pool"
    for left_out in sites:
        some = [site for site in sites if site is not left_out]
        assert set(tensors_for("u8", some, net)) <= every
        alone = chain_values(net, {left_out.node})
        assert {str(value.name) for value in (*alone, *alone.values())} <= every
        table = chain_table(net, sites, IMAGES)
        fewer = {name: weight for name, weight in table.weights.items() if name != left_out.node}
        found = insert_u8(net, sites, ScaleTable({}, fewer, table.values), Recipe(form="u8"))
        assert nodes(found)[left_out.node].inputs[1].is_initializer()


def test_a_value_without_a_range_is_an_error(net):
    sites = find_sites(net, FEEDS)
    table = chain_table(net, sites, FEEDS)
    fewer = {name: found for name, found in table.values.items() if name != "third"}
    with pytest.raises(KeyError, match="third"):
        insert_u8(net, sites, replace(table, values=fewer), Recipe(form="u8"))


def test_the_other_forms_observe_the_inputs_of_the_sites(net):
    sites = find_sites(net, FEEDS)
    for form in ("qdq", "dynamic", "weights"):
        assert tensors_for(form, sites, net) == {"x": 1, "zeroed": 1, "curved": 1, "pooled": 1}


@pytest.mark.parametrize("weight", [0.0, 1e-12, 1e-6], ids=["dead", "tiny", "small"])
def test_a_channel_of_no_or_tiny_weights_keeps_its_bias(net, weight):
    """Its bias in int32 would be at the scale of the weights times that of the input: subnormal, or too small for the bias."""
    model = net.clone()
    for name in ("w1", "b1"):
        array = model.graph.initializers[name].const_value.numpy().copy()
        array[2] = weight if name == "w1" else 3.0
        model.graph.initializers[name].const_value = ir.tensor(array, name=name)
    also = tuple(site.node for site in find_sites(model, FEEDS))
    found = quantised(model, FEEDS, form="u8", smooth=0.0, equalise=False, low="fp32", also=also)
    scales = [
        value.const_value.numpy() for name, value in found.model.graph.initializers.items() if name.endswith("_scale")
    ]
    assert all((each >= np.finfo(np.float32).tiny).all() for each in scales)
    wanted, got = (run_values(each, FEEDS, ["zeroed"])["zeroed"] for each in (model, found.model))
    np.testing.assert_allclose(got[:, 2], wanted[:, 2], atol=0.05)
    assert np.abs(wanted[:, 2] - 3).max() < 1e-4
