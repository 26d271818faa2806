"""The graph in the types that its engine will compute: floating point decided here, around quantised nodes too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ...runtime.ground.limits import FP32
from .casts import PrecisionResult, to_precision
from .islands import choose_islands

if TYPE_CHECKING:
    import onnx_ir as ir

    from ...calibration.budget.hold import Quantised
    from ..plan.plan import Plan


def typed_graph(
    plan: Plan, model: ir.Model, examples: Callable[[tuple[int, ...]], np.ndarray], quantised: Quantised | None = None
) -> PrecisionResult:
    """The graph in the precision of the plan, with the float32 islands that real inputs show to be needed.

    ``examples(shape)`` are inputs to measure islands on, in the graph in floating point; a quantised one keeps the names of
    its nodes.
    """
    source, float_graph = (quantised.graph.model, quantised.graph.base or model) if quantised else (model, model)
    if plan.rest == FP32:
        typed = to_precision(source, FP32)
    else:
        feeds = {plan.input_name: examples(plan.shapes.opt)}
        islands = choose_islands(float_graph, feeds, precision=plan.rest)
        limit, engine = plan.target.max_opset, plan.target.engine.name
        typed = to_precision(source, plan.rest, keep=islands.why, max_opset=limit, engine=engine)
        typed = replace(typed, report={**typed.report, "measured": islands.to_json()})
    if quantised:
        typed.model.metadata_props["edgesmith.quantised"] = plan.precision
    return typed
