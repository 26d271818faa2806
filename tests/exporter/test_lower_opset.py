"""Nodes that an older opset takes as they are, but for attributes that it does not know."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.reference
import onnx_ir as ir
import pytest
from graph_asserts import parse, run

from edgesmith.exporter.engine.lower_opset import lower_opset
from edgesmith.runtime.errors import UserMistake

UPSAMPLE = """
<ir_version: 8, opset_import: ["" : 20]>
g (float[1, 2, 3, 4] x) => (float[1, 2, 6, 8] y)
<float[4] twice = {1.0, 1.0, 2.0, 2.0}>
{ [up] y = Resize<mode = "nearest", coordinate_transformation_mode = "asymmetric", nearest_mode = "floor",
                  antialias = 0, keep_aspect_ratio_policy = "stretch">(x, , twice) }
"""


@pytest.mark.parametrize("opset", [16, 17])
def test_the_upsampling_of_a_neck(opset):
    """As torch writes it: the attributes of opset 18 say what the older operator does anyway."""
    model = parse(UPSAMPLE)
    (before,) = run(model)
    assert lower_opset(model, opset) == {}
    onnx.checker.check_model(ir.to_proto(model), full_check=True)
    assert not {"antialias", "keep_aspect_ratio_policy"} & set(next(iter(model.graph)).attributes)
    np.testing.assert_array_equal(run(model)[0], before)


def test_another_meaning_is_refused():
    with pytest.raises(UserMistake, match="Resize cannot be written in opset 16"):
        lower_opset(parse(UPSAMPLE.replace("antialias = 0", "antialias = 1")), 16)


@pytest.mark.parametrize(("alpha", "nodes"), [("", ["Sigmoid", "Mul"]), ("<alpha = 1.702>", ["Mul", "Sigmoid", "Mul"])])
def test_swish_is_written_out_before_opset_24(alpha, nodes):
    model = parse(
        f'<ir_version: 10, opset_import: ["" : 24]> g (float[2, 3] x) => (float[2, 3] y) {{ [s] y = Swish{alpha}(x) }}'
    )
    assert lower_opset(model, 23) == {"Swish": 1}
    onnx.checker.check_model(ir.to_proto(model), full_check=True)
    assert [node.op_type for node in model.graph] == nodes
    x = np.random.default_rng(0).standard_normal((2, 3)).astype(np.float32)
    factor = 1.702 if alpha else 1.0
    (found,) = onnx.reference.ReferenceEvaluator(ir.to_proto(model)).run(None, {"x": x})
    np.testing.assert_allclose(found, x / (1 + np.exp(-factor * x.astype(np.float64))), rtol=1e-5)  # float32
