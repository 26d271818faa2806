"""Quantised graphs of one layer whose numbers follow by hand: every form, with bias and beta, its types and shapes told."""

import math

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from graph_asserts import parse, weights
from linear_graph import LINEARS, feeds, linear_graph
from quantised_graphs import HEAD, QDQ, network
from scale_tables import int8_weights

from edgesmith.calibration.balance.labels import ZERO, collapse
from edgesmith.calibration.codes.blocks import dequantise, quantise_blocks
from edgesmith.calibration.codes.nvfp4 import quantise_nvfp4
from edgesmith.calibration.codes.ranges import choose_range
from edgesmith.calibration.codes.rounding import round_to_data
from edgesmith.calibration.codes.scales import build_table
from edgesmith.calibration.forms.forms import FORMS
from edgesmith.calibration.forms.weight_only import quantise_weights, widest_block
from edgesmith.calibration.judge.accuracy import Metric, difference
from edgesmith.calibration.nouns import Decision, Range, Recipe, ScaleTable
from edgesmith.calibration.quantise import quantise
from edgesmith.calibration.report.quantised_file import read_places
from edgesmith.calibration.sites.sites import find_sites
from edgesmith.calibration.statistics.observers import Observer, Statistics
from edgesmith.graph.run import run_values

RNG = np.random.default_rng(17)
X = RNG.standard_normal((3, 64)).astype(np.float32)
W = RNG.standard_normal((64, 5)).astype(np.float32)
B = RNG.standard_normal(5).astype(np.float32)


def gemm(how="", bias=True, turned=False) -> ir.Model:
    proto = onnx.parser.parse_model(
        f'<ir_version: 10, opset_import: ["" : 20]> net (float[N, 64] x) => (float[N, 5] y) {{ y = Gemm {how} (x, w{", b" if bias else ""}) }}'
    )
    arrays = {"w": W.T.copy() if turned else W, **({"b": B} if bias else {})}
    proto.graph.initializer.extend(onnx.numpy_helper.from_array(array, name) for name, array in arrays.items())
    proto.graph.node[0].name = "y"
    return ir.from_proto(onnx.shape_inference.infer_shapes(proto))


def typed(model: ir.Model) -> None:
    """Types and shapes that are told are those that ONNX infers."""
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    bare = onnx.ModelProto()
    bare.CopyFrom(proto)
    del bare.graph.value_info[:]
    known = {
        value.name: value.type for value in onnx.shape_inference.infer_shapes(bare, strict_mode=True).graph.value_info
    }
    told = {value.name: value.type for value in proto.graph.value_info}
    made = {name for node in proto.graph.node for name in node.output if name} - {
        value.name for value in proto.graph.output
    }
    standard = {name for node in proto.graph.node if not node.domain for name in node.output}
    for name in made & standard & set(known):
        assert name in told, f"{name} has no type"
        assert told[name].tensor_type.elem_type == known[name].tensor_type.elem_type, name
        if told[name].tensor_type.HasField("shape") and known[name].tensor_type.HasField("shape"):
            assert len(told[name].tensor_type.shape.dim) == len(known[name].tensor_type.shape.dim), name


@pytest.mark.parametrize("form", ["qdq", "dynamic"])
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(("how", "beta"), [("", 1.0), ("beta = 0.5", 0.5), ("beta = 2.0", 2.0)])
def test_a_gemm_with_a_bias_in_codes(form, turned, how, beta):
    model = gemm(
        "<" + ", ".join(filter(None, (how, "transB = 1" if turned else ""))) + ">" if how or turned else "",
        turned=turned,
    )
    sites = find_sites(model, {"x": X})
    codes = int8_weights(model, sites)
    scale = float(np.float32(np.abs(X).max() / 127))
    table = ScaleTable({"y": Range(-127 * scale, 127 * scale, scale, 0, "")} if form == "qdq" else {}, codes)
    found = FORMS[form](model, sites, table, Recipe(form=form))
    typed(found)
    real = dequantise(codes["y"]).astype(np.float64)
    real = real.T if turned else real
    if form == "qdq":
        expected = np.clip(np.rint(X / scale), -128, 127) * scale @ real + beta * B
        np.testing.assert_allclose(run_values(found, {"x": X}, None)["y"], expected, rtol=1e-4, atol=1e-4)
    else:  # one scale and zero point for all of x, found at run time: half a step of it for each of 64 channels
        error = run_values(found, {"x": X}, None)["y"] - (X @ real + beta * B)
        assert np.abs(error).max() < (X.max() - X.min()) / 255 / 2 * np.abs(real).sum(axis=0).max()
        assert np.sqrt(np.square(error).mean()) < (X.max() - X.min()) / 255 * np.linalg.norm(real, axis=0).max() / 3


