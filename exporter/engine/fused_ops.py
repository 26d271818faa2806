"""How the fused ops of a typed graph reach a target's engine, and what its bundle carries for them.

    function   nodes and their bodies: the engine runs the bodies (ONNX Runtime)
    inline     the bodies in place of the nodes: engines that take neither plugins nor functions
    aot        nodes and bodies: TensorRT from 10.9 on takes the plugins of the kernel pack, else the bodies
    native     nodes alone: TensorRT 10.0 to 10.6 prefers a body to a plugin, so the bodies stay here; needs the C++ plugin

None of the plugin routes was run on hardware yet.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...calibration.precisions import PRECISIONS
from ...graph.read import is_op
from ...runtime.errors import EdgesmithError
from ...runtime.ground.limits import FP32
from ...runtime.ground.words import NOT_ON_HARDWARE
from ...runtime.plugins.engine import ROUTES as WITH_KERNELS
from ...runtime.plugins.pack import PACK, read_pack
from ...runtime.plugins.schema import DOMAIN

if TYPE_CHECKING:
    import onnx_ir as ir

    from ..plan.plan import Plan


@dataclass(frozen=True)
class Lowered:
    """The graph as the target takes it, how many nodes of each op it had, and what to say about them."""

    model: ir.Model
    route: str = ""
    ops: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def files(self) -> dict[str, Path]:
        """The pack, where plugins take the nodes; ``lower`` has checked it."""
        from ..plugins.pack.pack import PACKED

        return {PACK: PACKED} if self.ops and self.route in WITH_KERNELS else {}


def needed_types(plan: Plan) -> tuple[str, ...]:
    """The types of T in which a fused node of this export may end up with a plugin: its own, and float32 as an island."""
    if not plan.plugins or plan.plugin_route not in WITH_KERNELS:
        return ()
    return tuple(dict.fromkeys((PRECISIONS[plan.rest].dtype, PRECISIONS[FP32].dtype)))


def fused_ops(model: ir.Model) -> dict[str, int]:
    """How many nodes of each fused op the graph has."""
    return dict(sorted(Counter(node.op_type for node in model.graph if node.domain == DOMAIN).items()))


def lower(model: ir.Model, route: str) -> Lowered:
    """The graph for a route, a copy where anything changes; a graph without fused nodes comes back as it is.

    Raises:
        EdgesmithError: the route needs the kernel pack, and it is not there or lacks an op.
    """
    from ...graph.edit import clone
    from ..plugins.torch_ops import carry_functions

    ops = fused_ops(model)
    if not ops:
        return Lowered(model)
    model = clone(model)
    carry_functions(model, model.graph.opset_imports[""])
    listed = ", ".join(f"{count} {op}" for op, count in ops.items())
    if route == "inline":
        note = f"fused ops written out in standard operators, for an engine without plugins: {listed}"
        return Lowered(_inlined(model), route, ops, (f"{note}; the plain graph is expected to be the faster one",))
    if route == "function":
        return Lowered(model, route, ops, (f"fused ops run from their bodies: {listed}",))
    _check_pack(tuple(ops))
    if route == "native":
        for identifier in [key for key in model.functions if key[0] == DOMAIN]:
            del model.functions[identifier]
        how = "needs the C++ plugin on the device; the graph has no bodies, so nothing else runs it"
    else:
        how = "TensorRT takes the plugins of the kernel pack, or the bodies in the graph"
    return Lowered(model, route, ops, (f"fused ops: {listed}; {how}; {NOT_ON_HARDWARE}",))


def _check_pack(ops: tuple[str, ...]) -> None:
    """The kernel pack beside the declarations has a kernel of every op; EdgesmithError with what to do otherwise."""
    from ..plugins.pack.pack import PACKED

    try:
        lacking = [op for op in ops if op not in read_pack(PACKED).ops]
        found = f"no kernel of {', '.join(lacking)} in {PACK}" if lacking else ""
    except EdgesmithError as error:
        found = f"{PACK}: {error.found}"
    if found:
        raise EdgesmithError(
            "The kernels of the fused ops cannot be put into the bundle",
            found=found,
            expected=f"{PACK} with a kernel of {', '.join(ops)}",
            because="on this target plugins compute the fused ops, from kernels that travel in the bundle",
            attempt="make kernels, or leave --plugins out",
        )


def _inlined(model: ir.Model) -> ir.Model:
    """Bodies in place of nodes, their arithmetic on shapes and attributes folded."""
    from onnx_ir.passes.common import InlinePass, ShapeInferencePass

    from ..patterns.cleanup.fold_constants import FoldConstants
    from ..patterns.cleanup.fold_shapes import FoldShapes
    from ..patterns.cleanup.no_ops import DropNoOps
    from ..patterns.cleanup.tidy import CleanUp

    InlinePass()(model)
    model.graph.opset_imports.pop(DOMAIN, None)
    ShapeInferencePass()(model)
    _name_types(model)
    for step in (CleanUp, FoldShapes, FoldConstants, FoldShapes, DropNoOps, CleanUp):
        step().run(model)
    return model


def _name_types(model: ir.Model) -> None:
    """CastLike > Cast to the type that is known here: TensorRT 8 has the one and not the other."""
    import onnx_ir as ir

    for node in list(model.graph):
        kind = node.inputs[1].dtype if is_op(node, "CastLike") and node.inputs[1] is not None else None
        if kind is not None:
            cast = ir.node("Cast", [node.inputs[0]], {"to": int(kind)}, name=node.name)
            cast.outputs[0].type, cast.outputs[0].shape = ir.TensorType(kind), node.outputs[0].shape
            model.graph.insert_before(node, cast)
            ir.convenience.replace_all_uses_with(node.outputs[0], cast.outputs[0])
            model.graph.remove(node, safe=True)


def lowered_report(lowered: Lowered) -> dict[str, Any]:
    """For the manifest, as ``rewrite.fused`` there."""
    return {"route": lowered.route, "ops": lowered.ops}


def unused(plan: Plan, fused: dict[str, Any] | None) -> list[str]:
    """What was asked for and is not in the graph, for the notes of the bundle."""
    if plan.plugins_asked and not plan.plugins:
        return [f"--plugins all: no fused op occurs in {plan.spec.name}"]
    absent = [op for op in plan.plugins if op not in (fused or {}).get("ops", {})]
    if not absent:
        return []
    from ..patterns.order import fuses

    left_out = {op: step.__name__ for step in fuses() if step.__name__ in plan.skip for op in step.ops}
    notes = [f"{op} is not put in: --skip {left_out[op]}" for op in absent if op in left_out]
    rest = [op for op in absent if op not in left_out]
    return [*notes, *([f"no place took {', '.join(rest)}: the passes' refusals say why"] if rest else [])]
