"""Which inputs and outputs of a node may change their floating-point type, read from the ONNX schemas.

Found here too: the GGeM pooling chain, arithmetic on shapes, and what of a quantised graph follows a float32 neighbour.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from ...calibration.precisions import PRECISIONS
from ...graph.read import is_op
from ..plugins.fused_types import follows, output_types, schema_of

if TYPE_CHECKING:
    import onnx_ir as ir

MAKERS = {"ConstantOfShape", "EyeLike", "RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike"}
INTEGERS = {"INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64", "BOOL"}


class Types:
    """Types of all values of a float32 model, and what of each node may become ``low``."""

    def __init__(self, model: ir.Model, low: Any) -> None:
        import onnx_ir as ir

        self.ir, self.low = ir, low
        self.low_name = {ir.DataType.FLOAT16: "tensor(float16)", ir.DataType.BFLOAT16: "tensor(bfloat16)"}[low]
        self.opsets = dict(model.graph.opset_imports)
        self.dtypes: dict[Any, Any] = {}
        for value in [*model.graph.inputs, *model.graph.initializers.values()]:
            self.dtypes[value] = value.dtype if value.dtype is not None else getattr(value.const_value, "dtype", None)
        for node in model.graph:
            for output, dtype in zip(node.outputs, self._output_types(node), strict=True):
                self.dtypes[output] = dtype
                if output.dtype is None:
                    output.type = ir.TensorType(dtype) if dtype is not None else None

    def is_float(self, value: ir.Value | None) -> bool:
        """Float32 in the graph as it came; a cast that was put in later is not a value of that graph."""
        return value is not None and self.dtypes.get(value) == self.ir.DataType.FLOAT

    def low_inputs(self, node: ir.Node) -> list[int]:
        """Indices of float inputs that the schema knows in the low type."""
        return [i for i, value in enumerate(node.inputs) if self.is_float(value) and self._may_be_low(node, i)]

    def fixed_inputs(self, node: ir.Node) -> list[int]:
        """Indices of float inputs that stay float32, such as the scales of Resize."""
        return [i for i, value in enumerate(node.inputs) if self.is_float(value) and not self._may_be_low(node, i)]

    def low_outputs(self, node: ir.Node) -> list[ir.Value]:
        """Outputs whose type follows an input of the low type, or that a node makes from nothing."""
        floats = [output for output in node.outputs if self.is_float(output)]
        if (fused := schema_of(node)) is not None:
            return [o for o in floats if follows(fused.outputs, node.outputs.index(o))]
        schema = self._schema(node)
        if schema is None:
            return floats if self.low_inputs(node) else []
        if is_op(node, MAKERS):
            return floats
        if is_op(node, "DequantizeLinear") and 1 in self.low_inputs(node):
            return floats  # from opset 23 its output has a type parameter of its own, which follows the scale
        bound = {self._formal(schema.inputs, i).type_str for i in self.low_inputs(node)}
        return [o for o in floats if self._formal(schema.outputs, node.outputs.index(o)).type_str in bound]

    def retype_attributes(self, node: ir.Node) -> None:
        """``value`` of ConstantOfShape and ``dtype`` of generators follow their output."""
        if not is_op(node, MAKERS):
            return
        if is_op(node, "ConstantOfShape"):
            given = node.attributes.get("value")
            fill = given.as_tensor().numpy() if given else np.zeros(1, np.float32)
            array = fill.astype(self.low.numpy())
            node.attributes["value"] = self.ir.AttrTensor("value", self.ir.tensor(array))
        else:
            node.attributes["dtype"] = self.ir.AttrInt64("dtype", int(self.low))

    def _schema(self, node: ir.Node) -> Any:
        import onnx

        version = self.opsets.get(node.domain)
        if version is None or not onnx.defs.has(node.op_type, node.domain):
            return None
        try:
            return onnx.defs.get_schema(node.op_type, version, node.domain)
        except onnx.defs.SchemaError:
            return None

    @staticmethod
    def _formal(formals: Any, index: int) -> Any:
        """The formal parameter for an index; the last one may stand for many."""
        return formals[min(index, len(formals) - 1)]

    def _may_be_low(self, node: ir.Node, index: int) -> bool:
        if (fused := schema_of(node)) is not None:
            return follows(fused.inputs, index)
        schema = self._schema(node)
        if schema is None:
            return node.domain != "edgesmith"  # contrib operators of ONNX Runtime follow their data
        type_name = self._formal(schema.inputs, index).type_str
        allowed = {c.type_param_str: c.allowed_type_strs for c in schema.type_constraints}.get(type_name, [type_name])
        return self.low_name in allowed

    def _output_types(self, node: ir.Node) -> list[Any]:
        """Data types of the outputs, from the schema where there is one, else from the first float input."""
        if is_op(node, "Cast"):
            return [self.ir.DataType(node.attributes["to"].as_int())]
        if is_op(node, MAKERS):
            made = node.attributes.get("value") or node.attributes.get("dtype")
            if made is None:
                return [self.ir.DataType.FLOAT]
            return [made.as_tensor().dtype if made.name == "value" else self.ir.DataType(made.as_int())]
        schema = self._schema(node)
        known = [output.dtype for output in node.outputs]
        if schema is None:
            first = next((self.dtypes.get(v) for v in node.inputs if self.is_float(v)), None)
            if (fused := schema_of(node)) is not None:
                return output_types(node, fused, first)
            return [dtype if dtype is not None else first for dtype in known]
        bound: dict[str, Any] = {}
        for index, value in enumerate(node.inputs):
            if value is not None:
                bound.setdefault(self._formal(schema.inputs, index).type_str, self.dtypes.get(value))
        types = []
        for index, dtype in enumerate(known):
            formal = self._formal(schema.outputs, index).type_str
            types.append(dtype if dtype is not None else bound.get(formal, _plain(self.ir, formal)))
        return types


def _plain(ir: Any, formal: str) -> Any:
    """``tensor(int64)`` -> INT64; None for a type parameter."""
    name = formal.removeprefix("tensor(").removesuffix(")").upper()
    return getattr(ir.DataType, name, None)


def ggem_chain(graph: Iterable[ir.Node]) -> set[ir.Node]:
    """Clip > Reshape > Pow > ReduceMean > Pow, and what computes the exponents: all nodes of every such chain."""
    found: set[ir.Node] = set()
    quiet = {"Reshape", "Transpose", "Clip", "Max", "Cast", "Unsqueeze", "Squeeze"}
    for mean in graph:
        if not is_op(mean, "ReduceMean"):
            continue
        above = _walk(mean.inputs[0], quiet)
        below = [use.node for use in mean.outputs[0].uses() if is_op(use.node, "Pow")]
        if not above or not is_op(above[-1], "Pow") or not below:
            continue
        before = _walk(above[-1].inputs[0], quiet)
        lead = [node for node in before if is_op(node, quiet)]
        exponents = [value.producer() for pow_ in (above[-1], *below) for value in pow_.inputs[1:] if value is not None]
        # the chain starts at its lowest bound: what lies above that is the network's business
        bounds = [i for i, node in enumerate(lead) if is_op(node, ("Clip", "Max"))]
        lead = lead[: bounds[-1] + 1] if bounds else lead
        found.update([*lead, *above, mean, *below, *(node for node in exponents if node is not None)])
    return found


def _walk(value: ir.Value | None, quiet: set[str]) -> list[ir.Node]:
    """Up from ``value`` through quiet single-input nodes; the last entry is the first node that is not quiet, or Pow."""
    nodes: list[ir.Node] = []
    while value is not None and (node := value.producer()) is not None:
        nodes.append(node)
        if not is_op(node, quiet):
            break
        value = node.inputs[0]
    return nodes


def shape_arithmetic(graph: ir.Graph, types: Types) -> set[ir.Node]:
    """Float nodes that do not depend on the data and lead to an integer or to an input that must be float32."""
    depends = set(graph.inputs)
    order = list(graph)
    for node in order:
        if not is_op(node, ("Shape", "Size")) and any(value in depends for value in node.inputs):
            depends.update(node.outputs)
    found: set[ir.Node] = set()
    for node in reversed(order):
        if any(output in depends for output in node.outputs):
            sources = [node.inputs[index] for index in types.fixed_inputs(node)]
        elif node in found or _to_integer(node, types):
            found.add(node)
            sources = list(node.inputs)
        else:
            continue
        for value in sources:
            maker = value.producer() if value is not None and types.is_float(value) else None
            if maker is not None and not any(output in depends for output in maker.outputs):
                found.add(maker)
    return found


def _to_integer(node: ir.Node, types: Types) -> bool:
    outputs = {getattr(types.dtypes.get(output), "name", "") for output in node.outputs}
    return bool(outputs) and outputs <= INTEGERS and any(types.is_float(value) for value in node.inputs)


def quantised_islands(graph: ir.Graph, why: dict[ir.Node, str], precision: str) -> dict[ir.Node, str]:
    """``why`` and what goes with it: Q of a float32 value, DQ of a float32 product, the bias that was cut off a Gemm.

    A cast between them would hide the quantised product from TensorRT.  A scale whose reciprocal leaves fp16 stays
    float32 too: TensorRT-RTX multiplies by the reciprocal, in the type of the tensor.
    """
    found = dict(why)
    for node in graph:
        source = node.inputs[0] if node.inputs else None
        maker = source.producer() if source is not None else None
        if is_op(node, "QuantizeLinear") and node not in found:
            if maker in found:
                found[node] = f"quantises the float32 result of {maker.name}"
            elif _smallest(node.inputs[1]) < 1 / PRECISIONS[precision].largest:
                found[node] = (
                    f"the reciprocal of the scale {_smallest(node.inputs[1]):.1e} is more than {precision} holds"
                )
        elif is_op(node, "Sub") and maker in found and node.name == f"{maker.name}_bias":
            found[node] = found[maker]
    for node in graph:
        readers = [use.node for use in node.outputs[0].uses()] if is_op(node, "DequantizeLinear") else []
        if readers and all(reader in found for reader in readers):
            found[node] = f"feeds {readers[0].name} in float32"
    return found


def _smallest(value: ir.Value | None) -> float:
    """The smallest of a constant's values that is not 0; infinite where it is no constant."""
    if value is None or value.const_value is None:
        return float("inf")
    array = value.const_value.numpy().astype(np.float64)
    return float(array[array > 0].min(initial=np.inf))
