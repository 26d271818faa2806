"""Every form is pinned to the kernel that it must become: ONNX Runtime's and OpenVINO's optimised graphs, the X-ray.

A form that is legal but not recognised computes the same numbers in float32, slower than before; only this shows it.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from linear_graph import LINEARS, feeds, linear_graph
from openvino_here import openvino_or_skip
from scale_tables import chain_table, int8_weights, symmetric_table
from silu_detector import silu_detector

from edgesmith.calibration.forms.dynamic import insert_dynamic
from edgesmith.calibration.forms.qdq import insert_qdq
from edgesmith.calibration.forms.u8 import insert_u8
from edgesmith.calibration.nouns import Recipe
from edgesmith.calibration.sites.sites import find_sites
from edgesmith.exporter.engine import rtx
from edgesmith.exporter.engine.xray import read_engine
from edgesmith.exporter.precision.casts import to_precision

IMAGES = {"images": np.random.default_rng(2).standard_normal((1, 3, 64, 64)).astype(np.float32)}


def optimised(model: ir.Model, folder: Path) -> Counter:
    """The operators that ONNX Runtime will run."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString(), options, providers=["CPUExecutionProvider"])
    graph = onnx.load(folder / "optimised.onnx").graph
    return Counter(node.op_type for node in graph.node)


