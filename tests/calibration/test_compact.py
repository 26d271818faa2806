"""Constants that take less of the file: smaller, and the same graph once it is loaded."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir
import pytest
from linear_graph import feeds, linear_graph

from edgesmith.calibration.forms.compact import compact
from edgesmith.calibration.judge.accuracy import sqnr_db
from edgesmith.graph.run import run_values

MAPS = """
<ir_version: 10, opset_import: ["" : 20]>
net (float[1, 3, 32, 32] x) => (float[1, 64, 1024] y)
<int64[3] rows = {0, 64, -1}>
{
  stem = Conv<pads = [1, 1, 1, 1]>(x, w_stem)
  deep = Conv<strides = [2, 2], pads = [1, 1, 1, 1]>(stem, w_deep)
  local = Conv<pads = [1, 1, 1, 1]>(deep, w_local)
  flat = Reshape(local, rows)
  y = MatMul(flat, position)
}
"""
SHAPES = {"w_stem": (256, 3, 3, 3), "w_deep": (256, 256, 3, 3), "w_local": (64, 256, 3, 3), "position": (1, 256, 1024)}


def loaded(model: ir.Model, folder) -> list[str]:
    """The operators that ONNX Runtime runs."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.optimized_model_filepath = str(folder / "loaded.onnx")
    onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString(), options, providers=["CPUExecutionProvider"])
    return [node.op_type for node in onnx.load(folder / "loaded.onnx").graph.node]


def test_matrices_become_float16_and_are_widened_at_load(tmp_path):
    model = linear_graph()
    before, expected = len(ir.to_proto(model).SerializeToString()), run_values(model, feeds(), None)
    assert compact(model) == 5  # four of 96 x 96 and one of 80 x 96; 80 x 40 and the vectors are small
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    assert len(proto.SerializeToString()) < 0.6 * before
    found = run_values(model, feeds(), None)
    for name, array in expected.items():
        assert sqnr_db(array, found[name]) > 60
    assert "Cast" not in loaded(model, tmp_path), "it is computed at every run"
    assert compact(model) == 0


def test_position_terms_and_large_convolutions_become_codes(tmp_path):
    proto, rng = onnx.parser.parse_model(MAPS), np.random.default_rng(0)
    for name, shape in SHAPES.items():
        array = rng.standard_normal(shape).astype(np.float32) * 10.0 ** -rng.integers(0, 5, (*shape[:-1], 1))
        proto.graph.initializer.append(onnx.numpy_helper.from_array(array.astype(np.float32), name))
    for node in proto.graph.node:
        node.name = node.output[0]
    model = ir.from_proto(onnx.shape_inference.infer_shapes(proto))
    images = {"x": rng.standard_normal((1, 3, 32, 32)).astype(np.float32)}
    expected = run_values(model, images, ["deep", "y"])
    assert compact(model) == len(SHAPES)
    onnx.checker.check_model(ir.to_proto(model), full_check=True)
    types = {name: value.dtype for name, value in model.graph.initializers.items()}
    codes = {name for name, dtype in types.items() if dtype == ir.DataType.INT8}
    assert codes == {"w_deep_codes", "position_codes"}
    assert {name for name, dtype in types.items() if dtype == ir.DataType.FLOAT16} == {"w_stem_half", "w_local_half"}
    found = run_values(model, images, ["deep", "y"])
    assert sqnr_db(expected["deep"], found["deep"]) > 35
    assert sqnr_db(expected["y"], found["y"]) > 30
    assert not {"Cast", "DequantizeLinear"} & set(loaded(model, tmp_path)), "it is computed at every run"


@pytest.mark.parametrize(("value", "why"), [(1e6, "too large"), (np.inf, "a mask"), (1e-7, "too small")])
def test_what_float16_cannot_hold_stays(value, why):
    model = linear_graph()
    weight = model.graph.initializers["w_k"]
    array = np.full((96, 96), 1e-8, np.float32)
    array[0, 0] = value
    weight.const_value = ir.tensor(array, name="w_k")
    assert compact(model) == 4, why
    assert "w_k" in model.graph.initializers
