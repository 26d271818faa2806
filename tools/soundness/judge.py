"""What the passes do to a graph: the same numbers, or which pass made them others, broke the file, raised, or goes on for ever."""

from __future__ import annotations

import random
import traceback
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime

from edgesmith.exporter.patterns import ALL, ORDER
from edgesmith.exporter.patterns.base import Pattern
from edgesmith.exporter.patterns.fuse.fused import Fuse
from edgesmith.exporter.patterns.order import passes_for
from edgesmith.graph.edit import name_apart

WRONG, NO_LOAD, RAISED, AGAIN = "wrong", "does not load", "raised", "not idempotent"
LIMIT = 1e-4  # of the largest number, in float32; a wrong pass is off by hundreds of times that
STEPS: tuple[type[Pattern], ...] = tuple(dict.fromkeys(step for step, _ in ORDER))
ERRORS = (Exception,)  # whatever a pass raises is what is looked for


@dataclass(frozen=True)
class Fault:
    kind: str
    steps: tuple[str, ...]  # the passes that ran; one where it was alone
    words: str


def feeds(model: onnx.ModelProto, seed: int) -> dict[str, np.ndarray]:
    """Seeded normal numbers for every input; open axes get 2."""
    rng = np.random.default_rng(seed)
    return {
        value.name: rng.standard_normal(
            [axis.dim_value if axis.HasField("dim_value") else 2 for axis in value.type.tensor_type.shape.dim]
        ).astype(np.float32)
        for value in model.graph.input
    }


def answers(model: onnx.ModelProto, given: dict[str, np.ndarray]) -> list[np.ndarray]:
    """ONNX Runtime without its own rewrites."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return list(session.run([value.name for value in model.graph.output], given))


def valid(model: onnx.ModelProto, given: dict[str, np.ndarray]) -> list[np.ndarray] | None:
    """The numbers of a graph before any pass; None where it cannot run, or where rounding alone would decide."""
    try:
        wanted = answers(model, given)
        moved = answers(model, {name: array * np.float32(1 + 1e-6) for name, array in given.items()})
    except ERRORS:
        return None
    finite = all(np.isfinite(array).all() for array in wanted if array.dtype == np.float32)
    return wanted if finite and _distance(moved, wanted) < LIMIT / 10 else None


def faults(
    model: onnx.ModelProto, given: dict[str, np.ndarray], wanted: list[np.ndarray], rng: random.Random
) -> list[Fault]:
    """Each pass alone, one order, and one in which the passes stand at random."""
    base = ir.from_proto(model)
    found = [fault for step in STEPS if (fault := _run(base, [step], given, wanted))]
    order = rng.choice(sorted(ALL))
    some = rng.sample(STEPS, rng.randrange(3, len(STEPS)))
    for steps in ([step for step in passes_for(order)], some):
        if fault := _run(base, steps, given, wanted):
            found.append(fault)
    return found


def _run(base: ir.Model, steps: Sequence[type[Pattern]], given: dict, wanted: list[np.ndarray]) -> Fault | None:
    names = tuple(step.__name__ for step in steps)
    model, changed = base.clone(), []
    try:
        for step in steps:
            if _apply(step, model):
                changed.append(step.__name__)
    except ERRORS as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        return Fault(RAISED, names, f"{type(error).__name__} at {where.name}:{where.lineno}: {str(error)[:120]}")
    if not changed:
        return None
    told = tuple(dict.fromkeys(changed))
    try:
        now = answers(ir.to_proto(model), given)
    except ERRORS as error:
        return Fault(NO_LOAD, told, str(error)[:200])
    if (distance := _distance(now, wanted)) > LIMIT:
        return Fault(WRONG, told, f"{distance:.1e}")
    if len(steps) > 1:  # passes in a random order may undo each other; an order of ours settles in one more run
        return None
    again = _apply(steps[0], model)
    return Fault(AGAIN, names, f"{again} more in the second run") if again else None


def _apply(step: type[Pattern], model: ir.Model) -> int:
    work = step()
    if isinstance(work, Fuse):
        work.needs_kernel = ()
    count = work.run(model).count
    if count:
        name_apart(model)
    return count


def _distance(now: list[np.ndarray], wanted: list[np.ndarray]) -> float:
    worst = 0.0
    for new, old in zip(now, wanted, strict=True):
        if new.shape != old.shape or not np.isfinite(new.astype(np.float64)).all():
            return float("inf")
        scale = max(1.0, float(np.abs(old).max(initial=0)))
        worst = max(worst, float(np.abs(new.astype(np.float64) - old).max(initial=0)) / scale)
    return worst
