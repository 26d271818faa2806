"""sites + int4 codes in blocks -> com.microsoft.MatMulNBits: weight-only int4 of ONNX Runtime's CPU kernels.

    x (..., K) > MatMulNBits(codes uint8 (N, K / block, block / 2), scale (N, K / block)) > y (..., N)

Codes are stored with 8 added, two in a byte, the first in the low half; without zero points the kernel subtracts 8.
``accuracy_level`` 0 computes in float32; 4 rounds each row of x to int8 in blocks.  Pictures have many rows, and there 4 is
slower: 0.37 to 0.95 of float32 MatMul in blocks of 32 (49 to 3136 rows), where 0 takes 0.86 to 1.03 and changes nothing
else; for a single row it is the other way round, 3.5 against 1.6.  One thread, CPU time, AVX-512 with VNNI.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ...graph.edit import add_constant, insert, sweep, take_over
from ...graph.read import attribute, constant, nodes_by_name
from ..codes.blocks import to_rows
from ..nouns import Recipe, ScaleTable, Site, WeightScales

if TYPE_CHECKING:
    import onnx_ir as ir

DOMAIN = "com.microsoft"
ACCURACY_LEVEL = 0


def insert_nbits(
    model: ir.Model, sites: Sequence[Site], scales: ScaleTable, recipe: Recipe, *, accuracy_level: int = ACCURACY_LEVEL
) -> ir.Model:
    """A copy of ``model`` (float32) with MatMulNBits at the MatMul and Gemm sites that have an entry in ``scales``."""
    model = model.clone()
    nodes = nodes_by_name(model)
    for site in sites:
        if site.node in scales.weights and site.op != "Conv":
            _replace(model, nodes[site.node], scales.weights[site.node], accuracy_level)
            model.graph.opset_imports.setdefault(DOMAIN, 1)
    sweep(model)
    return model


def pack(found: WeightScales) -> tuple[np.ndarray, np.ndarray]:
    """Codes uint8 (N, K / block, block / 2) and scales (N, K / block), float32, as the kernel reads them."""
    codes = (to_rows(found.codes, found.axis) + 8).astype(np.uint8)  # (N, K), 0 to 15
    halves = codes.reshape(len(codes), -1, found.block // 2, 2)
    packed = halves[..., 0] | (halves[..., 1] << 4)
    return packed, to_rows(found.scale, found.axis).astype(np.float32)


def _replace(model: ir.Model, node: ir.Node, found: WeightScales, accuracy_level: int) -> None:
    name, output = str(node.name), node.outputs[0]
    packed, steps = pack(found)
    inputs = [
        node.inputs[0],
        add_constant(model, f"{name}_weight_codes", packed),
        add_constant(model, f"{name}_weight_scale", steps),
    ]
    bias = constant(node.inputs[2]) if len(node.inputs) > 2 else None
    y = insert(
        node, "MatMulNBits", inputs, output=f"{name}_product", name=f"{name}_4bit", domain=DOMAIN, dtype=output.dtype,
        shape=output.shape,
        K=found.codes.shape[found.axis], N=len(packed), bits=4, block_size=found.block, accuracy_level=accuracy_level,
    )  # fmt: skip
    if bias is not None:
        scaled = add_constant(model, f"{name}_bias", bias * np.float32(attribute(node, "beta", 1.0)))
        y = insert(node, "Add", [y, scaled], output=f"{name}_sum", name=f"{name}_add_bias", dtype=output.dtype)
    take_over(node, y)
