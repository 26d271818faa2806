"""A bfloat16 graph made runnable on a CPU without bfloat16 kernels: float32 numbers, rounded where the graph rounds.

Every value that the typed graph holds in bfloat16 becomes float32 and passes through Cast to bfloat16 and back, so that
it carries 8 significant bits. Inside an operator the sums are float32, as tensor cores and AMX do it too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx_ir as ir


def emulate_bf16(typed: ir.Model) -> ir.Model:
    """A float32 copy of a bfloat16 graph with the same rounding. Run it without graph optimisations: they may drop casts."""
    import numpy as np
    import onnx_ir as ir

    from .rewrite import clone

    low, wide = ir.DataType.BFLOAT16, ir.DataType.FLOAT
    model = clone(typed)
    graph = model.graph
    for name, value in graph.initializers.items():
        if value.const_value is not None and value.const_value.dtype == low:
            value.const_value = ir.tensor(value.const_value.numpy().astype(np.float32), name=name)
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
        for output in rounded:
            output.type = ir.TensorType(wide)
            down = ir.Value(name=f"{output.name}_rounded", shape=output.shape, type=ir.TensorType(low))
            up = ir.Value(name=f"{output.name}_widened", shape=output.shape, type=ir.TensorType(wide))
            output.replace_all_uses_with(up)
            casts = [
                ir.Node("", "Cast", [source], [ir.AttrInt64("to", int(kind))], outputs=[made], name=f"Cast_{made.name}")
                for source, kind, made in ((output, low, down), (down, wide, up))
            ]
            graph.insert_after(node, casts)
    return model
