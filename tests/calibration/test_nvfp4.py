"""nvfp4: E2M1 codes, E4M3 block scales, a power of two outside; the file's weights are the same in fp16 and in fp32."""

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import pytest

from edgesmith.calibration.codes.blocks import dequantise
from edgesmith.calibration.codes.nvfp4 import nearest_code, outer_scale, quantise_nvfp4
from edgesmith.calibration.codes.table import quantise_weight
from edgesmith.calibration.forms.weight_only import quantise_weights
from edgesmith.calibration.nouns import Recipe
from edgesmith.calibration.sites.sites import find_sites
from edgesmith.graph.floats import as_float
from edgesmith.graph.run import run_values

RECIPE = Recipe(precision="nvfp4", form="weights", block=16)


def weight(shape=(64, 48), seed=0, size=0.05):
    return (np.random.default_rng(seed).standard_normal(shape) * size).astype(np.float32)


def test_nvfp4_has_four_bit_codes_and_a_scale_for_each_block_of_16():
    found = quantise_nvfp4(weight(), 0)
    assert found.codes.dtype == ml_dtypes.float4_e2m1fn and found.scale.dtype == ml_dtypes.float8_e4m3fn
    assert (found.codes.shape, found.scale.shape, found.axis, found.block) == ((64, 48), (4, 48), 0, 16)
    assert np.log2(found.outer) == int(np.log2(found.outer))
    assert set(np.unique(np.abs(found.codes.astype(np.float32)))) <= {0, 0.5, 1, 1.5, 2, 3, 4, 6}
    error = np.square(dequantise(found) - weight()).sum()
    assert found.sqnr_db == pytest.approx(10 * np.log10(np.square(weight()).sum() / error), abs=1e-3)


@pytest.mark.parametrize("size", [1e-4, 0.05, 3.0, 1e3])
def test_both_scales_are_exact_in_fp16_for_weights_of_any_size(size):
    found = quantise_nvfp4(weight(size=size), 0)
    half = (found.scale.astype(np.float16) * np.float16(found.outer)).repeat(16, axis=0) * found.codes.astype(
        np.float16
    )
    assert np.array_equal(half.astype(np.float32), dequantise(found)) and found.sqnr_db > 20


def test_scales_by_mse_beat_scales_by_the_maximum():
    plain, best = (quantise_nvfp4(weight(), 0, rule=rule) for rule in ("max", "mse"))
    assert best.sqnr_db > plain.sqnr_db + 1


def test_codes_round_to_even_and_saturate():
    given = np.array([0.2, 0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0, 7.0, -7.0])
    assert nearest_code(given).tolist() == [0, 0, 1, 1, 2, 2, 4, 4, 6, -6]


def test_a_weight_of_zeros_stays_zero_with_scales_above_it():
    found = quantise_nvfp4(np.zeros((32, 4), np.float32), 0)
    assert not dequantise(found).any() and (found.scale.astype(np.float32) > 0).all()
    assert outer_scale(np.zeros(4)) >= 2.0**-24


def test_the_table_of_quantisers_takes_the_axis_of_the_outputs():
    assert quantise_weight(weight((48, 64)), 0, precision="nvfp4", block=128).scale.shape == (48, 4)


NET = """<ir_version: 10, opset_import: ["" : 20]> net (float[1, 16, 4, 4] x) => (float[1, 16, 4, 4] y)
{ [first] a = Conv(x, w) [gelu] b = Gelu(a) [point] c = Conv(b, w2) [tanh] d = Tanh(c) [last] e = Conv(d, w3) y = Relu(e) }"""


def test_the_file_has_both_levels_and_the_float_form_the_same_numbers():
    proto = onnx.parser.parse_model(NET)
    for index, name in enumerate(("w", "w2", "w3")):
        proto.graph.initializer.append(onnx.numpy_helper.from_array(weight((16, 16, 1, 1), index, 0.3), name))
    model = ir.from_proto(proto)
    feeds = {"x": weight((1, 16, 4, 4), 9, 1.0)}
    found = quantise_weights(model, RECIPE, find_sites(model, feeds))
    stored = {tensor.name: tensor for tensor in ir.to_proto(found.model).graph.initializer}
    assert stored["point_weight_codes"].data_type == onnx.TensorProto.FLOAT4E2M1
    assert len(stored["point_weight_codes"].raw_data) == 16 * 16 // 2
    assert stored["point_weight_scale"].data_type == onnx.TensorProto.FLOAT8E4M3FN
    assert stored["point_weight_outer"].data_type == onnx.TensorProto.FLOAT
    assert found.model.graph.opset_imports[""] == 23
    plain = as_float(found.model)
    assert not {node.op_type for node in plain.graph} & {"DequantizeLinear"}
    rounded = model.clone()
    for node in rounded.graph:
        if node.name in found.scales.weights:
            array = dequantise(found.scales.weights[node.name])
            node.inputs[1].const_value = ir.tensor(array, name=node.inputs[1].name)
    wanted, got = (run_values(each, feeds, None)["y"] for each in (rounded, plain))
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)
