"""int4 in blocks: codes and scales, the graph that TensorRT reads, and the words when nothing fits."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from edgesmith.calibration.codes.blocks import dequantise, quantise_blocks
from edgesmith.calibration.codes.table import quantise_weight
from edgesmith.calibration.forms.blocks import insert_blocks
from edgesmith.calibration.forms.weight_only import place_blocks, quantise_weights
from edgesmith.calibration.nouns import Recipe, ScaleTable, Site
from edgesmith.calibration.sites.sites import find_sites
from edgesmith.graph.run import run_values
from edgesmith.runtime.errors import EdgesmithError, UserMistake

RECIPE = Recipe(precision="int4", form="weights", block=32)
# a stem, a linear layer, a 1x1 convolution, a grouped one, a 3x3 one, a Gemm and a head; 40 channels do not split
NET = """<ir_version: 10, opset_import: ["" : 20]> net (float[1, 3, 8, 8] images) => (float[1, 10] logits)
<int64[2] flat = {1, 64}> {
  [stem] a = Conv<strides = [4, 4]>(images, w_stem)
  [point] b = Conv(a, w_point)
  [grouped] c = Conv<group = 2>(b, w_grouped)
  [wide] d = Conv<pads = [1, 1, 1, 1]>(c, w_wide)
  [pool] e = GlobalAveragePool(d)
  [flatten] f = Reshape(e, flat)
  [gemm] g = Gemm<transB = 1>(f, w_gemm, b_gemm)
  [relu] h = Relu(g)
  [narrow] i = MatMul(h, w_narrow)
  [gelu] j = Gelu(i)
  [linear] k = MatMul(j, w_linear)
  [tanh] l = Tanh(k)
  [head] logits = MatMul(l, w_head)
}"""
SHAPES = {
    "w_stem": (64, 3, 4, 4), "w_point": (64, 64, 1, 1), "w_grouped": (64, 32, 1, 1), "w_wide": (64, 64, 3, 3),
    "w_gemm": (40, 64), "b_gemm": (40,), "w_narrow": (40, 96), "w_linear": (96, 64), "w_head": (64, 10),
}  # fmt: skip


def net(shapes=None):
    rng = np.random.default_rng(0)
    proto = onnx.parser.parse_model(NET)
    for name, shape in (shapes or SHAPES).items():
        array = (rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)
        proto.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    return ir.from_proto(proto)


def images(seed=1):
    return {"images": np.random.default_rng(seed).standard_normal((1, 3, 8, 8)).astype(np.float32)}


def weight(shape=(64, 96), seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("shape, axis", [((64, 96), 0), ((96, 64), 1), ((96, 64, 1, 1), 1)])
def test_codes_and_scales_lie_along_the_input_channels(shape, axis):
    array = weight(shape)
    found = quantise_blocks(array, axis, block=32)
    expected = [*shape]
    expected[axis] //= 32
    assert found.codes.shape == shape and list(found.scale.shape) == expected
    assert (found.codes.dtype, found.axis, found.block) == (np.int8, axis, 32)
    assert found.codes.min() >= -8 and found.codes.max() <= 7
    assert np.array_equal(found.scale, found.scale.astype(np.float16).astype(np.float32)), "not what fp16 holds"
    error = np.square(dequantise(found) - array).sum()
    assert found.sqnr_db == pytest.approx(10 * np.log10(np.square(array).sum() / error), abs=1e-3)


def test_a_block_that_a_scale_fits_is_exact():
    codes = np.random.default_rng(0).integers(-7, 8, (32, 4)).astype(np.float32)
    codes[0] = 7
    found = quantise_blocks(codes * 0.25, 0, block=32, rule="max")
    assert np.array_equal(found.codes, codes) and (found.scale == 0.25).all()


def test_mse_beats_max_and_importance_moves_the_error():
    array = weight((128, 32))
    plain, best = (quantise_blocks(array, 0, block=64, rule=rule) for rule in ("max", "mse"))
    assert best.sqnr_db > plain.sqnr_db + 0.5
    importance = np.ones(128)
    importance[:8] = 1000
    moved = quantise_blocks(array, 0, block=64, importance=importance)
    errors = [np.square(dequantise(found) - array)[:8].sum() for found in (best, moved)]
    assert errors[1] < 0.75 * errors[0]


def test_a_block_of_zeros_stays_zero():
    found = quantise_blocks(np.zeros((32, 2), np.float32), 0, block=32)
    assert not found.codes.any() and (found.scale > 0).all()


def test_blocks_that_do_not_divide_are_an_error_of_the_caller():
    with pytest.raises(EdgesmithError, match="40 input channels do not split into blocks of 32"):
        quantise_blocks(weight((40, 8)), 0, block=32)


def test_the_table_of_quantisers_takes_the_axis_of_the_outputs():
    found = quantise_weight(weight((64, 96)), 1, precision="int4", block=32)
    assert (found.axis, found.block, found.scale.shape) == (0, 32, (2, 96))


def test_every_site_that_stays_says_why():
    decisions = place_blocks(find_sites(net(), images()), RECIPE)
    assert {name for name, decision in decisions.items() if decision.quantise} == {"point", "gemm", "linear"}
    for name, words in {
        "stem": "reads the picture", "head": "the last layer", "grouped": "2 groups", "wide": "3x3 kernel",
        "narrow": "40 input channels do not split into blocks of 32",
    }.items():  # fmt: skip
        assert words in decisions[name].why


def test_the_graph_holds_four_bits_and_computes_with_the_rounded_weights():
    model, feeds = net(), images()
    before = ir.to_proto(model).SerializeToString()
    found = quantise_weights(model, RECIPE, find_sites(model, feeds))
    assert ir.to_proto(model).SerializeToString() == before, "the model given was touched"
    proto = ir.to_proto(found.model)
    onnx.checker.check_model(proto, full_check=True)
    assert proto.opset_import[0].version == 21 and proto.ir_version == 10
    stored = {tensor.name: tensor for tensor in proto.graph.initializer}
    assert stored["linear_weight_codes"].data_type == onnx.TensorProto.INT4
    assert len(stored["linear_weight_codes"].raw_data) == 96 * 64 // 2
    assert not {"w_linear", "w_point", "w_gemm"} & set(stored) and {"w_wide", "w_narrow", "w_stem"} <= set(stored)
    rounded = model.clone()
    for node in rounded.graph:
        if node.name in found.scales.weights:
            array = dequantise(found.scales.weights[node.name])
            node.inputs[1].const_value = ir.tensor(array, name=node.inputs[1].name)
    wanted, got = (run_values(each, feeds, None)["logits"] for each in (rounded, found.model))
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)
    assert 0 < found.share < 1 and "nearest" in found.notes[0]


def test_codes_are_packed_low_half_first():
    codes = np.arange(-8, 8, dtype=np.float32)[:, None].repeat(2, axis=1)
    model = ir.from_proto(onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 20]> g (float[1, 16] x) => (float[1, 2] y) { [mm] y = MatMul(x, w) }'
    ))  # fmt: skip
    model.graph.initializers.clear()
    tensor = ir.tensor(codes, name="w")
    value = ir.Value(name="w", const_value=tensor, shape=tensor.shape, type=ir.TensorType(tensor.dtype))
    model.graph.register_initializer(value)
    next(iter(model.graph)).replace_input_with(1, value)
    site = Site("mm", "MatMul", "x", "w", (16, 2), -1, 0, 1)
    table = ScaleTable({}, {"mm": quantise_blocks(codes, 0, block=16, rule="max")})
    proto = ir.to_proto(insert_blocks(model, [site], table, RECIPE))
    raw = next(tensor for tensor in proto.graph.initializer if tensor.name == "mm_weight_codes").raw_data
    halves = [half for byte in raw for half in (byte & 15, byte >> 4)]
    assert [(half ^ 8) - 8 for half in halves] == table.weights["mm"].codes.ravel().tolist()


def test_no_node_that_divides_lists_sizes_and_a_block_that_works():
    sites = find_sites(net(), images())
    with pytest.raises(UserMistake, match="takes int4 in blocks of 128") as error:
        quantise_weights(net(), Recipe(precision="int4", form="weights", block=128), sites)
    assert error.value.found == "input channels 40, 64, 96"
    assert error.value.attempt == "--block 64, which 2 of its 8 layers can take"
    quantise_weights(net(), Recipe(precision="int4", form="weights", block=64), sites)


def test_a_net_without_any_linear_layer_is_told_so():
    sites = [site for site in find_sites(net(), images()) if site.node in ("stem", "wide")]
    with pytest.raises(UserMistake) as error:
        quantise_weights(net(), RECIPE, sites)
    assert "3x3 kernel" in error.value.found and error.value.attempt == "--precision int8"


def test_an_operator_that_changed_its_meaning_stops_the_newer_opset():
    model = ir.from_proto(onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 20]> g (float[1, 4, 2] x, float[2] s) => (float[1, 4, 2] y)'
        "{ [norm] y = GroupNormalization<num_groups = 2>(x, s, s) }"
    ))  # fmt: skip
    with pytest.raises(EdgesmithError, match="norm is a GroupNormalization of opset 20"):
        insert_blocks(model, [], ScaleTable({}, {}), RECIPE)
