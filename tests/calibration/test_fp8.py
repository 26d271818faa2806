"""fp8 E4M3: codes that saturate, scales that fp16 holds, and Q/DQ that ONNX Runtime computes as written."""

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import pytest

from edgesmith.calibration.codes.blocks import dequantise
from edgesmith.calibration.codes.fp8 import quantise_fp8, to_e4m3
from edgesmith.calibration.codes.table import quantise_weight
from edgesmith.calibration.forms.qdq import insert_qdq
from edgesmith.calibration.nouns import Range, Recipe, ScaleTable
from edgesmith.calibration.sites.sites import find_sites
from edgesmith.graph.run import run_values


def weight(shape=(64, 48), seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("axis, scales", [(0, (64,)), (1, (48,)), (None, ())])
def test_codes_have_the_type_and_one_scale_a_channel(axis, scales):
    array = weight()
    found = quantise_fp8(array, axis)
    assert found.codes.dtype == ml_dtypes.float8_e4m3fn and found.scale.shape == scales
    assert np.array_equal(found.scale, found.scale.astype(np.float16).astype(np.float32))
    assert np.isfinite(found.codes.astype(np.float32)).all()
    # three stored binary digits: a value is off by at most a sixteenth of itself, and by less on average
    error = dequantise(found) - array
    assert np.abs(error / array).max() < 1 / 16 + 1e-3
    assert found.sqnr_db == pytest.approx(10 * np.log10(np.square(array).sum() / np.square(error).sum()), abs=1e-2)


def test_mse_is_never_worse_than_max():
    for seed in range(5):
        found = [quantise_fp8(weight(seed=seed), 1, rule=rule).sqnr_db for rule in ("max", "mse")]
        assert found[1] > found[0]


def test_values_beyond_the_range_saturate():
    assert to_e4m3(np.array([-1e6, 447, 460, 1e9], np.float32)).tolist() == [-448, 448, 448, 448]


def test_the_table_of_quantisers_has_it():
    found = quantise_weight(weight((32, 16, 1, 1)), 0, precision="fp8")
    assert found.scale.shape == (32,) and found.codes.shape == (32, 16, 1, 1)


def test_the_graph_computes_with_rounded_inputs_and_weights():
    proto = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 20]> g (float[4, 64] x) => (float[4, 48] y)'
        "{ [gelu] a = Gelu(x) [mm] b = MatMul(a, w) [tanh] y = Tanh(b) }"
    )
    array = weight() / 8
    proto.graph.initializer.append(onnx.numpy_helper.from_array(array, "w"))
    model, feeds = ir.from_proto(proto), {"x": weight((4, 64), seed=1) * 3}
    codes = quantise_weight(array, 1, precision="fp8")
    a = run_values(model, feeds, ["a"])["a"]
    scale = np.float32(np.float16(np.abs(a).max() / 2 / 448))  # half of the range: the rest saturates
    table = ScaleTable({"mm": Range(-1, 1, float(scale), 0, "minmax")}, {"mm": codes})
    quantised = insert_qdq(model, find_sites(model, feeds), table, Recipe(precision="fp8"))
    onnx.checker.check_model(ir.to_proto(quantised), full_check=True)
    pair = [node for node in quantised.graph if node.op_type == "QuantizeLinear"]
    assert [node.inputs[2].dtype for node in pair] == [ir.DataType.FLOAT8E4M3FN]
    wanted = np.tanh((to_e4m3(a / scale) * scale) @ dequantise(codes))
    np.testing.assert_allclose(run_values(quantised, feeds, None)["y"], wanted, rtol=1e-5, atol=1e-6)
