"""A network whose weights alone are in four bits, in blocks, and the float network of exactly these weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.parser
from onnx import helper, numpy_helper

TEXT = """
<ir_version: 10, opset_import: ["" : 21]>
net (float[B, 3, 8, 8] images) => (float[B, 32] logits)
{{ flat = Flatten(images)  {weight}  logits = MatMul(flat, w) }}
"""
WEIGHTS = "w = DequantizeLinear<axis = 0, block_size = 32>(codes, scale)"
INPUTS, OUTPUTS, BLOCK = 192, 32, 32


def weight_only_files(folder: Path) -> tuple[Path, Path]:
    """(float file, file of int4 weights): the same numbers, so whatever lies between them is the engine's."""
    rng = np.random.default_rng(2)
    codes = rng.integers(-8, 8, (INPUTS, OUTPUTS)).astype(np.int8)
    scale = rng.uniform(0.01, 0.05, (INPUTS // BLOCK, OUTPUTS)).astype(np.float32)
    plain = onnx.parser.parse_model(TEXT.format(weight=""))
    weight = codes * np.repeat(scale, BLOCK, axis=0)
    plain.graph.initializer.append(numpy_helper.from_array(weight.astype(np.float32), "w"))
    four = onnx.parser.parse_model(TEXT.format(weight=WEIGHTS))
    packed = helper.make_tensor("codes", onnx.TensorProto.INT4, codes.shape, codes.ravel().tolist())
    four.graph.initializer.extend([packed, numpy_helper.from_array(scale, "scale")])
    for model, name in ((plain, "float"), (four, "int4")):
        for node in model.graph.node:
            node.name = f"/{node.output[0]}"
        onnx.save(model, folder / f"{name}.onnx")
    return folder / "float.onnx", folder / "int4.onnx"
