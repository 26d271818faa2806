"""The emulated bfloat16 graph rounds exactly where the typed graph does."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx_ir as ir

from edgesmith.exporter.precision.casts import to_precision
from edgesmith.exporter.precision.emulate import emulate
from edgesmith.exporter.run import runners as verify

GRAPH = """
<ir_version: 10, opset_import: ["" : 20]>
g (float[2, 3] images) => (float[2, 3] logits)
<float[3] scale = {0.3333, 1.7071, 0.9999}, float bias = {0.0123}>
{
  a = Mul(images, scale)
  logits = Add(a, bias)
}
"""


def test_every_value_is_rounded_to_eight_bits():
    typed = to_precision(ir.from_onnx_text(GRAPH), "bf16").model
    images = verify.seeded((2, 3))
    found = verify.graph_runner(emulate(typed, "bf16"), optimise=False)(images)

    def bf16(values: np.ndarray) -> np.ndarray:
        return values.astype(ml_dtypes.bfloat16).astype(np.float32)

    scale, bias = np.array([0.3333, 1.7071, 0.9999], np.float32), np.float32(0.0123)
    expected = bf16(bf16(bf16(images) * bf16(scale)) + bf16(bias))
    np.testing.assert_array_equal(found, expected)
    assert not np.array_equal(found, images * scale + bias)
