"""rewritten graph -> the same graph in an older opset, for parsers that stop there (TensorRT 8.x reads opset 17).

The dynamo exporter writes opset 18 and later, and ONNX's own version converter stops at the first Pad.  Here a node is
left alone when the older schema takes it as it is written, rewritten when it is one of ``LOWER``, and refused otherwise,
with its name.  Nothing is approximated.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ...graph.read import is_op, is_read
from ...runtime.errors import UserMistake

if TYPE_CHECKING:
    import onnx_ir as ir

CHANGED_MEANING = {"GroupNormalization", "GridSample"}  # the same signature means something else in the older opset


def lower_opset(model: ir.Model, opset: int) -> dict[str, int]:
    """Rewrite ``model`` in place to ``opset``; how many nodes of each type were replaced.

    Raises:
        UserMistake: a node has no form in that opset; the graph is then half rewritten, so give a copy.
    """
    import onnx
    from onnx_ir.passes.common import LiftConstantsToInitializersPass, RemoveUnusedNodesPass, ShapeInferencePass

    have = model.graph.opset_imports.get("", 0)
    replaced: dict[str, int] = {}
    if have <= opset:
        return replaced
    LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    ShapeInferencePass()(model)  # the replacements need the types
    for node in list(model.graph.all_nodes()):  # those of branches and loops too
        if node.domain:
            continue
        if _taken_as_it_is(node, onnx.defs.get_schema(node.op_type, have), opset):
            _drop_newer_attributes(node, opset)
            continue
        lower = LOWER.get(node.op_type)
        if lower is None:
            raise UserMistake(
                f"{node.op_type} cannot be written in opset {opset}",
                found=f"node {node.name}, opset {have}",
                expected=f"opset {opset}, the newest that the parser of this target reads",
                attempt="--target jetpack6 or later, whose parser reads opset 20",
            )
        _replace(model, node, lower)
        replaced[node.op_type] = replaced.get(node.op_type, 0) + 1
    model.graph.opset_imports[""] = opset
    RemoveUnusedNodesPass()(model)
    return replaced


def _taken_as_it_is(node: ir.Node, schema: Any, opset: int) -> bool:
    """Whether the older schema reads this node with the same meaning."""
    import onnx

    if schema.since_version <= opset:
        return True
    if is_op(node, CHANGED_MEANING):
        return False
    try:
        older = onnx.defs.get_schema(node.op_type, opset)
    except onnx.defs.SchemaError:
        return False
    used = [index for index, value in enumerate(node.inputs) if value is not None]
    names = [[formal.name for formal in each.inputs] for each in (older, schema)]
    if any(index < len(names[1]) and names[0][index : index + 1] != names[1][index : index + 1] for index in used):
        return False
    for name, attr in node.attributes.items():
        default = schema.attributes[name].default_value if name in schema.attributes else None
        if name not in older.attributes and (default is None or _plain_value(default) != attr.value):
            return False
    return True


def _drop_newer_attributes(node: ir.Node, opset: int) -> None:
    """Attributes that the older operator does not have; they hold what it does anyway."""
    import onnx

    known = onnx.defs.get_schema(node.op_type, opset).attributes
    for name in [name for name in node.attributes if name not in known]:
        del node.attributes[name]


def _plain_value(default: Any) -> Any:
    """The default of an attribute as the graph holds values: text, not bytes."""
    import onnx

    value = onnx.helper.get_attribute_value(default)
    return value.decode() if isinstance(value, bytes) else value


class _Builder:
    """Collects the nodes that stand for one node; constants become initializers."""

    def __init__(self, model: ir.Model, node: ir.Node) -> None:
        import onnx_ir as ir

        self.ir, self.model, self.node, self.nodes = ir, model, node, []  # type: ignore[var-annotated]

    def op(self, op_type: str, *inputs: ir.Value | None, dtype: Any = None, **attributes: Any) -> ir.Value:
        """One node; its only output, of the type ``dtype`` (by default that of the first input)."""
        name = f"{self.node.name}/{op_type}_{len(self.nodes)}"
        kind = dtype if dtype is not None else next(value.dtype for value in inputs if value is not None)
        output = self.ir.Value(name=f"{name}_out", type=self.ir.TensorType(kind) if kind is not None else None)
        listed = [self.ir.convenience.convert_attribute(key, value) for key, value in attributes.items()]
        self.nodes.append(self.ir.Node("", op_type, list(inputs), listed, outputs=[output], name=name))
        return output

    def constant(self, array: np.ndarray) -> ir.Value:
        name = f"{self.node.name}/constant_{len(self.model.graph.initializers)}"
        tensor = self.ir.tensor(array, name=name)
        value = self.ir.Value(
            name=name, shape=self.ir.Shape(array.shape), type=self.ir.TensorType(tensor.dtype), const_value=tensor
        )
        self.model.graph.register_initializer(value)
        return value

    def scalar(self, number: float, like: ir.Value) -> ir.Value:
        dtype = (like.dtype or self.ir.DataType.FLOAT).numpy()
        return self.constant(np.array(number).astype(dtype))


def _replace(model: ir.Model, node: ir.Node, lower: Callable[[_Builder, ir.Node], ir.Value | list[ir.Value]]) -> None:
    builder = _Builder(model, node)
    made = lower(builder, node)
    results = made if isinstance(made, list) else [made]
    graph = node.graph
    assert graph is not None
    graph.insert_before(node, builder.nodes)
    for old, new in zip(node.outputs, results, strict=False):
        name, shape, kind = old.name, old.shape, old.type
        old.replace_all_uses_with(new, replace_graph_outputs=True)
        old.name, new.name = f"{name}_before", name
        new.shape, new.type = shape, kind
    graph.remove(node, safe=True)


def _reduce(builder: _Builder, node: ir.Node) -> ir.Value:
    """Axes from an input (opset 18) to an attribute; none at all are all axes, or nothing where the node says so."""
    axes = node.inputs[1].const_value if len(node.inputs) > 1 and node.inputs[1] is not None else None
    if axes is None and len(node.inputs) > 1 and node.inputs[1] is not None:
        raise UserMistake(f"The axes of {node.op_type} {node.name} are computed", expected="axes known in the graph")
    keepdims = node.attributes["keepdims"].as_int() if "keepdims" in node.attributes else 1
    attributes: dict[str, Any] = {"keepdims": keepdims}
    listed = [] if axes is None else [int(axis) for axis in axes.numpy().ravel()]
    if not listed and "noop_with_empty_axes" in node.attributes and node.attributes["noop_with_empty_axes"].as_int():
        # an element on its own: the sum of its square, its absolute value; elsewhere itself
        if is_op(node, "ReduceSumSquare"):
            return builder.op("Mul", node.inputs[0], node.inputs[0])
        alone = {"ReduceL1": "Abs", "ReduceL2": "Abs", "ReduceLogSum": "Log"}
        return builder.op(alone.get(node.op_type, "Identity"), node.inputs[0])
    if listed:
        attributes["axes"] = listed
    return builder.op(node.op_type, node.inputs[0], **attributes)


def _split(builder: _Builder, node: ir.Node) -> list[ir.Value]:
    """``num_outputs`` (opset 18): the older Split counts its outputs itself and divides evenly."""
    axis = node.attributes["axis"].as_int() if "axis" in node.attributes else 0
    source = node.inputs[0]
    length = source.shape[axis] if source is not None and source.shape is not None else None
    if not isinstance(length, int) or length % len(node.outputs):
        raise UserMistake(f"Split {node.name} has uneven parts", expected="a length that its outputs divide evenly")
    first = builder.op("Split", source, axis=axis)
    made = builder.nodes[-1]
    made.resize_outputs(len(node.outputs))
    for index, output in enumerate(made.outputs):
        output.name = f"{made.name}_out{index}"
    return [first, *made.outputs[1:]]


def _gelu(builder: _Builder, node: ir.Node) -> ir.Value:
    """x * (1 + erf(x / sqrt 2)) / 2, or the tanh form, as the Gelu operator defines them."""
    x = node.inputs[0]
    assert x is not None
    if "approximate" in node.attributes and node.attributes["approximate"].as_string() == "tanh":
        cube = builder.op("Mul", builder.op("Mul", x, x), x)
        inner = builder.op("Add", x, builder.op("Mul", cube, builder.scalar(0.044715, x)))
        gate = builder.op("Tanh", builder.op("Mul", inner, builder.scalar(np.sqrt(2 / np.pi), x)))
    else:
        gate = builder.op("Erf", builder.op("Div", x, builder.scalar(np.sqrt(2), x)))
    return builder.op(
        "Mul", builder.op("Mul", x, builder.op("Add", gate, builder.scalar(1, x))), builder.scalar(0.5, x)
    )


def _swish(builder: _Builder, node: ir.Node) -> ir.Value:
    """x * sigmoid(alpha x), an operator of its own since opset 24."""
    x = node.inputs[0]
    assert x is not None
    alpha = node.attributes["alpha"].as_float() if "alpha" in node.attributes else 1.0
    inner = x if alpha == 1 else builder.op("Mul", x, builder.scalar(alpha, x))
    return builder.op("Mul", x, builder.op("Sigmoid", inner))


def _layer_norm(builder: _Builder, node: ir.Node) -> ir.Value:
    """(x - mean) / sqrt(var + eps) * scale + bias; mean and variance in float32, as the operator's stash_type says."""
    ir = builder.ir
    x, scale = node.inputs[0], node.inputs[1]
    assert x is not None and scale is not None
    if is_read(node, first=1):
        raise UserMistake(
            f"The mean or the spread that {node.op_type} {node.name} gives is read", expected="one output"
        )
    axis = node.attributes["axis"].as_int() if "axis" in node.attributes else -1
    if axis >= 0 and x.shape is None:
        raise UserMistake(
            f"The rank of the input of LayerNormalization {node.name} is unknown", expected="a known rank"
        )
    axes = list(range(axis, 0)) if axis < 0 else list(range(axis, len(x.shape or ())))
    epsilon = node.attributes["epsilon"].as_float() if "epsilon" in node.attributes else 1e-5
    low = x.dtype not in (None, ir.DataType.FLOAT)
    wide = builder.op("Cast", x, to=int(ir.DataType.FLOAT), dtype=ir.DataType.FLOAT) if low else x
    centred = builder.op("Sub", wide, builder.op("ReduceMean", wide, axes=axes, keepdims=1))
    variance = builder.op("ReduceMean", builder.op("Mul", centred, centred), axes=axes, keepdims=1)
    spread = builder.op("Sqrt", builder.op("Add", variance, builder.scalar(epsilon, wide)))
    normal = builder.op("Div", centred, spread)
    if low:
        normal = builder.op("Cast", normal, to=int(x.dtype or ir.DataType.FLOAT), dtype=x.dtype)
    normal = builder.op("Mul", normal, scale)
    return builder.op("Add", normal, node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] is not None else normal


LOWER: dict[str, Callable[[_Builder, Any], Any]] = {
    **dict.fromkeys(("ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL2", "ReduceL1", "ReduceSumSquare", "ReduceLogSum",
                     "ReduceLogSumExp"), _reduce),
    "Split": _split,
    "Gelu": _gelu,
    "Swish": _swish,
    "LayerNormalization": _layer_norm,
}  # fmt: skip
