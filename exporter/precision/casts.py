"""rewritten graph -> strongly typed graph: fp16 or bf16 decided here, node by node, for all engines alike.

TensorRT 11 and TensorRT-RTX compute exactly the types that the graph spells, so the casts are ours.  Inputs and outputs
of the graph stay float32.  A node computes in the low type unless it is in a float32 *island*, which has a reason:

- ``GGeM pooling``: powers with learned exponents leave fp16's range (models/families/vit_ggem/network.py);
- ``decoding of boxes``: coordinates need more steps than 16 bits have (decoding.py);
- a constant that fp16 cannot hold (an epsilon that becomes 0, a weight that becomes infinite);
- arithmetic on shapes, whose results become integers;
- an operator whose inputs the ONNX schema knows in float32 only;
- lists of tensors, which no engine with types has;
- ``keep``: what the caller names, for instance the result of ``islands.choose_islands``.

LayerNormalization stays one node: its ``stash_type`` makes every engine compute mean and variance in float32.

In a quantised graph the codes and zero points stay as they are, and a scale has the type of the tensor beside it: of the
values that QuantizeLinear reads, of the product that reads what DequantizeLinear makes (``quantised_islands``).  Channel
scales move behind the product (scales_behind.py), or the sum of codes would leave fp16.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ...calibration.precisions import PRECISIONS, QDQ_OPSET
from ...graph.edit import clone, sweep
from ...graph.read import LISTS, is_op
from ...runtime.errors import EdgesmithError, UserMistake
from ...runtime.ground.limits import BF16, FP16, FP32
from ..plan.engines import ENGINES, OPSETS, Engine
from ..plugins.torch_ops import carry_functions
from .decoding import WHY, decode_tail
from .scales_behind import scales_behind
from .schema_types import Types, ggem_chain, quantised_islands, shape_arithmetic

if TYPE_CHECKING:
    import onnx_ir as ir

LOW = (FP16, BF16)
MASKS = {"Add", "Where", "Clip", "Max", "Min", "Sub"}  # here an infinite constant is a bound or a mask: it saturates
Keep = Callable[["ir.Node"], bool] | Collection[str]


@dataclass(frozen=True)
class PrecisionResult:
    """The typed graph and what was done to it, as plain data for the manifest."""

    model: ir.Model
    report: dict[str, Any] = field(default_factory=dict)

    @property
    def islands(self) -> list[dict[str, str]]:
        """Nodes kept in float32: node, op, why."""
        return self.report.get("islands", [])


def to_precision(
    model: ir.Model, precision: str, keep: Keep = (), *, max_opset: int = OPSETS[-1], engine: str = ""
) -> PrecisionResult:
    """A copy of ``model`` (float32, Q/DQ allowed) that computes in ``precision`` (fp32, fp16 or bf16) what is not quantised.

    ``keep`` names further nodes that stay float32: node names, node names with a reason each, or a predicate.  bf16 raises the opset to 22,
    where convolution has bfloat16, unless ``max_opset`` forbids it.  ``engine`` is that of the target: for "tensorrt_rtx"
    the channel scales of convolutions move behind them too, which TensorRT itself takes along.  fp32 returns the graph as it is.

    Raises UserMistake: a precision that is not one of these, or Q/DQ in an opset that knows them in float32 only.
    """
    if precision == FP32:
        return PrecisionResult(model, {"precision": FP32, "islands": [], "casts": 0})
    if precision not in LOW:
        raise UserMistake(
            f"Precision {precision} is not in this version of Edgesmith",
            found=precision,
            expected="fp32, fp16 or bf16",
            because="this is the type around what is quantised; quantise the graph first",
            attempt="--precision fp16",
        )
    _check_opset(model, precision)
    model = clone(model)
    kept = {str(node.name) for node in model.graph if _chooser(keep)(node)}
    moved = scales_behind(model, ENGINES[engine].scales_behind if engine else Engine.scales_behind, kept)
    found = _Conversion(model, precision, keep, max_opset).run()
    return PrecisionResult(found.model, {**found.report, "scales_behind": moved}) if moved else found


def _check_opset(model: ir.Model, precision: str) -> None:
    """Q/DQ take 16-bit scales from opset 19 on; below it every quantised product would be wrapped in casts."""
    opset = model.graph.opset_imports.get("", 0)
    if opset < QDQ_OPSET and any(is_op(node, "QuantizeLinear") for node in model.graph):
        raise UserMistake(
            f"Opset {opset} has no quantisation beside {precision}",
            found=f"opset {opset}",
            expected=f"opset {QDQ_OPSET} or later",
            because="before it, QuantizeLinear and DequantizeLinear know float32 scales only",
            attempt="--opset 20, or leave --opset out",
        )


def _chooser(keep: Keep) -> Callable[[ir.Node], bool]:
    return keep if callable(keep) else lambda node: node.name in keep


class _Conversion:
    """One pass over the graph, in order; values are fp32, low or something else."""

    def __init__(self, model: ir.Model, precision: str, keep: Keep, max_opset: int) -> None:
        import onnx_ir as ir
        from onnx_ir.passes.common import LiftConstantsToInitializersPass, TopologicalSortPass

        self.ir, self.model, self.graph, self.precision = ir, model, model.graph, precision
        self.row = PRECISIONS[precision]
        self.low = ir.DataType[self.row.onnx]
        LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
        TopologicalSortPass()(model)
        if self.graph.opset_imports.get("", 0) < self.row.best_opset <= max_opset:
            self.graph.opset_imports[""] = (
                self.row.best_opset
            )  # only adds types to the operators we use, GroupNormalization apart
        for node in self.graph:
            if any(attr.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS) for attr in node.attributes.values()):
                raise EdgesmithError(
                    f"{node.op_type} {node.name} holds a graph of its own",
                    because=f"{precision} is decided node by node, and control flow is not followed",
                    attempt="--precision fp32",
                )
        self.types = Types(model, self.low)
        self.why = self._islands(keep)
        self.casts: dict[tuple[Any, Any], ir.Value] = {}
        self.copies: dict[Any, ir.Value] = {}
        self.weights = {
            "converted": 0,
            "elements": 0,
            "overflow": 0,
            "underflow": 0,
            "bytes_before": 0,
            "bytes_after": 0,
        }
        self.lossy: list[dict[str, Any]] = []
        self.low_values: set[Any] = set()
        self.low_nodes = 0

    def run(self) -> PrecisionResult:
        for node in list(self.graph):
            if is_op(node, "Cast") and self._cast(node):
                continue
            if node in self.why:
                self._feed(node, range(len(node.inputs)), to_low=False)
                continue
            fixed, outputs = self.types.fixed_inputs(node), self.types.low_outputs(node)
            changed = self._feed(node, self.types.low_inputs(node), to_low=True)
            self._feed(node, fixed, to_low=False)
            for output in outputs:
                self.low_values.add(output)
                output.type = self.ir.TensorType(self.low)  # a new type: the clone shares types with the original
            if outputs:
                self.types.retype_attributes(node)
            self.low_nodes += bool(changed or outputs)
        self._outputs()
        sweep(self.model)
        carry_functions(self.model, self.graph.opset_imports[""])  # bodies in the opset that the graph has now
        self.model.metadata_props["edgesmith.precision"] = self.precision
        return PrecisionResult(self.model, self._report())

    def _islands(self, keep: Keep) -> dict[ir.Node, str]:
        why: dict[ir.Node, str] = {}
        chosen = _chooser(keep)
        chain, shapes = ggem_chain(self.graph), shape_arithmetic(self.graph, self.types)
        tail = decode_tail(self.graph)
        for node in self.graph:
            reason = (
                (keep[str(node.name)] if isinstance(keep, Mapping) else "asked for")
                if chosen(node)
                else node.metadata_props["edgesmith.float32"]  # a rewrite asked for it (patterns/ggem_pool.py)
                if "edgesmith.float32" in node.metadata_props
                else "GGeM pooling: powers with learned exponents"
                if node in chain
                else WHY
                if node in tail
                else "a list of tensors"
                if is_op(node, LISTS)
                else "arithmetic on shapes"
                if node in shapes
                else self._constants_refuse(node)
            )
            made = node in tail and is_op(node, "Cast")  # from integers: no input of it could be low
            if reason and (made or self.types.low_inputs(node) or self.types.low_outputs(node)):
                why[node] = reason
        return quantised_islands(self.graph, why, self.precision)

    def _constants_refuse(self, node: ir.Node) -> str:
        """A constant of this node that the low type cannot hold, in words."""
        for index in self.types.low_inputs(node):
            value = node.inputs[index]
            if value is None or not value.is_initializer() or value.const_value is None:
                continue
            array = value.const_value.numpy()
            if array.size == 0:
                continue
            largest = float(np.abs(array).max())
            if np.isfinite(largest) and largest > self.row.largest and not is_op(node, MASKS):
                return f"constant {value.name} reaches {largest:.1e}, more than {self.precision} holds"
            lost = (array != 0) & (self._converted(array).astype(np.float32) == 0)
            if lost.any() and (array.size == 1 or is_op(node, ("QuantizeLinear", "DequantizeLinear"))):
                what = "scale" if array.size > 1 else "constant"
                return f"{what} {array[lost].flat[0]:.1e} becomes 0 in {self.precision}"
        return ""

    def _cast(self, node: ir.Node) -> bool:
        """Casts to float become casts to the low type; a cast that then changes nothing goes. True: dealt with."""
        source, output = node.inputs[0], node.outputs[0]
        if source is None or node.attributes["to"].as_int() != self.ir.DataType.FLOAT or node in self.why:
            return False
        if source.dtype in (self.ir.DataType.FLOAT, self.low):
            if output.is_graph_output():
                return False
            output.replace_all_uses_with(source)
            self.graph.remove(node, safe=True)
            if not self.types.is_float(
                source
            ):  # low in the graph as it came, such as an input: its readers took float32
                self.types.dtypes[source] = self.ir.DataType.FLOAT
                self.low_values.add(source)
            return True
        node.attributes["to"] = self.ir.AttrInt64("to", int(self.low))
        output.type = self.ir.TensorType(self.low)  # a new type: the clone shares types with the original
        self.low_values.add(output)
        return True

    def _feed(self, node: ir.Node, indices: Collection[int], *, to_low: bool) -> bool:
        """Give the inputs at ``indices`` the wanted type; whether any of them is a floating-point value."""
        changed = False
        for index in indices:
            value = node.inputs[index]
            if value is None or not self.types.is_float(value):
                continue
            changed = True
            if value.is_initializer() and not value.is_graph_input():
                if to_low:
                    node.replace_input_with(index, self._low_constant(value))
            elif (value in self.low_values) != to_low:
                node.replace_input_with(index, self._cast_of(value, to_low))
        return changed

    def _cast_of(self, value: ir.Value, to_low: bool) -> ir.Value:
        """One cast a value and direction, right behind the value's producer; never a cast of a cast."""
        dtype = self.low if to_low else self.ir.DataType.FLOAT
        if (value, dtype) not in self.casts:
            suffix = self.precision if to_low else FP32
            cast = self._make_cast(value, dtype, f"{value.name}_{suffix}")
            self.casts[value, dtype] = cast.outputs[0]
            if to_low:
                self.low_values.add(cast.outputs[0])
        return self.casts[value, dtype]

    def _make_cast(self, value: ir.Value, dtype: Any, name: str) -> ir.Node:
        output = self.ir.Value(name=name, shape=value.shape, type=self.ir.TensorType(dtype))
        cast = self.ir.Node(
            "", "Cast", [value], [self.ir.AttrInt64("to", int(dtype))], outputs=[output], name=f"Cast_{name}"
        )
        producer = value.producer()
        if producer is None:
            self.graph.insert_before(self.graph[0], cast)
        else:
            self.graph.insert_after(producer, cast)
        return cast

    def _low_constant(self, value: ir.Value) -> ir.Value:
        from ...graph.beside import like

        if value not in self.copies:
            assert value.const_value is not None
            array = value.const_value.numpy()
            low = self._converted(array)
            self._count(str(value.name), array, low)
            name = f"{value.name}_{self.precision}"
            tensor = like(value.const_value, low, name)
            copy = self.ir.Value(
                name=name, shape=self.ir.Shape(low.shape), type=self.ir.TensorType(self.low), const_value=tensor
            )
            self.graph.register_initializer(copy)
            self.copies[value] = copy
        return self.copies[value]

    def _converted(self, array: np.ndarray) -> np.ndarray:
        """Round to nearest; finite stays finite (a mask of -1e9 becomes the lowest fp16)."""
        limit = self.row.largest
        finite = np.where(np.isfinite(array), np.clip(array, -limit, limit), array)
        import ml_dtypes  # noqa: F401  numpy knows bfloat16 by name once it is imported

        return finite.astype(np.dtype(self.row.dtype))

    def _count(self, name: str, array: np.ndarray, low: np.ndarray) -> None:
        overflow = int((np.isfinite(array) & (np.abs(array) > self.row.largest)).sum())
        underflow = int(((array != 0) & (low == 0)).sum())
        counts = {"converted": 1, "elements": array.size, "overflow": overflow, "underflow": underflow}
        for key, number in {**counts, "bytes_before": array.nbytes, "bytes_after": low.nbytes}.items():
            self.weights[key] += number
        if overflow or underflow:
            self.lossy.append({"name": name, "size": int(array.size), "overflow": overflow, "underflow": underflow})

    def _outputs(self) -> None:
        """The graph's outputs stay float32 and keep their names."""
        for index, value in enumerate(self.graph.outputs):
            if value not in self.low_values:
                continue
            name = str(value.name)
            value.name = f"{name}_{self.precision}"
            self.graph.outputs[index] = self._make_cast(value, self.ir.DataType.FLOAT, name).outputs[0]

    def _report(self) -> dict[str, Any]:
        return {
            "precision": self.precision,
            "nodes": sum(1 for _ in self.graph),
            "low_nodes": self.low_nodes,
            "casts": sum(is_op(node, "Cast") for node in self.graph),
            "islands": [{"node": str(n.name), "op": n.op_type, "why": why} for n, why in self.why.items()],
            "weights": {**self.weights, "lossy": sorted(self.lossy, key=lambda row: -row["underflow"])[:20]},
        }