@pytest.mark.parametrize(
    ("precision", "form", "block"), [("int4", "weights", 32), ("int4", "nbits", 32), ("nvfp4", "weights", 16)]
)
@pytest.mark.parametrize("rounded", [False, True])
def test_weights_in_blocks_are_those_that_were_rounded(precision, form, block, rounded):
    """Behind a first and before a last layer, which stay as they are."""
    model = parse(
        f'<ir_version: 10, opset_import: ["" : 20]> net (float[3, 64] x) => (float[3, 4] z) <{weights(a=(64, 64), m=(64, 40), e=(40, 4))}>'
        "{ h = MatMul(x, a)  y = MatMul(h, m)  z = MatMul(y, e) }"
    )
    for node in model.graph:
        node.name = node.outputs[0].name
    sites = find_sites(model, {"x": X})
    recipe = Recipe(precision=precision, form=form, block=block, low="fp32")
    seen = RNG.standard_normal((50, 64)) * np.geomspace(0.1, 5, 64)
    moments = {"h": seen.T @ seen / 50} if rounded else None
    found = quantise_weights(model, recipe, sites, moments)
    assert list(found.scales.weights) == ["y"] and found.notes[0].startswith(
        f"weights of 1 layers in {precision}, blocks of {block}, rounded to "
    )
    weight = model.graph.initializers["m"].const_value.numpy()
    if rounded:
        expected = round_to_data(weight, 0, moments["h"], block=block, precision=precision, low="fp32")
        assert found.notes[0].endswith("to the data")
    else:
        expected = (
            quantise_nvfp4(weight, 0) if precision == "nvfp4" else quantise_blocks(weight, 0, block=block, low="fp32")
        )
    np.testing.assert_array_equal(dequantise(found.scales.weights["y"]), dequantise(expected))
    assert widest_block(sites, recipe) == 64, "64 channels have one block of 64 or two of 32, of 128 none"
    if precision == "int4" and form == "weights":
        found_values = run_values(found.model, {"x": X}, ["y"])["y"]
        hidden = run_values(model, {"x": X}, ["h"])["h"]
        assert np.abs(found_values - hidden @ dequantise(expected)).max() < 0.05 * np.abs(found_values).max()


def test_ranges_of_a_chain_are_chosen_by_the_rule_and_the_type_that_were_asked_for():
    model = parse(
        f'<ir_version: 10, opset_import: ["" : 20]> net (float[1, 2, 4, 4] x) => (float[1, 3, 4, 4] z) <{weights(w=(3, 2, 1, 1), v=(3, 3, 1, 1))}>'
        "{ h = Conv(x, w)  y = Conv(h, v)  z = Tanh(y) }"
    )
    for node in model.graph:
        node.name = node.outputs[0].name
    sites = find_sites(model, {"x": np.zeros((1, 2, 4, 4), np.float32)})
    tensors = {}
    for name, channels in (("x", 2), ("h", 3), ("y", 3)):
        observer = Observer(name, 1)
        observer.add((RNG.standard_normal((40, channels, 9, 9)) ** 3 + 0.3).astype(np.float32), 40)
        tensors[name] = observer.stats()
    decisions = {site.node: Decision(True, "") for site in sites}
    for recipe in (
        Recipe(form="u8"),
        Recipe(form="u8", rules="minmax", low="bf16"),
        Recipe(form="u8", rules="mse", low="fp32"),
    ):
        table = build_table(model, sites, decisions, Statistics(tensors, 40, ""), recipe)
        assert set(table.values) == {"x", "h", "y"}
        for name, found in table.values.items():
            even = np.ones(len(tensors[name].low))
            assert found == choose_range(tensors[name], even, rules=recipe.rules, symmetric=False, low=recipe.low)


