"""A quantised graph of any tool -> its places: which tensor is rounded where, and both sides of the rounding by name.

    x > QuantizeLinear > DequantizeLinear > Conv                      before x, after the DequantizeLinear
    codes > DequantizeLinear > MatMul                                 a weight: after only
    w > QuantizeLinear > DequantizeLinear > MatMul                    a weight that is still float in the file
    QLinearConv, MatMulInteger, DynamicQuantizeLinear, MatMulNBits    integer operators: a probe is added, which makes
                                                                      floats of their codes and is read by nobody else

Views and casts between the rounding and its reader are looked through. Biases (int32) are no places.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ...graph.edit import add_constant
from ...graph.read import VIEWS, attribute, behind_views, is_op
from ...graph.read import constant as any_constant

if TYPE_CHECKING:
    import onnx_ir as ir

MICROSOFT = "com.microsoft"
PASSED = VIEWS | {"Cast"}
ROUNDING = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear")
# integer operator -> (codes, scale, zero point) of each operand, by the number of the input; a scale of -1 stands behind it
BINARY = ((0, 1, 2), (3, 4, 5))
OPERATORS = {
    ("", "QLinearConv"): BINARY,
    ("", "QLinearMatMul"): BINARY,
    (MICROSOFT, "QGemm"): BINARY,
    (MICROSOFT, "QLinearAdd"): BINARY,
    (MICROSOFT, "QLinearMul"): BINARY,
    (MICROSOFT, "QLinearConv"): BINARY,
    (MICROSOFT, "MatMulIntegerToFloat"): ((0, 2, 4), (1, 3, 5)),
    (MICROSOFT, "DynamicQuantizeMatMul"): ((1, 2, 3),),
    ("", "MatMulInteger"): ((0, -1, 2), (1, -1, 3)),
    ("", "ConvInteger"): ((0, -1, 2), (1, -1, 3)),
}
PROBE = "__weight_probe"
LARGEST_K = 8192  # of a MatMulNBits whose weight is compared: the identity it is multiplied with grows with its square
INTEGERS = {
    np.dtype(kind).name: (np.iinfo(kind).min, np.iinfo(kind).max) for kind in (np.int8, np.uint8, np.int16, np.uint16)
}
OUT_FIRST = ("QLinearConv", "ConvInteger")  # the scales of their weights lie along axis 0, of all others along the last


@dataclass(frozen=True)
class Rounded:
    """One tensor with its rounding; ``before`` and ``after`` are float values of the probed graph, "" where there is none."""

    before: str
    after: str
    dtype: str  # of the codes
    codes: str = ""
    scale: float | None = None  # the largest of them; None: found at run time
    scales: int = 1
    zero_point: int | None = None

    def bounds(self) -> tuple[float, float] | None:
        """What the codes can hold, half a step beyond either end; None for floats of 8 bits and for run-time ranges."""
        if self.scale is None or self.scales != 1 or "int" not in self.dtype:
            return None
        info = INTEGERS.get(self.dtype)
        if info is None:
            return None
        zero = self.zero_point or 0
        return (info[0] - zero - 0.5) * self.scale, (info[1] - zero + 0.5) * self.scale


@dataclass(frozen=True)
class Place:
    """One operator that reads rounded tensors."""

    node: str
    op: str
    output: str
    activations: tuple[Rounded, ...]
    weight: Rounded | None

    @property
    def types(self) -> str:
        """``int8 x int8``; what is not rounded is called float, a range that is found at run time dynamic."""
        sides = [("dynamic " if one.scale is None else "") + one.dtype for one in self.activations]
        if self.weight is not None:
            sides = [*sides, self.weight.dtype] if sides else ["float", self.weight.dtype]
        return " x ".join(sides)


def read_places(model: ir.Model) -> tuple[ir.Model, tuple[Place, ...]]:
    """A copy of the graph with probes, and its places in graph order; no places for a graph that is not quantised."""
    model = model.clone()
    known: set[str] = set()
    for number, node in enumerate(model.graph):
        if not node.name or node.name in known:  # every place and every probe is called after its node
            node.name = f"{node.name or node.op_type}_{number}"
        known.add(str(node.name))
    places = []
    for node in list(model.graph):
        if is_op(node, (*PASSED, *ROUNDING, "Shape", "Size")) or is_op(node, ROUNDING, MICROSOFT):
            continue
        found = list(_operands(model, node))
        if found and node.outputs:
            activations = tuple(one for is_weight, one in found if not is_weight)
            weight = next((one for is_weight, one in found if is_weight), None)
            places.append(Place(str(node.name), node.op_type, str(node.outputs[0].name), activations, weight))
    return model, tuple(places)


def _operands(model: ir.Model, node: ir.Node) -> Iterator[tuple[bool, Rounded]]:
    """(is a weight, rounded tensor) of every operand that is rounded."""
    if is_op(node, "MatMulNBits", MICROSOFT):
        yield True, _blocks(model, node)
        return
    for operand in OPERATORS.get((node.domain, node.op_type), ()):
        codes, scale, zero = (_input(node, index) for index in operand)
        if codes is None:
            continue
        if operand[1] < 0:
            scale = _scale_before(codes) or _scale_behind(node)
        yield constant(codes) is not None, _probed(model, node, codes, scale, zero)
    for value in node.inputs:
        rounding = behind_views(value, PASSED)
        if rounding is not None and _is_rounding(rounding, "DequantizeLinear"):
            codes = rounding.inputs[0]
            if codes is not None and _dtype(codes) != "int32":
                yield _is_weight(codes), _pair(rounding)


def _is_rounding(node: ir.Node, ops: str | Collection[str]) -> bool:
    """Of either domain: Q and DQ of com.microsoft are those of ONNX for more types."""
    return is_op(node, ops) or is_op(node, ops, MICROSOFT)


def _is_weight(codes: ir.Value) -> bool:
    producer = codes.producer()
    if producer is not None and _is_rounding(producer, "QuantizeLinear"):
        return constant(producer.inputs[0]) is not None
    return constant(codes) is not None


def _pair(dequantise: ir.Node) -> Rounded:
    """Of a DequantizeLinear, with the QuantizeLinear before it where there is one."""
    codes, scale, zero = dequantise.inputs[0], constant(dequantise.inputs[1]), constant(_input(dequantise, 2))
    assert codes is not None
    producer = codes.producer()
    before = producer.inputs[0] if producer is not None and _is_rounding(producer, ROUNDING) else None
    return Rounded(
        str(before.name) if before is not None else "",
        str(dequantise.outputs[0].name),
        _dtype(codes),
        str(codes.name),
        *_numbers(scale, zero),
    )


def _probed(model: ir.Model, node: ir.Node, codes: ir.Value, scale: ir.Value | None, zero: ir.Value | None) -> Rounded:
    """Operand of an integer operator; a DequantizeLinear beside it makes floats of its codes."""
    import onnx_ir as ir

    producer = codes.producer()
    before = producer.inputs[0] if producer is not None and _is_rounding(producer, ROUNDING) else None
    name, steps = f"{node.name}__{codes.name}", constant(scale)
    after = ""
    rank = len(codes.shape) if codes.shape is not None else 0
    if scale is not None and (steps is None or steps.size == 1 or (rank and steps.size)):
        many = steps is not None and steps.size > 1
        out_first = is_op(node, OUT_FIRST) or is_op(node, OUT_FIRST, MICROSOFT)
        axis = {"axis": 0 if out_first else rank - 1} if many else {}
        if steps is not None:
            scale = add_constant(model, f"{name}_scale", steps.reshape(-1 if many else ()))
            point = constant(zero)
            if point is not None and point.size in (1, steps.size):
                wide = np.broadcast_to(point.reshape(-1), steps.size) if many else point.reshape(())
                zero = add_constant(model, f"{name}_zero", wide)
        kind = scale.dtype if scale.dtype is not None else ir.DataType.FLOAT
        value = ir.Value(name=f"{name}_after", type=ir.TensorType(kind))
        probe = ir.node("DequantizeLinear", [codes, scale, zero] if zero is not None else [codes, scale], axis,
                        outputs=[value], name=f"{name}_probe")  # fmt: skip
        assert isinstance(node.graph, ir.Graph)
        node.graph.insert_before(node, probe)
        after = f"{name}_after"
    source = str(before.name) if before is not None else ""
    return Rounded(source, after, _dtype(codes), str(codes.name), *_numbers(steps, constant(zero)))


def _blocks(model: ir.Model, node: ir.Node) -> Rounded:
    """Of a MatMulNBits: the product of its weight with the identity is the weight, (K, N)."""
    import onnx_ir as ir

    scales, codes = constant(node.inputs[2]), node.inputs[1]
    told = (f"int{attribute(node, 'bits', 4)}", str(codes.name) if codes else "", *_numbers(scales, None))
    if attribute(node, "K") > LARGEST_K:
        return Rounded("", "", *told)
    name = f"{node.name}{PROBE}"
    kind = scales.dtype if scales is not None and scales.dtype.kind == "f" else np.dtype(np.float32)
    eye = add_constant(model, f"{name}_eye", np.eye(attribute(node, "K"), dtype=kind))
    value = ir.Value(name=f"{name}_after", type=ir.TensorType(ir.DataType.from_numpy(kind)))
    kept = {key: attribute(node, key) for key in ("K", "N", "bits", "block_size") if attribute(node, key) is not None}
    inputs = [eye, *node.inputs[1:4]]
    probe = ir.node("MatMulNBits", inputs, kept, domain=MICROSOFT, outputs=[value], name=name)
    assert isinstance(node.graph, ir.Graph)
    node.graph.insert_before(node, probe)
    return Rounded("", f"{name}_after", *told)


def _scale_before(codes: ir.Value) -> ir.Value | None:
    """Of the activation of a MatMulInteger: what it was quantised with, a constant or found at run time."""
    producer = codes.producer()
    if producer is None or not _is_rounding(producer, ROUNDING):
        return None
    return producer.outputs[1] if is_op(producer, "DynamicQuantizeLinear") else _input(producer, 1)


def _scale_behind(node: ir.Node) -> ir.Value | None:
    """Of a MatMulInteger: the constant among the factors that its sums are multiplied with."""
    value = node.outputs[0]
    for _ in range(4):
        uses = [use.node for use in value.uses() if is_op(use.node, ("Cast", "Mul"))]
        if len(uses) != 1:
            return None
        for factor in uses[0].inputs if is_op(uses[0], "Mul") else ():
            if factor is None or factor is value:
                continue
            inner = factor.producer()
            inside = inner.inputs if is_op(inner, "Mul") else (factor,)
            found = next((one for one in inside if constant(one) is not None), None)
            if found is not None:
                return found
        value = uses[0].outputs[0]
    return None


def _numbers(scale: np.ndarray | None, zero: np.ndarray | None) -> tuple[float | None, int, int | None]:
    """Largest scale, how many there are, and the zero point where it is one number."""
    if scale is None or not scale.size:  # an empty one: the engine refuses the file
        return None, 1, None
    one = None if zero is None or zero.size == 0 or np.any(zero != zero.flat[0]) else int(zero.flat[0])
    return float(scale.max()), int(scale.size), 0 if zero is None else one


def constant(value: ir.Value | None) -> np.ndarray | None:
    """The numbers of a value that is known when the graph is written; texts are none."""
    array = any_constant(value)
    return None if array is None or array.dtype.kind in "OSU" else array


def _input(node: ir.Node, index: int) -> Any:
    return node.inputs[index] if 0 <= index < len(node.inputs) else None


def _dtype(codes: ir.Value) -> str:
    """The type of the codes: that of the value, of its array, or of the zero point that they were made with."""
    if codes.dtype is None and (producer := codes.producer()) is not None:
        zero = _input(producer, 2)
        kind = zero.dtype if zero is not None else None
        return kind.name.lower() if kind is not None else "uint8"
    return codes.dtype.name.lower() if codes.dtype is not None else np.dtype(np.int8).name
