"""Any tool's quantised file: its places are found in every form, and each figure is the one that numpy computes."""

import numpy as np
import onnx_ir as ir
import pytest
from quantised_graphs import (
    DYNAMIC,
    FLOAT,
    FLOAT_WEIGHTS,
    IMAGES,
    OPERATORS,
    QDQ,
    S1,
    S2,
    W1,
    W2,
    codes,
    network,
    rounded,
)

from edgesmith.calibration.judge.accuracy import sqnr_db
from edgesmith.calibration.report.file_figures import measure_places
from edgesmith.calibration.report.quantised_file import read_places
from edgesmith.calibration.report.switches import scan_places, with_switches
from edgesmith.graph.run import run_values

SHARE = 192 * 16 / (192 * 16 + 16 * 4)
REFERENCE = ir.from_proto(network(FLOAT))


def read(body):
    return read_places(ir.from_proto(network(body)))


def rows(body, images=IMAGES, reference=REFERENCE):
    model, places = read(body)
    return {row["node"]: row for row in measure_places(model, places, images, reference)}


def real_weight(weight):
    whole, scale = codes(weight)
    return whole * scale


@pytest.mark.parametrize(
    ("body", "node", "types"),
    [
        (QDQ, "/up", "int8 x int8"),
        (FLOAT_WEIGHTS, "/up", "int8 x int8"),
        (DYNAMIC, "/i1", "dynamic uint8 x int8"),
        (OPERATORS, "/p1", "int8 x int8"),
    ],
)
def test_every_form_has_the_same_figures(body, node, types):
    row = rows(body)[node]
    flat = IMAGES.reshape(len(IMAGES), -1)
    assert row["types"] == types
    assert row["share"] == pytest.approx(SHARE)
    assert row["weight_sqnr_db"] == pytest.approx(sqnr_db(W1, real_weight(W1)), abs=1e-3)
    if body is DYNAMIC:
        assert 30 < row["activation_sqnr_db"] < 50 and "scale" not in row and "clipped" not in row
    else:
        assert row["activation_sqnr_db"] == pytest.approx(sqnr_db(flat, rounded(flat, S1)), abs=1e-3)
        assert row["scale"] == pytest.approx(float(S1)) and row["zero_point"] == 0
        outside = (flat < -128.5 * S1) | (flat > 127.5 * S1)
        assert row["clipped"] == pytest.approx(outside.mean()) and outside.mean() > 0.005


def test_a_second_place_is_read_behind_the_rounding_of_the_first():
    flat = IMAGES.reshape(len(IMAGES), -1)
    act = np.maximum(rounded(flat, S1) @ real_weight(W1), 0)
    row = rows(QDQ)["/logits"]
    assert row["activation_sqnr_db"] == pytest.approx(sqnr_db(act, rounded(act, S2)), abs=0.01)
    assert row["weight_sqnr_db"] == pytest.approx(sqnr_db(W2, real_weight(W2)), abs=1e-3)
    assert any(reason.startswith("one-sided: 0 to ") for reason in row["reasons"])


def test_a_float_graph_has_no_places():
    assert read(FLOAT)[1] == ()


def test_without_pictures_the_file_alone_speaks():
    row = {one["node"]: one for one in measure_places(*read(QDQ))}["/up"]
    assert row["scale"] == pytest.approx(float(S1)) and row["types"] == "int8 x int8" and row["weight_scales"] == 16
    assert row["share"] is None and "activation_sqnr_db" not in row and "weight_sqnr_db" not in row