def test_padding_goes_with_any_label_only_where_it_may():
    labels = np.array([[3, ZERO, 3], [4, 4, ZERO]])
    assert collapse(labels).tolist() == [[3], [4]] and collapse(labels, padding=False).tolist() == labels.tolist()
    assert collapse(np.full((2, 3), 7)).tolist() == [[7]] and collapse(np.array([[1, 2], [1, 2]])).tolist() == [[1, 2]]


def test_a_bias_in_32_bits_alone_is_no_place():
    proto = network(QDQ)
    body = "{ flat = Flatten(images)  b = DequantizeLinear(bias, s)  up = Gemm(flat, w, b)  act = Relu(up)  logits = MatMul(act, w2) }"
    proto.graph.CopyFrom(onnx.parser.parse_model(HEAD + body).graph)
    arrays = {
        "bias": np.arange(16, dtype=np.int32),
        "s": np.float32(0.1),
        "w": np.ones((192, 16), np.float32),
        "w2": np.ones((16, 4), np.float32),
    }
    proto.graph.initializer.extend(
        onnx.numpy_helper.from_array(np.asarray(array), name) for name, array in arrays.items()
    )
    assert read_places(ir.from_proto(proto))[1] == ()


@pytest.mark.parametrize(("lost", "won", "count"), [(3, 1, 100), (0, 5, 50), (40, 10, 60), (1, 1, 2)])
def test_a_paired_interval_by_the_formula(lost, won, count):
    """Agresti and Min, Statistics in Medicine 24 (2005): half a picture more in each of the four cells."""
    kinds = np.repeat([0, 1, 2], [lost, won, count - lost - won])
    truth, before = np.zeros(count, int), np.where(kinds == 1, 1, 0)
    before[-1:] = 1 if (before == 0).all() else before[-1:]
    after = np.where(kinds == 0, 1, 0)
    if (before == 0).all():
        pytest.skip("a reference that is right everywhere has Wilson's interval")
    metric = Metric("top1", hits=lambda outputs, right: outputs == right)
    drop = difference(metric, before, after, truth)
    b, c = int(((before == 0) & (after == 1)).sum()), int(((before == 1) & (after == 0)).sum())
    n, b_, c_ = count + 2, b + 0.5, c + 0.5
    middle = (b_ - c_) / n
    half = 1.959964 * math.sqrt((b_ + c_) - (b_ - c_) ** 2 / n) / n
    assert (drop.low, drop.high) == pytest.approx((100 * max(middle - half, -1), 100 * min(middle + half, 1)), abs=1e-3)
    assert (drop.lost, drop.won, drop.points) == (b, c, pytest.approx(100 * (b - c) / count)) and isinstance(
        drop.low, float
    )


def quantised_in(form: str, batch: int | str = 2, **more) -> ir.Model:
    model = linear_graph(batch)
    sites = find_sites(model, feeds(2))
    seen = run_values(model, feeds(2), [site.input for site in sites]) | feeds(2)
    tensors = {}
    for site in sites:
        observer = Observer(site.input, site.in_axis)
        observer.add(seen[site.input], 2)
        tensors[site.input] = observer.stats()
    recipe = Recipe(form=form, also=tuple(site.node for site in sites), smooth=0, equalise=False, low="fp32", **more)
    return quantise(model, Statistics(tensors, 2, ""), recipe, sites).model


@pytest.mark.parametrize(
    ("form", "more"),
    [("qdq", {}), ("dynamic", {}), ("qdq", {"precision": "fp8"}), ("weights", {"precision": "int4", "block": 16}), ("nbits", {"precision": "int4", "block": 16}),
     ("weights", {"precision": "nvfp4", "block": 16})],
    ids=["qdq", "dynamic", "fp8", "int4", "nbits", "nvfp4"],
)  # fmt: skip
def test_every_value_of_a_quantised_graph_has_the_type_and_shape_that_it_has(form, more):
    """What later passes read is told by the graph itself, not left to an inference."""
    model = quantised_in(form, **more)
    values = [value for node in model.graph for value in node.outputs if value.name]
    assert [value.name for value in values if value.dtype is None] == []
    left = [value.name for value in values if value.shape is None]
    ours = [f"{site}_{end}" for site in LINEARS for end in ("integer", "cast", "factor", "real", "rows", "sum")]
    assert not set(left) & set(ours) and (left == [] or form == "dynamic"), left  # its ranges are found while it runs
