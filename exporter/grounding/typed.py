"""Traced graph -> the types that it is computed in: 16 bits for the products, float32 where they would lose the answer.

In float32 stay the residual stream and all norms (activations of several thousands occur, and their squares leave float16), the
sums S_l and the weighting of heads (small differences of large sums), whatever arithmetic on positions there is, and what turns
rotated keys: the op computes with their bias, of several hundred, and the tables in float32.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ...graph.read import is_op
from ...runtime.ground.limits import FP32
from ...runtime.plugins.schema import DOMAIN
from ..plugins.kv.rotate import SCHEMA as ROTATED
from ..precision.casts import PrecisionResult, to_precision

if TYPE_CHECKING:
    import onnx_ir as ir

    from ..plan.plan import Plan

NORM = re.compile(r"(.*\.)?(\w*norm\w*|ln_q)/")  # scopes of modules, as parts/trace.py names nodes by them
STREAM = re.compile(r".*\.(layers|blocks)\.\d+/Add(_\d+)?$")
INTO_STREAM = re.compile(
    r".*\.(o_proj|attn\.proj|down_proj)/"
)  # what is added to it; the other sums of a layer are its own
SCORING = "scoring/"  # the weighting of heads
SQUARES = ("Pow", "ReduceMean", "ReduceSum", "ReduceSumSquare", "ReduceL2", "Sqrt", "Reciprocal", "Clip", "TopK", "Log")

TURNING = [place for place, one in enumerate(ROTATED.inputs) if one.name in ("bias", "cos", "sin")]


def typed(plan: Plan, model: ir.Model) -> PrecisionResult:
    """The graph in the type that the plan has around quantised weights; a float32 plan leaves it as it is."""
    if plan.rest == FP32:
        return to_precision(model, FP32)
    islands = float32_nodes(model)
    found = to_precision(
        model, plan.rest, keep=islands, max_opset=plan.target.max_opset, engine=plan.target.engine.name
    )
    return found


def float32_nodes(model: ir.Model) -> dict[str, str]:
    """Node -> why it stays in float32."""
    why: dict[str, str] = {}
    behind: set[ir.Value] = set()
    for node in model.graph:
        name = str(node.name)
        if NORM.match(name):
            why[name] = "a norm: its squares leave float16"
        elif STREAM.match(name) and any(INTO_STREAM.match(_maker(value)) for value in node.inputs):
            why[name] = "the residual stream: activations of several thousands"
        elif name.startswith(SCORING):
            why[name] = "the weighting of heads"
        elif any(is_op(use.node, ROTATED.name, DOMAIN) and use.idx in TURNING for use in _uses(node)):
            why[name] = "the bias and the tables that turn stored keys"
        elif is_op(node, SQUARES):
            why[name] = "sums of squares"
            behind.update(node.outputs)
        elif is_op(node, ("Div", "Mul", "MatMul", "Max", "Min", "Transpose", "Unsqueeze", "Squeeze")) and any(
            value in behind for value in node.inputs if value is not None
        ):
            why[name] = "what is divided by its length"
            if is_op(node, ("Div", "Transpose", "Max", "Min", "Unsqueeze", "Squeeze")):
                behind.update(node.outputs)
    return why


def _uses(node: ir.Node) -> list[Any]:
    """Who reads what a node gives, and as which of its inputs."""
    return [use for output in node.outputs for use in output.uses()]


def _maker(value: ir.Value | None) -> str:
    """The name of the node that a value comes from; empty for inputs and constants."""
    node = value.producer() if value is not None else None
    return str(node.name) if node is not None else ""