def test_a_weight_in_blocks_of_four_bits_is_the_one_that_the_kernel_multiplies():
    packed = np.full((16, 6, 16), 0x88, np.uint8)  # every code 8, the zero point: all weights are 0
    packed[3, 0, 0] = 0x8F  # of output 3 the first is 15 - 8 = 7 scales
    body = "{ flat = Flatten(images)  up = com.microsoft.MatMulNBits<K = 192, N = 16, bits = 4, block_size = 32>(flat, packed, steps)  act = Relu(up)  logits = MatMul(act, w2) }"
    proto = network(body.replace("packed, steps", "w1, w2"))
    import onnx

    nbits = next(node for node in proto.graph.node if node.op_type == "MatMulNBits")
    nbits.input[1], nbits.input[2] = "packed", "steps"
    steps = np.full(16 * 6, 0.5, np.float32)
    proto.graph.initializer.extend(
        [onnx.numpy_helper.from_array(packed, "packed"), onnx.numpy_helper.from_array(steps, "steps")]
    )
    proto.opset_import.append(onnx.helper.make_opsetid("com.microsoft", 1))
    model, (place,) = read_places(ir.from_proto(proto))
    weight = run_values(model, {"images": IMAGES[:1]}, [place.weight.after])[place.weight.after]
    expected = np.zeros((192, 16), np.float32)
    expected[0, 3] = 3.5
    np.testing.assert_allclose(weight, expected, atol=1e-6)
    assert place.types == "float x int4"
    assert measure_places(model, [place], IMAGES)[0]["share"] == pytest.approx(SHARE)


def test_a_smoothed_weight_is_compared_without_its_factors_and_another_weight_not_at_all():
    factors = np.geomspace(0.1, 10, 192).astype(np.float32)[:, None]
    smoothed, other = REFERENCE.clone(), REFERENCE.clone()
    smoothed.graph.initializers["w1"].const_value = ir.tensor(W1 / factors)
    other.graph.initializers["w1"].const_value = ir.tensor(np.roll(W1, 5, axis=0))
    row = rows(QDQ, reference=smoothed)["/up"]
    assert row["weight_sqnr_db"] == pytest.approx(sqnr_db(W1, real_weight(W1)), abs=1.5)
    assert "smoothed" in row["why"]
    row = rows(QDQ, reference=other)["/up"]
    assert "weight_sqnr_db" not in row and "not compared" in row["why"]


def test_a_weight_is_not_compared_with_one_whose_name_only_begins_alike():
    strange = network(FLOAT)
    for node in strange.graph.node:
        node.input[:] = ["w" if name == "w1" else name for name in node.input]
    next(one for one in strange.graph.initializer if one.name == "w1").name = "w"
    assert "weight_sqnr_db" not in rows(DYNAMIC, reference=ir.from_proto(strange))["/i1"]
    assert "weight_sqnr_db" in rows(DYNAMIC)["/i1"]


def test_with_all_switches_off_nothing_is_rounded_and_with_all_on_the_file_is_unchanged():
    model, places = read(QDQ)
    switched, numbers = with_switches(model, places)
    assert len(numbers) == 2
    feeds = {"images": IMAGES}
    off = run_values(switched, {**feeds, "edgesmith_switches": np.zeros(2, bool)}, None)["logits"]
    on = run_values(switched, {**feeds, "edgesmith_switches": np.ones(2, bool)}, None)["logits"]
    flat = IMAGES.reshape(len(IMAGES), -1)
    expected = np.maximum(flat @ real_weight(W1), 0) @ real_weight(W2)
    np.testing.assert_allclose(off, expected, rtol=1e-4, atol=1e-3)
    np.testing.assert_array_equal(on, run_values(model, feeds, None)["logits"])


def test_the_scan_finds_the_coarser_rounding_worse():
    found = scan_places(*read(QDQ), {}, IMAGES)
    assert [one.node for one in found] == ["/logits", "/up"]
    flat = IMAGES.reshape(len(IMAGES), -1)
    act = np.maximum(flat @ real_weight(W1), 0)
    expected = sqnr_db(act @ real_weight(W2), rounded(act, S2) @ real_weight(W2))
    assert found[0].sqnr_db == pytest.approx(expected, abs=0.1)


def test_integer_operators_cannot_be_switched():
    assert scan_places(*read(DYNAMIC), {}, IMAGES) == ()
    assert scan_places(*read(OPERATORS), {}, IMAGES) == ()
