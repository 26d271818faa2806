"""Trained fixtures in int8 with fp16 around it, rounded as TensorRT-RTX rounds: next to nothing is lost to the types."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from quantised_flow import chosen, quantised

from edgesmith.exporter.patterns import order_for
from edgesmith.exporter.patterns.rewrite import rewrite
from edgesmith.exporter.precision.casts import to_precision
from edgesmith.exporter.precision.emulate import emulate
from edgesmith.graph.read import nodes_by_name
from edgesmith.graph.run import run_values
from edgesmith.models.fixtures.digits import digits
from edgesmith.models.registry import find
from edgesmith.runtime.pictures.preprocess import preprocess

ROOT = Path(__file__).parents[2]
LARGEST_FP16 = 65504


def traced(name):
    spec = importlib.util.spec_from_file_location("benchmarks_accuracy", ROOT / "benchmarks" / "accuracy.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.traced(name)


def sqnr_db(wanted, found):
    wanted = wanted.astype(np.float64)
    return float(10 * np.log10((wanted**2).sum() / ((wanted - found) ** 2).sum()))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vit_ggem_mnist", "convit_mnist", "davit_mnist", "smt_mnist", "van_mnist"])
def test_int8_with_fp16_around_it_is_as_good_as_with_float32(name):
    contract = find(name).contract
    model = rewrite(traced(name), order_for("rtx", "int8")).model
    graph = quantised(model, {"images": preprocess(list(digits("train")[0][:64]), contract)})
    held_out = {"images": preprocess(list(digits("held_out")[0][:128]), contract)}
    truth = run_values(model, held_out, None)["logits"]
    wide = sqnr_db(truth, run_values(graph.model, held_out, None)["logits"])
    typed = emulate(to_precision(graph.model, "fp16", engine="tensorrt_rtx").model, "fp16")
    found = run_values(typed, held_out, [str(node.outputs[0].name) for node in typed.graph])
    assert sqnr_db(truth, found["logits"]) > wide - 1  # 128 pictures: a draw of codes more or less is half a decibel
    floats = [array for array in found.values() if np.issubdtype(array.dtype, np.floating)]
    assert all(np.isfinite(array).all() for array in floats)

    # what the scales go behind the product for: the plain sums of codes of these very layers are past fp16
    nodes = nodes_by_name(graph.model)
    products = [site for site in chosen(graph) if nodes[site].op_type == "MatMul"]
    real = run_values(graph.model, held_out, [str(nodes[site].outputs[0].name) for site in products])
    steps = {site: graph.scales.activations[site].scale * graph.scales.weights[site].scale.ravel() for site in products}
    past = [site for site in products if np.abs(real[nodes[site].outputs[0].name] / steps[site]).max() > LARGEST_FP16]
    assert len(past) >= 0.8 * len(products)
