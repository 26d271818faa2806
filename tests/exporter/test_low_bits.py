"""int4, nvfp4 and fp8 through the flow of an export: typed, built for a chip that has the type, judged on held-out digits.

Engines are built without a GPU and not run; what they compute is judged on ONNX Runtime with the weights as the file
rounds them.
"""

from functools import cache

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from attention_graph import images, vit
from trained import BATCH, NAMES, trained

from edgesmith.calibration.forms.weight_only import inputs_of
from edgesmith.calibration.judge.accuracy import sqnr_db
from edgesmith.calibration.nouns import Recipe
from edgesmith.calibration.quantise import quantise
from edgesmith.calibration.sites.sites import find_sites
from edgesmith.calibration.statistics.observers import Observer, Statistics
from edgesmith.exporter.bundle.parity import typed_runner
from edgesmith.exporter.engine import rtx
from edgesmith.exporter.engine.rtx import build_rtx_engine
from edgesmith.exporter.engine.xray import read_engine
from edgesmith.exporter.precision.casts import to_precision
from edgesmith.exporter.run.nouns import Shapes
from edgesmith.graph.run import open_session, run_values
from edgesmith.models import find

needs_rtx = pytest.mark.skipif(not rtx.installed(), reason="TensorRT-RTX is not installed")
CHIPS = {"int4": "sm89", "nvfp4": "sm120", "fp8": "sm89"}
BLOCKS = {"int4": 32, "nvfp4": 16}


def recipe(precision):
    return Recipe(precision=precision, form="weights", block=BLOCKS[precision])


@cache
def small(precision):
    """The ViT of one block with 4-bit weights, and its fp16 form."""
    graph = quantise(vit(), None, recipe(precision), find_sites(vit(), {"images": images()}))
    return graph, to_precision(graph.model, "fp16", engine="tensorrt_rtx").model


@pytest.mark.parametrize("precision", BLOCKS)
def test_fp16_stands_around_the_weights_and_no_cast_between(precision):
    graph, typed = small(precision)
    assert len(graph.scales.weights) == 6 and 0.7 < graph.share < 1
    dequantised = [node for node in typed.graph if node.op_type == "DequantizeLinear"]
    assert len(dequantised) == (6 if precision == "int4" else 12)
    assert {node.outputs[0].dtype for node in dequantised} == {ir.DataType.FLOAT16}
    readers = {use.node.op_type for node in dequantised for use in node.outputs[0].uses()}
    assert readers == ({"MatMul"} if precision == "int4" else {"MatMul", "DequantizeLinear"})
    onnx.checker.check_model(ir.to_proto(typed), full_check=True)


@pytest.mark.parametrize("precision", BLOCKS)
def test_the_typed_file_computes_with_the_rounded_weights(precision):
    graph, typed = small(precision)
    plain, rounded = (run_values(model, {"images": images()}, None)["logits"] for model in (vit(), graph.model))
    assert 10 < sqnr_db(plain, rounded) < 30  # random weights in 4 bits
    assert sqnr_db(rounded, typed_runner(typed)(images())) > 50  # fp16 around them costs next to nothing


@needs_rtx
@pytest.mark.parametrize(
    "precision, gemms", [("int4", {"gemm fp16 x int4": 3}), ("nvfp4", {"gemm fp16": 4})], ids=["int4", "nvfp4"]
)
def test_the_builder_keeps_attention_fused_and_the_weights_in_four_bits(precision, gemms):
    """int4 weights enter three of the four products (q, k and v are one) as they are; nvfp4 ones on sm120 none."""
    _, typed = small(precision)
    half = read_engine(build_rtx_engine(to_precision(vit(), "fp16").model, CHIPS[precision]))
    found = read_engine(build_rtx_engine(typed, CHIPS[precision]))
    assert found.fused_attention == half.fused_attention == 1 and found.recognised == 1
    assert {key: found.counts().get(key) for key in gemms} == gemms
    assert found.constant_bytes < 0.6 * half.constant_bytes


@needs_rtx
def test_fp8_products_multiply_codes_with_codes():
    sites = find_sites(vit(), {"images": images()})
    axes = {site.input: site.in_axis for site in sites}
    values = {**run_values(vit(), {"images": images()}, list(axes)), "images": images()}
    observers = {name: Observer(name, axis) for name, axis in axes.items()}
    for name, observer in observers.items():
        observer.add(values[name], 1)
    statistics = Statistics({name: observer.stats() for name, observer in observers.items()}, 1, "")
    graph = quantise(vit(), statistics, Recipe(precision="fp8"), sites)
    found = read_engine(build_rtx_engine(to_precision(graph.model, "fp16", engine="tensorrt_rtx").model, "sm89"))
    # q, k and v read one value; where their ranges differ they are not one product
    assert found.counts()["gemm fp8"] in (4, 5)
    assert found.fused_attention == 1


def moments(fixture, tensors):
    """E[x x^T] of the inputs, over the 128 digits."""
    session = open_session(fixture.model, list(tensors), optimise=False, threads=1)
    feed = session.get_inputs()[0].name
    sums, rows = {}, {}
    for start in range(0, len(fixture.images), 32):
        found = session.run(list(tensors), {feed: fixture.images[start : start + 32]})
        for (name, axis), array in zip(tensors.items(), found, strict=True):
            flat = np.moveaxis(array, axis, -1).reshape(-1, array.shape[axis]).astype(np.float64)
            sums[name], rows[name] = sums.get(name, 0) + flat.T @ flat, rows.get(name, 0) + len(flat)
    return {name: total / rows[name] for name, total in sums.items()}


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("precision", BLOCKS)
def test_rounding_to_the_data_beats_nearest_on_held_out_digits(name, precision):
    """At least 4 dB more, and no more than 0.6 points of top-1 lost: 6 of 1000 digits, one standard deviation of chance."""
    fixture = trained(name)
    seen = moments(fixture, inputs_of(fixture.sites, recipe(precision)))
    plain, careful = (quantise(fixture.model, None, recipe(precision), fixture.sites, each) for each in (None, seen))
    (before, _, _), (after, lost, _) = fixture.judge(plain), fixture.judge(careful)
    assert after > before + 4 and after > 30 and lost <= 0.6


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_fp8_holds_on_held_out_digits(name):
    fixture = trained(name)
    graph = quantise(fixture.model, fixture.statistics(), Recipe(precision="fp8"), fixture.sites)
    quality, lost, _ = fixture.judge(graph)
    assert quality > 30 and lost <= 0.6


@needs_rtx
@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("precision", CHIPS)
def test_every_family_builds_in_every_low_precision(name, precision):
    fixture = trained(name)
    if precision == "fp8":
        graph = quantise(fixture.model, fixture.statistics(), Recipe(precision="fp8"), fixture.sites)
    else:
        graph = quantise(fixture.model, None, recipe(precision), fixture.sites)
    size = find(name).contract.size
    shapes = Shapes((1, 3, *size), (1, 3, *size), (BATCH, 3, *size))
    typed = [to_precision(each, "fp16", engine="tensorrt_rtx").model for each in (fixture.model, graph.model)]
    half, low = (read_engine(build_rtx_engine(each, CHIPS[precision], shapes)) for each in typed)
    assert low.fused_attention >= half.fused_attention and low.recognised == 1
    assert low.constant_bytes < half.constant_bytes
