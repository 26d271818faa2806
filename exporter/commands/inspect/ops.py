"""``edgesmith inspect --ops``: the fused ops of a model, and what each target makes of them.

A file or bundle is read as it is. A model's name is traced with random weights and rewritten as ``--plugins all`` would, so
that one sees before an export which ops it could hold.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ....graph.read import is_op
from ....runtime.errors import UserMistake
from ....runtime.plugins.expressions import parse
from ....runtime.plugins.schema import DOMAIN
from ...plan.engines import TENSORRT
from ...plan.targets import TARGETS

if TYPE_CHECKING:
    import onnx

    from ...plugins.declaration import FusedOp
    from .foreign.shapes import Shapes

NUMPY = {1: "float32", 10: "float16", 16: "bfloat16", 6: "int32"}  # TensorProto.DataType of what an op takes


@dataclass(frozen=True)
class FusedNode:
    """One node: its op, its type T, and the sizes and attributes that are numbers in the graph."""

    name: str
    op: str
    type: str
    names: Mapping[str, int]
    wrong: str = ""  # what does not fit the declaration, in words


def inspect_ops(what: str) -> dict[str, Any]:
    """Fused ops of a bundle, an ONNX file or a model's name, with the route of every target.

    Raises:
        UserMistake: ``what`` is none of the three.
    """
    model, shapes, carried, type_ = _model(what)
    nodes, functions = find_nodes(model, shapes)
    nodes = [replace(node, type=type_ or node.type) for node in nodes]
    counts = Counter(node.op for node in nodes)
    return {
        "path": what,
        "bundle": carried,
        "ops": {name: {"count": count, "body": name in functions} for name, count in counts.items()},
        "nodes": [
            {"name": node.name, "op": node.op, "type": node.type, "sizes": dict(node.names), "wrong": node.wrong}
            for node in nodes
        ],
        "targets": {
            target.name: {
                "route": target.plugin_route,
                "ops": _routes(target.plugin_route, nodes, functions),
                **({"native_plugins": _routes("native", nodes, functions)} if target.native_plugins else {}),
            }
            for target in TARGETS.values()
        },
    }


def _model(what: str) -> tuple[onnx.ModelProto, Shapes, dict[str, Any] | None, str]:
    """The graph and the shapes in it; for a bundle what its manifest says of its fused ops; for a name the type T of an export."""
    from .foreign.shapes import infer_shapes

    place = Path(what)
    if place.is_dir():
        from ....runtime.bundle.bundle import open_bundle

        bundle = open_bundle(place)
        fused = (bundle.manifest.get("rewrite") or {}).get("fused")
        return *_read(bundle.graph), fused, ""
    if place.exists():
        return *_read(place), None, ""
    from ....models.registry import find

    try:
        spec = find(what)
    except UserMistake as error:
        raise UserMistake(
            f"There is nothing at {what}, and no model is called that",
            found=what,
            expected="a bundle folder, an ONNX file, or a model's name as edgesmith list has it",
            attempt=error.attempt,
        ) from None
    model = _as_exported(spec.name)
    return model, infer_shapes(model), None, "float16"  # the default precision of the targets that take plugins


def _read(path: Path) -> tuple[onnx.ModelProto, Shapes]:
    """A file that somebody else may have written, and the shapes that the fused nodes in it read."""
    from .foreign.shapes import infer_foreign
    from .inspect import load_onnx

    model = load_onnx(path)
    return model, infer_foreign(path) if any(node.domain == DOMAIN for node in model.graph.node) else {}


def _as_exported(name: str) -> onnx.ModelProto:
    """The graph that ``--plugins all --target tensorrt`` makes of a model with random weights, without the weights."""
    import onnx_ir as ir

    from ....graph.beside import settle
    from ....models import prepare
    from ....runtime.ground.scratch import temporary_folder
    from ...patterns.rewrite import rewrite
    from ...plan.plan import make_plan
    from ...plugins.torch_ops import carry_functions
    from ...trace.trace import trace

    plan = make_plan(name, "random", plugins="all", target=TENSORRT)
    source = prepare(name, "random", plan.num_classes, (plan.shapes.opt[2], plan.shapes.opt[3]), plan.seed)
    outputs = plan.task.runtime.outputs
    with temporary_folder() as folder:
        exported = trace(source.module, plan.shapes, name=name, opset=plan.opset, outputs=outputs, folder=folder)
        model = rewrite(exported, plan.order, plugins=plan.plugins).model
        settle(model)
        carry_functions(model)
        return ir.to_proto(model)


def find_nodes(model: onnx.ModelProto, shapes: Shapes) -> tuple[list[FusedNode], set[str]]:
    """The fused nodes in graph order, and the names of the bodies that the model carries."""
    from ...plugins import OPS

    if not any(node.domain == DOMAIN for node in model.graph.node):
        return [], set()
    found = []
    for node in model.graph.node:
        if is_op(node, OPS, DOMAIN):  # without shapes, no kernel is known to fit
            found.append(_node(OPS[node.op_type], node, [shapes.get(name, (0, [])) for name in node.input]))
        elif node.domain == DOMAIN:
            found.append(FusedNode(node.name, node.op_type, "unknown", {}, "no op of this version is called that"))
    functions = {function.name for function in model.functions if function.domain == DOMAIN}
    return found, functions


def _node(op: FusedOp, node: onnx.NodeProto, inputs: Sequence[tuple[int, list[Any]]]) -> FusedNode:
    import onnx

    from ...plugins.functions import found_by

    given = {entry.name: onnx.helper.get_attribute_value(entry) for entry in node.attribute}
    known = {attribute.name for attribute in op.schema.attributes}
    strange = sorted(given.keys() - known - found_by().keys())
    wrong = [f"it has no attribute {name}: {', '.join(known) or 'it has none'}" for name in strange]
    names: dict[str, int] = {}
    for attribute in op.schema.attributes:
        value = given.get(attribute.name, attribute.default)
        if isinstance(value, int if attribute.kind == "int" else (int, float)):
            names[attribute.name] = attribute.in_expressions(value)
        else:
            wrong.append(f"its {attribute.name} is " + ("missing" if value is None else f"no {attribute.kind}"))
    type_ = "unknown"
    for declared, (kind, sizes) in zip(op.schema.inputs, inputs, strict=False):
        if declared.type == "T":
            type_ = NUMPY.get(kind, type_)
        for symbol, size in zip(declared.shape, sizes, strict=False):
            if symbol.isidentifier() and isinstance(size, int):
                names.setdefault(symbol, size)
    return FusedNode(node.name, node.op_type, type_, names, "; ".join(wrong))


def _routes(route: str, nodes: Sequence[FusedNode], functions: set[str]) -> dict[str, str]:
    """{op: what becomes of it} by one route."""
    from ...engine.fused_ops import WITH_KERNELS
    from ...plugins import OPS

    told: dict[str, str] = {}
    for name in dict.fromkeys(node.op for node in nodes):
        own = [node for node in nodes if node.op == name]
        if route not in WITH_KERNELS:
            told[name] = "body" if name in functions else "none: the file carries no body"
            continue
        able = sum(name in OPS and has_kernel(OPS[name], node) for node in own)
        without = "body" if name in functions else "nothing, the file carries no body"
        words = {len(own): "plugin", 0: without}.get(able, f"plugin for {able} of {len(own)}, else {without}")
        why = next((node.wrong for node in own if node.wrong), "") or f"no kernel for {_sizes(OPS[name], own[0])}"
        told[name] = words if able else f"{words}: {why}"
    return told


def has_kernel(op: FusedOp, node: FusedNode) -> bool:
    """Whether a kernel of the declaration takes the node's type, sizes and attributes; unknown ones count as no."""
    if not {attribute.name for attribute in op.schema.attributes} <= set(node.names):
        return False
    return bool(op.variants_for(node.type, node.names))


