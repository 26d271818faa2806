"""Products of few bits as they stand in a graph: engines compute with what the codes stand for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from openvino_here import openvino_or_skip

from edgesmith.exporter.grounding.few_bits.codes import int4_codes, int8_codes
from edgesmith.exporter.grounding.few_bits.forms import BLOCKS_OPSET, Forms
from edgesmith.exporter.grounding.few_bits.store import Store
from edgesmith.exporter.grounding.parts.weights import Weight
from edgesmith.graph.edit import sweep
from edgesmith.graph.read import node_types

INPUTS, OUTPUTS = 96, 10  # three blocks of 32: the zeros of a row end in the middle of a byte


def weight() -> np.ndarray:
    array = np.random.default_rng(0).standard_normal((OUTPUTS, INPUTS), dtype=np.float32)
    array[3] += 2  # its blocks are far from centred
    return array


def x() -> np.ndarray:
    return np.random.default_rng(1).standard_normal((5, INPUTS), dtype=np.float32)


def written(folder: Path, bits: int, integers: bool = False) -> Path:
    fed = ir.Value(name="x", shape=ir.Shape([5, INPUTS]), type=ir.TensorType(ir.DataType.FLOAT))
    held = ir.Value(name="w", shape=ir.Shape([INPUTS, OUTPUTS]), type=ir.TensorType(ir.DataType.FLOAT))
    node = ir.node("MatMul", [fed, held], name="product")
    node.outputs[0].name, node.outputs[0].shape = "y", ir.Shape([5, OUTPUTS])
    node.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
    graph = ir.Graph([fed], node.outputs, nodes=[node], initializers=[held], opset_imports={"": BLOCKS_OPSET})
    model = ir.Model(graph, ir_version=10)
    with Store(folder / "weights.data") as store:
        forms = Forms(store, lambda name: weight(), 32, True, ir.DataType.FLOAT, integers)
        forms.product(node, Weight("w"), bits)
    sweep(model)
    ir.save(model, folder / f"{bits}.onnx")
    return folder / f"{bits}.onnx"


def on_onnxruntime(path: Path) -> np.ndarray:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "1")  # of 8 bits; those of 4 say it
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": x()})[0])


def on_openvino(path: Path) -> np.ndarray:
    openvino_or_skip()
    from edgesmith.runtime.backends.openvino_library import openvino_core

    exact = {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0}
    core = openvino_core()
    return np.array(core.compile_model(core.read_model(path), "CPU", exact)(x())[0])


@pytest.mark.parametrize("run", [on_onnxruntime, on_openvino])
@pytest.mark.parametrize("bits", [4, 8])
def test_engines_read_codes_scales_and_zeros_as_we_do(run, bits, tmp_path):
    found = int4_codes(weight(), 32, zeros=True) if bits == 4 else int8_codes(weight())
    assert np.abs(run(written(tmp_path, bits)) - x() @ found.values().T).max() < 1e-4  # of sums up to 50


def test_whole_numbers_are_off_by_the_rounding_of_what_is_multiplied_alone(tmp_path):
    path = written(tmp_path, 8, integers=True)
    assert node_types(ir.load(path))["MatMulInteger"] == 1
    step = (x().max() - x().min()) / 255
    most = np.abs(int8_codes(weight()).values()).sum(axis=1).max() * step / 2
    apart = np.abs(on_onnxruntime(path) - x() @ int8_codes(weight()).values().T)
    assert 0 < apart.max() < most
