"""Whether a node fits its operator: how many inputs and outputs, and attributes of the right kind.

ONNX's own operators are asked of the schemas of the onnx package. Of com.microsoft the quantised ones stand here, since
quant-report reads their inputs by number.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ....graph.read import is_op

if TYPE_CHECKING:
    import onnx

MICROSOFT = "com.microsoft"
# operator -> least number of inputs, attributes that must be there; all of them are whole numbers above 0
KNOWN: dict[str, tuple[int, tuple[str, ...]]] = {
    "QLinearConv": (8, ()),
    "QGemm": (6, ()),
    "QLinearAdd": (7, ()),
    "QLinearMul": (7, ()),
    "MatMulIntegerToFloat": (4, ()),
    "DynamicQuantizeMatMul": (3, ()),
    "MatMulNBits": (3, ("K", "N", "block_size")),
    "QuantizeLinear": (2, ()),
    "DequantizeLinear": (2, ()),
}
# kind of an attribute -> the field of the protobuf that holds it
FIELDS = {1: "f", 2: "i", 3: "s", 4: "t", 5: "g", 6: "floats", 7: "ints", 8: "strings", 9: "tensors", 10: "graphs",
          11: "sparse_tensor", 12: "sparse_tensors", 13: "tp", 14: "type_protos"}  # fmt: skip
PLAIN = {1, 2, 3}  # some writers leave out a 0
REPEATED = {6, 7, 8, 9, 10, 12, 14}
MOST_K = 2**20  # inputs of a linear layer; the largest that exist have some ten thousand


def wrong_operator(node: onnx.NodeProto, opsets: Mapping[str, int], in_function: bool = False) -> str:
    """What does not fit, in words; empty where all does, and for operators that are not known here."""
    kinds: dict[str, int] = {}
    for attribute in node.attribute:
        if attribute.name in kinds:
            return f"its {attribute.name} is there twice"
        if in_function and attribute.ref_attr_name:
            kinds[attribute.name] = attribute.type
            continue
        if why := _wrong_field(attribute):
            return why
        kinds[attribute.name] = attribute.type
    if is_op(node, tuple(KNOWN), MICROSOFT):
        return _wrong_known(node)
    domain = "" if node.domain == "ai.onnx" else node.domain
    schema = _schema(node.op_type, opsets.get(domain), domain)
    return _wrong_schema(node, kinds, schema) if schema is not None else ""


def _wrong_field(attribute: Any) -> str:
    field = FIELDS.get(attribute.type)
    if field is None:
        return f"its {attribute.name} is of no kind that ONNX has"
    held = [name for kind, name in FIELDS.items()
            if (len(getattr(attribute, name)) if kind in REPEATED else attribute.HasField(name))]  # fmt: skip
    needed = attribute.type not in REPEATED and attribute.type not in PLAIN
    if any(name != field for name in held) or (needed and not held):
        return f"its {attribute.name} says that it is a {field!r} and holds {', '.join(held) or 'nothing'}"
    return ""


def _schema(op: str, version: int | None, domain: str) -> Any:
    import onnx

    if domain or not version or version > onnx.defs.onnx_opset_version():
        return None  # newer than the package: the engine knows
    try:
        return onnx.defs.get_schema(op, version, domain)
    except onnx.defs.SchemaError:
        return None


def _wrong_schema(node: onnx.NodeProto, kinds: Mapping[str, int], schema: Any) -> str:
    for name, kind in kinds.items():
        known = schema.attributes.get(name)
        if known is None:
            return f"it has no attribute {name} in this opset"
        if int(known.type.value) != kind:
            return f"its {name} is a {FIELDS[kind]!r}, not a {FIELDS[int(known.type.value)]!r}"
    missing = [name for name, known in schema.attributes.items() if known.required and name not in kinds]
    if missing:
        return f"its {missing[0]} is missing"
    for what, names, low, high in (
        ("inputs", node.input, schema.min_input, schema.max_input),
        ("outputs", node.output, schema.min_output, schema.max_output),
    ):
        if not low <= len(names) <= high:
            return f"it has {len(names)} {what}, not {low}" + (f" to {high}" if high != low else "")
    needed = [one for one in schema.inputs[: schema.min_input] if one.option == one.option.Single]
    for one, name in zip(needed, node.input, strict=False):
        if not name:
            return f"its input {one.name} is missing"
    return "" if node.output[:1] != [""] else "its first output has no name"


def _wrong_known(node: onnx.NodeProto) -> str:
    least, wanted = KNOWN[node.op_type]
    if len(node.input) < least or "" in node.input[: min(least, 3)] or not node.output or not node.output[0]:
        return f"it has {len(node.input)} inputs, not {least}"
    given = {attribute.name: attribute for attribute in node.attribute}
    for name in wanted:
        if name not in given or given[name].type != 2 or not 0 < given[name].i <= MOST_K:
            return f"its {name} is {given[name].i if name in given else 'missing'}"
    bits = given.get("bits")
    if bits is not None and (bits.type != 2 or not 2 <= bits.i <= 8):
        return f"its bits are {bits.i}"
    return ""