def _sizes(op: FusedOp, node: FusedNode) -> str:
    read = {name for variant in (op.kernel.variants if op.kernel else ()) for name in parse(variant.when).names}
    known = [f"{name} {node.names.get(name, 'unknown')}" for name in sorted(read)]
    return ", ".join([node.type, *known])


def lines(data: Mapping[str, Any]) -> Iterator[str]:
    """The facts for a terminal."""
    if data["bundle"]:
        inside = ", ".join(data["bundle"]["ops"])
        yield f"{data['path']}: a bundle with fused ops by route {data['bundle']['route']}: {inside}"
    if not data["ops"]:
        yield f"{data['path']}: no fused nodes in the graph" + (", their bodies are in it" if data["bundle"] else "")
        return
    told = ", ".join(f"{op['count']} {name}" for name, op in data["ops"].items())
    yield f"{data['path']}: {told}"
    for node in data["nodes"]:
        if node["wrong"]:
            yield f"  wrong: {node['op']} {node['name']}: {node['wrong']}"
    for name, target in data["targets"].items():
        yield _line(name, target["route"], target["ops"])
        if "native_plugins" in target:
            yield _line(name, "native", target["native_plugins"]) + " (--native-plugins)"
    yield "  no plugin has been run on hardware yet"


def _line(name: str, route: str, told: Mapping[str, str]) -> str:
    by_word: dict[str, list[str]] = {}
    for op, words in told.items():
        by_word.setdefault(words, []).append(op)
    return f"  {name:<11}{route:<9}" + "; ".join(f"{', '.join(ops)}: {words}" for words, ops in by_word.items())
