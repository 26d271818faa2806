"""A 16-bit graph whose rounding a CPU can show: float32 numbers, rounded where the typed graph rounds.

Every value that the typed graph holds in bfloat16 or float16 becomes float32 and passes through a Cast to that type and
back, so that it carries the same bits and overflows at the same place. Inside an operator the sums are float32, as tensor
cores, AMX and avx512_bf16 do it too.

ONNX Runtime needs this on a CPU for both: it has no products in bfloat16, and between most float16 nodes it drops the casts
that it put in itself, so that a chain of them is computed in float32 and neither rounds nor overflows.

QuantizeLinear of a 16-bit value is computed as TensorRT-RTX does it (read in the source of its generated kernels, 1.7):
the value times the reciprocal of the scale, both and the product in the 16-bit type, then rounded to even. In fp16
about one code in a hundred differs by one from ``x / scale``, in bf16, whose steps are halves above 64, one in ten.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...graph.read import is_op

if TYPE_CHECKING:
    import onnx_ir as ir


LARGE = 1 << 20  # bytes


def emulate(typed: ir.Model, precision: str) -> ir.Model:
    """A float32 copy of an fp16 or bf16 graph with the same rounding; a value keeps its name where it is rounded.

    Run it without graph optimisations: they may drop casts.
    """
    import numpy as np
    import onnx_ir as ir

    from ...calibration.precisions import PRECISIONS
    from ...graph.beside import Kept
    from ...graph.edit import clone
    from ...graph.floats import as_float, holds_fp4

    low, wide = ir.DataType[PRECISIONS[precision].onnx], ir.DataType.FLOAT
    model = as_float(typed) if holds_fp4(typed) else clone(typed)
    graph = model.graph
    for key, value in list(graph.initializers.items()):
        if isinstance(value.const_value, Kept) and value.const_value.dtype == low and value.const_value.nbytes > LARGE:
            _wide_when_read(graph, value)
        elif value.const_value is not None and value.const_value.dtype == low:
            value.const_value = ir.tensor(value.const_value.numpy().astype(np.float32), name=key)
            value.type = ir.TensorType(wide)
    for node in [node for node in graph if is_op(node, "QuantizeLinear")]:
        _multiply_by_reciprocal(graph, node, low)
    for node in list(graph):
        rounded = [output for output in node.outputs if output.dtype == low]
        for attribute in list(node.attributes.values()):
            if (
                attribute.type == ir.AttributeType.INT
                and attribute.name in ("to", "dtype", "output_dtype")
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


def _wide_when_read(graph: ir.Graph, value: ir.Value) -> None:
    """A weight that lies in a file stays as it is, and becomes float32 before the first that reads it, for as long as it is read."""
    import onnx_ir as ir

    name = f"{value.name}_wide"
    wide = ir.Value(name=name, shape=value.shape, type=ir.TensorType(ir.DataType.FLOAT))
    value.replace_all_uses_with(wide)
    first = next((node for node in graph if wide in node.inputs), None)
    if first is not None:
        cast = ir.Node(
            "", "Cast", [value], [ir.AttrInt64("to", int(ir.DataType.FLOAT))], outputs=[wide], name=f"Cast_{name}"
        )
        graph.insert_before(first, cast)


def _multiply_by_reciprocal(graph: ir.Graph, node: ir.Node, low: Any) -> None:
    """x / scale becomes x * (1 / scale) in the type of x; the node then rounds to codes with scale 1."""
    import numpy as np
    import onnx_ir as ir

    x, scale = node.inputs[0], node.inputs[1]
    if x is None or x.dtype != low or scale is None or scale.const_value is None:
        return
    steps = scale.const_value.numpy().astype(np.float32)
    made = []
    for word, array in (
        ("reciprocal", (1 / steps).astype(low.numpy()).astype(np.float32)),
        ("one", np.ones_like(steps)),
    ):
        name = f"{node.name}_{word}"
        value = ir.Value(name=name, shape=ir.Shape(array.shape), type=ir.TensorType(ir.DataType.FLOAT))
        value.const_value = ir.tensor(array, name=name)
        graph.register_initializer(value)
        made.append(value)
    scaled = ir.Value(name=f"{node.name}_scaled", shape=x.shape, type=ir.TensorType(low))
    graph.insert_before(node, ir.Node("", "Mul", [x, made[0]], outputs=[scaled], name=f"{node.name}_times"))
    node.replace_input_with(0, scaled)
    node.replace_input_with(1, made[1])
