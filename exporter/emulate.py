"""A 16-bit graph whose rounding a CPU can show: float32 numbers, rounded where the typed graph rounds.

Every value that the typed graph holds in bfloat16 or float16 becomes float32 and passes through a Cast to that type and
back, so that it carries the same bits and overflows at the same place. Inside an operator the sums are float32, as tensor
cores and AMX do it too.

ONNX Runtime needs this on a CPU for both: it has no bfloat16 kernels, and between most float16 nodes it drops the casts
that it put in itself, so that a chain of them is computed in float32 and neither rounds nor overflows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx_ir as ir


def emulate(typed: ir.Model, precision: str) -> ir.Model:
    """A float32 copy of an fp16 or bf16 graph with the same rounding; a value keeps its name where it is rounded.

    Run it without graph optimisations: they may drop casts.
    """
    import numpy as np
    import onnx_ir as ir

    from .rewrite import clone

    low, wide = {"fp16": ir.DataType.FLOAT16, "bf16": ir.DataType.BFLOAT16}[precision], ir.DataType.FLOAT
    model = clone(typed)
    graph = model.graph
    for key, value in graph.initializers.items():
        if value.const_value is not None and value.const_value.dtype == low:
            value.const_value = ir.tensor(value.const_value.numpy().astype(np.float32), name=key)
            value.type = ir.TensorType(wide)
    for node in list(graph):
        rounded = [output for output in node.outputs if output.dtype == low]
        for attribute in list(node.attributes.values()):
            if (
                attribute.type == ir.AttributeType.INT
                and attribute.name in ("to", "dtype")
                and attribute.value == int(low)
            ):
                node.attributes[attribute.name] = ir.AttrInt64(attribute.name, int(wide))
            elif attribute.type == ir.AttributeType.TENSOR and attribute.as_tensor().dtype == low:
                widened = attribute.as_tensor().numpy().astype(np.float32)
                node.attributes[attribute.name] = ir.AttrTensor(attribute.name, ir.tensor(widened))
        for output in rounded:
            output.type = ir.TensorType(wide)
            name, output.name = str(output.name), f"{output.name}_exact"
            down = ir.Value(name=f"{name}_rounded", shape=output.shape, type=ir.TensorType(low))
            up = ir.Value(name=name, shape=output.shape, type=ir.TensorType(wide))
            output.replace_all_uses_with(up)
            casts = [
                ir.Node(
                    "",
                    "Cast",
                    [source],
                    [ir.AttrInt64("to", int(kind))],
                    outputs=[made],
                    name=f"Round_{name}_{int(kind)}",
                )
                for source, kind, made in ((output, low, down), (down, wide, up))
            ]
            graph.insert_after(node, casts)
    return model