def executed(model: ir.Model) -> Counter:
    """(layer type, precision) of what OpenVINO will run, and the kernels of its products."""
    core = openvino_or_skip().Core()
    compiled = core.compile_model(
        core.read_model(ir.to_proto(model).SerializeToString()), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    found: Counter = Counter()
    for op in compiled.get_runtime_model().get_ops():
        info = op.get_rt_info()
        found[info["layerType"].astype(str), info["runtimePrecision"].astype(str)] += 1
    return found


@pytest.fixture(scope="module", params=["B", 1])
def linears(request):
    model = linear_graph(request.param)
    return model, find_sites(model, feeds(1))


@pytest.fixture(scope="module")
def detector():
    model = silu_detector(64, 16, 3)
    sites = [site for site in find_sites(model, IMAGES) if site.kind in ("conv", "linear")]
    return model, sites


def test_onnxruntime_runs_qdq_on_integer_kernels(linears, tmp_path):
    model, sites = linears
    ops = optimised(insert_qdq(model, sites, symmetric_table(model, sites, feeds(1)), Recipe()), tmp_path)
    assert ops["MatMulIntegerToFloat"] == len(LINEARS)
    assert ops["QuantizeLinear"] == len(LINEARS)
    assert ops["DequantizeLinear"] == 0, "a weight or an activation is dequantised while it runs"
    assert ops["Gemm"] == 0


def test_why_the_bias_is_subtracted_and_scalars_are_not_shared(tmp_path):
    """Both traps of ONNX Runtime, so that an upgrade which closes them is noticed: the form could then be simpler."""
    model = linear_graph(1)
    sites = find_sites(model, feeds(1))
    inserted = insert_qdq(model, sites, symmetric_table(model, sites, feeds(1)), Recipe())
    added = ir.to_proto(inserted)
    for node in added.graph.node:
        if node.op_type == "Sub":
            node.op_type = "Add"
    assert optimised(ir.from_proto(added), tmp_path)["MatMulIntegerToFloat"] < len(LINEARS)
    shared = ir.to_proto(inserted)
    zero = next(node.input[2] for node in shared.graph.node if node.op_type == "QuantizeLinear")
    scale = {node.input[0]: node.input[1] for node in shared.graph.node if node.op_type == "QuantizeLinear"}
    for node in shared.graph.node:
        if node.op_type == "QuantizeLinear":
            node.input[1], node.input[2] = scale[node.input[0]], zero
        elif node.op_type == "DequantizeLinear" and len(node.input) == 3:
            (quantise,) = [other for other in shared.graph.node if node.input[0] in other.output]
            node.input[1], node.input[2] = quantise.input[1], zero
    assert optimised(ir.from_proto(shared), tmp_path)["MatMulIntegerToFloat"] == len(LINEARS) - 3, "q, k and v are lost"


def dynamic(batch: int | str) -> ir.Model:
    model = linear_graph(batch)
    sites = find_sites(model, feeds(1))
    return insert_dynamic(model, sites, int8_weights(model, sites))


def test_onnxruntime_quantises_a_shared_input_once_in_the_dynamic_form(tmp_path):
    ops = optimised(dynamic(1), tmp_path)
    assert ops["MatMulIntegerToFloat"] == 3, "q, k and v, whose input is quantised once"
    assert ops["DynamicQuantizeLinear"] == 1
    assert ops["DynamicQuantizeMatMul"] == len(LINEARS) - 3
    assert not ops.keys() & {"MatMulInteger", "Gemm", "Cast"}


def test_ranges_of_rows_leave_onnxruntime_the_integer_products(tmp_path):
    """Nothing of what several pictures at a time need is fused (forms/dynamic.py), and nothing falls back to floating point."""
    ops = optimised(dynamic("B"), tmp_path)
    assert ops["MatMulInteger"] == len(LINEARS)
    assert not ops.keys() & {"DynamicQuantizeLinear", "DynamicQuantizeMatMul", "MatMulIntegerToFloat", "Gemm"}


def test_onnxruntime_runs_all_between_stem_and_head_in_the_u8_form(detector, tmp_path):
    model, sites = detector
    ops = optimised(insert_u8(model, sites, chain_table(model, sites, IMAGES), Recipe(form="u8")), tmp_path)
    before = Counter(node.op_type for node in model.graph)
    assert ops["QLinearConv"] == len(sites) == before["Conv"] - 2, "all but stem and head"
    assert ops["QLinearSigmoid"] == ops["QLinearMul"] == before["Mul"] - 1, "SiLU of all but the stem"
    assert (ops["QLinearAdd"], ops["QLinearConcat"]) == (before["Add"], before["Concat"])
    assert (ops["QuantizeLinear"], ops["DequantizeLinear"]) == (1, 1), "in behind the stem, out before the head"


def test_symmetric_qdq_of_convolutions_stays_in_float_on_onnxruntime(detector, tmp_path):
    """The reason why a convolutional network has a form of its own on a CPU."""
    model, sites = detector
    ops = optimised(insert_qdq(model, sites, symmetric_table(model, sites, IMAGES), Recipe()), tmp_path)
    assert ops["QLinearConv"] == 0
    assert ops["DequantizeLinear"] >= 2 * len(sites)


def test_openvino_runs_qdq_on_integer_kernels(linears, detector):
    model, sites = linears
    ran = executed(insert_qdq(model, sites, symmetric_table(model, sites, feeds(1)), Recipe()))
    assert ran["FullyConnected", "i8"] == len(LINEARS)
    model, sites = detector
    ran = executed(insert_qdq(model, sites, symmetric_table(model, sites, IMAGES), Recipe()))
    assert ran["Convolution", "i8"] + ran["Convolution", "u8"] == len(sites)
    assert ran["Convolution", "f32"] == 2, "stem and head"


def test_dynamic_has_no_integer_kernels_on_openvino(linears):
    """OpenVINO computes the standard operators of this form in float32, slower than the float graph: never choose it."""
    model, sites = linears
    ran = executed(insert_dynamic(model, sites, int8_weights(model, sites)))
    assert not any(count for (layer, kind), count in ran.items() if layer == "FullyConnected" and kind in ("i8", "u8"))


@pytest.mark.skipif(not rtx.installed(), reason="TensorRT-RTX is not installed: pip install 'edgesmith[rtx]'")
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_tensorrt_rtx_plans_integer_operands_for_qdq(precision):
    """Built, not run: integer operands are what the plan says."""
    model = linear_graph(1)
    sites = find_sites(model, feeds(1))
    inserted = insert_qdq(model, sites, symmetric_table(model, sites, feeds(1)), Recipe())
    xray = read_engine(rtx.build_rtx_engine(to_precision(inserted, precision).model, "sm89"))
    integer = [kernel for kernel in xray.kernel_list if kernel.role == "gemm" and set(kernel.operands) == {"int8"}]
    inside = {layer for kernel in integer for layer in kernel.layers}
    assert inside >= set(LINEARS), "at float32, q, k and v are even one product"
    floats = [kernel for kernel in xray.kernel_list if kernel.role == "gemm" and kernel not in integer]
    assert not {layer for kernel in floats for layer in kernel.layers} & set(LINEARS)


@pytest.mark.skipif(not rtx.installed(), reason="TensorRT-RTX is not installed: pip install 'edgesmith[rtx]'")
def test_qdq_of_convolutions_on_tensorrt_rtx(detector):
    model, sites = detector
    inserted = insert_qdq(model, sites, symmetric_table(model, sites, IMAGES), Recipe())
    xray = read_engine(rtx.build_rtx_engine(inserted, "sm89"))
    products = [kernel for kernel in xray.kernel_list if kernel.role in ("gemm", "convolution")]
    assert sum(set(kernel.operands) == {"int8"} for kernel in products) == len(sites)


@pytest.mark.skipif(not rtx.installed(), reason="TensorRT-RTX is not installed: pip install 'edgesmith[rtx]'")
def test_u8_is_not_for_tensorrt(detector):
    model, sites = detector
    inserted = insert_u8(model, sites, chain_table(model, sites, IMAGES), Recipe(form="u8"))
    with pytest.raises(rtx.BuildFailed):
        rtx.parse_only(inserted)
