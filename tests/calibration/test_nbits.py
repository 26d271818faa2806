"""MatMulNBits: what ONNX Runtime's 4-bit kernel computes is what the blocked DequantizeLinear says."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from edgesmith.calibration.codes.blocks import quantise_blocks
from edgesmith.calibration.forms.blocks import insert_blocks
from edgesmith.calibration.forms.nbits import insert_nbits, pack
from edgesmith.calibration.forms.weight_only import place_blocks, quantise_weights
from edgesmith.calibration.nouns import Recipe, ScaleTable
from edgesmith.calibration.sites.sites import find_sites
from edgesmith.graph.run import open_session, run_values
from edgesmith.runtime.errors import UserMistake

RECIPE = Recipe(precision="int4", form="nbits", block=32)
NET = """<ir_version: 10, opset_import: ["" : 20]> net (float[batch, 6, 64] x) => (float[batch, 10] logits)
<int64[1] tokens = {1}> {
  [stem] a = MatMul(x, w_stem)
  [gelu] b = Gelu(a)
  [linear] c = MatMul(b, w_linear)
  [mean] d = ReduceMean<keepdims = 0>(c, tokens)
  [gemm] e = Gemm<transB = 1, beta = 0.5>(d, w_gemm, b_gemm)
  [tanh] f = Tanh(e)
  [plain] g = Gemm(f, w_plain)
  [relu] h = Relu(g)
  [head] logits = MatMul(h, w_head)
}"""
SHAPES = {
    "w_stem": (64, 64), "w_linear": (64, 96), "w_gemm": (32, 96), "b_gemm": (32,), "w_plain": (32, 32), "w_head": (32, 10)
}  # fmt: skip


@pytest.fixture(scope="module")
def model():
    rng = np.random.default_rng(0)
    proto = onnx.parser.parse_model(NET)
    for name, shape in SHAPES.items():
        array = (rng.standard_normal(shape) / np.sqrt(shape[0])).astype(np.float32)
        proto.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    return ir.from_proto(proto)


@pytest.fixture(scope="module")
def feeds():
    return {"x": np.random.default_rng(1).standard_normal((3, 6, 64)).astype(np.float32)}


def test_the_kernel_agrees_with_the_blocked_form(model, feeds):
    found = quantise_weights(model, RECIPE, find_sites(model, feeds))
    assert set(found.scales.weights) == {"linear", "gemm", "plain"}
    ops = [(node.domain, node.op_type) for node in found.model.graph]
    assert ops.count(("com.microsoft", "MatMulNBits")) == 3
    assert found.model.graph.opset_imports["com.microsoft"] == 1 and found.model.graph.opset_imports[""] == 20
    assert not {"w_linear", "w_gemm", "w_plain"} & set(found.model.graph.initializers)
    blocked = insert_blocks(model, find_sites(model, feeds), found.scales, RECIPE)
    wanted = run_values(blocked, feeds, None)["logits"]
    (got,) = open_session(found.model, threads=1).run(["logits"], feeds)
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)
    assert np.abs(wanted - run_values(model, feeds, None)["logits"]).max() > 1e-3, "nothing was rounded"


def test_the_accuracy_level_is_in_the_node_and_four_is_close(model, feeds):
    sites = find_sites(model, feeds)
    found = quantise_weights(model, RECIPE, sites)
    fast = insert_nbits(model, sites, found.scales, RECIPE, accuracy_level=4)
    levels = [n.attributes["accuracy_level"].as_int() for m in (found.model, fast) for n in m.graph if n.domain]
    assert levels == [0] * 3 + [4] * 3
    wanted, got = (open_session(each, threads=1).run(["logits"], feeds)[0] for each in (found.model, fast))
    assert 0 < np.abs(got - wanted).max() < 0.05 * np.abs(wanted).max()


def test_codes_are_packed_low_half_first_with_eight_added():
    array = np.arange(-8, 8, dtype=np.float32).repeat(2)[:, None]  # (32, 1)
    found = quantise_blocks(array, 0, block=16)
    packed, scale = pack(found)
    assert packed.shape == (1, 2, 8) and scale.shape == (1, 2)
    halves = np.stack([packed & 15, packed >> 4], axis=-1).reshape(-1).astype(int) - 8
    assert halves.tolist() == found.codes.ravel().tolist()


def test_convolutions_have_no_such_kernel_and_a_net_of_them_is_refused():
    proto = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 20]> g (float[1, 64, 4, 4] x) => (float[1, 64, 4, 4] y)'
        "{ [first] a = Conv(x, w) b = Relu(a) [second] c = Conv(b, w) d = Relu(c) e = Conv(d, w) y = Relu(e) }"
    )
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.ones((64, 64, 1, 1), np.float32), "w"))
    model = ir.from_proto(proto)
    sites = find_sites(model, {"x": np.zeros((1, 64, 4, 4), np.float32)})
    assert "MatMul only" in place_blocks(sites, RECIPE)["second"].why
    with pytest.raises(UserMistake, match="No weight of this model takes int4") as error:
        quantise_weights(model, RECIPE, sites)
    assert "MatMul only" in error.value.found and error.value.attempt == "--precision int8"


def test_a_table_without_entries_changes_nothing(model, feeds):
    left = insert_nbits(model, find_sites(model, feeds), ScaleTable({}, {}), RECIPE)
    assert [node.op_type for node in left.graph] == [node.op_type for node in model.graph]
