"""The portable form: what is written, node by node, and that it computes what its scales say."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import pytest
from linear_graph import LINEARS, feeds, linear_graph
from scale_tables import symmetric_table
from silu_detector import silu_detector

from edgesmith.calibration.forms.qdq import insert_qdq
from edgesmith.calibration.judge.accuracy import sqnr_db
from edgesmith.calibration.nouns import Recipe, ScaleTable
from edgesmith.calibration.sites.sites import find_sites
from edgesmith.graph.run import run_values


@pytest.fixture(scope="module")
def model() -> ir.Model:
    return linear_graph()


@pytest.fixture(scope="module")
def sites(model):
    return find_sites(model, feeds())


@pytest.fixture(scope="module")
def table(model, sites) -> ScaleTable:
    return symmetric_table(model, sites, feeds())


@pytest.fixture(scope="module")
def inserted(model, sites, table) -> ir.Model:
    return insert_qdq(model, sites, table, Recipe())


def nodes(model: ir.Model) -> dict[str, ir.Node]:
    return {str(node.name): node for node in model.graph}


def test_each_site_has_a_pair_and_codes_of_its_own(inserted):
    onnx.checker.check_model(ir.to_proto(inserted), full_check=True)
    ops = Counter(node.op_type for node in inserted.graph)
    assert ops["QuantizeLinear"] == len(LINEARS)
    assert ops["DequantizeLinear"] == 2 * len(LINEARS)
    scalars: list[str] = []
    for name in LINEARS:
        site = nodes(inserted)[name]
        assert site.op_type == "MatMul"
        pair, weight = (value.producer() for value in site.inputs)
        quantise = pair.inputs[0].producer()
        assert [node.op_type for node in (quantise, pair, weight)] == ["QuantizeLinear", *["DequantizeLinear"] * 2]
        assert len(list(pair.outputs[0].uses())) == len(list(quantise.outputs[0].uses())) == 1
        assert quantise.inputs[2].const_value.numpy() == 0
        assert [value.name for value in quantise.inputs[1:]] == [value.name for value in pair.inputs[1:]]
        scalars += [value.name for value in quantise.inputs[1:]]
        assert weight.inputs[0].dtype == ir.DataType.INT8
        assert len(weight.inputs) == 2
        assert weight.attributes["axis"].as_int() == 1
    assert len(set(scalars)) == len(scalars), (
        "with one scale or zero point for two sites, ONNX Runtime merges the pairs"
    )


def test_a_bias_is_subtracted_negated_behind_the_product(model, inserted):
    for name, bias in (("map", "b_map"), ("q", "b_q"), ("v", "b_v")):
        node = nodes(inserted)[name]
        assert node.op_type == "Sub"
        assert node.inputs[0].producer().op_type == "MatMul"
        expected = model.graph.initializers[bias].const_value.numpy()
        np.testing.assert_array_equal(-node.inputs[1].const_value.numpy(), expected)
    hidden = nodes(inserted)["hidden"].outputs[0]
    (reader,) = [use.node for use in hidden.uses()]
    assert (reader.op_type, reader.outputs[0].name) == ("Sub", "hidden")
    half = 0.5 * model.graph.initializers["b_hidden"].const_value.numpy()
    np.testing.assert_array_equal(-reader.inputs[1].const_value.numpy(), half)


def test_it_computes_what_the_scales_say(model, sites, table, inserted):
    """One linear by hand: codes of x times codes of w, times both scales, plus the bias."""
    values = run_values(inserted, feeds(), ["normal", "q"])
    found, weight = table.activations["q_product"], table.weights["q_product"]
    codes = np.clip(np.rint(values["normal"] / np.float32(found.scale)), -128, 127)
    bias = model.graph.initializers["b_q"].const_value.numpy()
    expected = codes @ weight.codes.astype(np.float64) * found.scale * weight.scale + bias
    np.testing.assert_allclose(values["q"], expected, atol=1e-5)


def test_the_outputs_are_those_of_the_float_graph_but_for_eight_bits(model, inserted):
    expected, found = run_values(model, feeds(), None), run_values(inserted, feeds(), None)
    assert list(found) == list(expected)
    for name, array in expected.items():
        assert 28 < sqnr_db(array, found[name]) < 60  # 32 and 34 dB measured; a bit less would cost 6


def test_names_stay_and_the_graph_given_is_not_changed(model, inserted):
    assert set(nodes(model)) <= set(nodes(inserted))
    assert "QuantizeLinear" not in {node.op_type for node in model.graph}
    assert nodes(model)["hidden"].op_type == "Gemm"


def test_the_file_is_less_than_0_3_of_float32(model, inserted):
    before, after = (len(ir.to_proto(m).SerializeToString()) for m in (model, inserted))
    assert after <= 0.30 * before


def test_only_the_sites_of_the_table_change(model, sites, table):
    some = ScaleTable({}, {name: table.weights[name] for name in ("k", "y")})
    few = insert_qdq(model, sites, some, Recipe())
    ops = Counter(node.op_type for node in few.graph)
    assert (ops["QuantizeLinear"], ops["DequantizeLinear"]) == (0, 2), "a weight without a range has codes only"
    assert nodes(few)["hidden"].op_type == "Gemm"
    assert nodes(few)["q"].op_type == "Add"


def test_convolutions_keep_their_bias_and_have_a_scale_an_output_channel():
    net, images = silu_detector(32, 8, 2), {"images": np.random.default_rng(2).random((1, 3, 32, 32), np.float32)}
    sites = find_sites(net, images)
    found = insert_qdq(net, sites, symmetric_table(net, sites, images), Recipe())
    onnx.checker.check_model(ir.to_proto(found), full_check=True)
    for site in sites:
        conv = nodes(found)[site.node]
        assert conv.inputs[2].name == nodes(net)[site.node].inputs[2].name
        assert conv.inputs[1].producer().attributes["axis"].as_int() == 0
    assert sqnr_db(*(run_values(m, images, None)["boxes"] for m in (net, found))) > 18  # 21 dB measured


def test_fp8_has_the_same_nodes_with_codes_of_e4m3(model, sites, table):
    weights = {
        name: replace(one, codes=one.codes.astype(np.float32).astype(ml_dtypes.float8_e4m3fn))
        for name, one in table.weights.items()
    }
    found = insert_qdq(model, sites, ScaleTable(table.activations, weights), Recipe(precision="fp8"))
    onnx.checker.check_model(ir.to_proto(found), full_check=True)
    for node in found.graph:
        if node.op_type == "QuantizeLinear":
            assert node.inputs[2].dtype == node.outputs[0].dtype == ir.DataType.FLOAT8E4M3FN
        if node.op_type == "DequantizeLinear":
            assert node.inputs[0].dtype == ir.DataType.FLOAT8E4M3FN


def test_two_sites_may_share_a_weight():
    model = linear_graph()
    k, v = nodes(model)["k"], nodes(model)["v_product"]
    v.replace_input_with(1, k.inputs[1])
    sites = find_sites(model, feeds())
    found = insert_qdq(model, sites, symmetric_table(model, sites, feeds()), Recipe())
    codes = {name: nodes(found)[name].inputs[1].producer() for name in ("k", "v_product")}
    assert codes["k"] is not codes["v_product"]
    for name in ("y", "side"):
        assert sqnr_db(run_values(model, feeds(), None)[name], run_values(found, feeds(), None)[name]) > 28


def test_zero_points_are_refused(model, sites, table):
    shifted = {name: replace(one, zero_point=3) for name, one in table.activations.items()}
    with pytest.raises(ValueError, match="symmetric"):
        insert_qdq(model, sites, ScaleTable(shifted, table.weights), Recipe())
