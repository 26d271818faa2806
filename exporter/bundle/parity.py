"""Does what we made compute what PyTorch computes? Every export asks, at every shape that the graph promises to take.

Judged are the rewritten graph in float32, the typed graph, and the bundle as the runtime opens it; on seeded numbers
and on real pictures. A failure names the stage, then the first node where the numbers part.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ...runtime.bundle.engines import ONNXRUNTIME
from ...runtime.errors import BackendUnavailable, ParityFailed
from ...runtime.ground.limits import FP32
from ..precision.emulate import emulate
from ..run import runners as verify
from ..run.runners import Runner, session_runner
from ..run.stages import Run, keep
from ..tasks.task import Row
from .engine_rounding import rounding_notes
from .judge import Judge
from .jump import first_jump
from .neighbours import check_neighbours

if TYPE_CHECKING:
    import onnx_ir as ir

    from ...runtime.bundle.bundle import Bundle
    from .made import Made


def check(
    judge: Judge, made: Made, bundle: Bundle, run: Run, rewritten: Sequence[Row] = ()
) -> tuple[list[Row], list[str]]:
    """All parity rows of an export and the notes for the report (what could not be run here).

    ``rewritten``: the rows of the rewritten graph, where they are known.

    Raises:
        ParityFailed: a row does not hold and the plan asks for the check; the artefacts are kept.
    """
    plan = judge.plan
    shapes = verify.shapes_to_try(plan.shapes, plan.spec.size_multiple)
    rows = list(rewritten)
    if not rows:
        graph = verify.graph_runner(made.rewritten.model)
        rows += judge.rows("rewritten", "ONNX Runtime", graph, FP32, shapes)
    if plan.precision != FP32:
        typed = typed_runner(made.typed.model)
        rows += judge.rows(plan.precision, "ONNX Runtime, rounded", typed, plan.precision, shapes)
    found, notes = bundle_rows(judge, made.typed.model, bundle, shapes, run)
    rows += found
    if not found:  # its engine does not run here
        notes += check_neighbours(judge, typed_runner(made.typed.model), run)
    if all(row.inputs == "seeded" for row in rows):
        notes.append(
            "no photographs were found (scikit-image, scikit-learn or --data), so parity stands on seeded numbers"
        )
    failed = [row for row in rows if not row.passed]
    if failed and plan.check:
        raise blame(failed[0], judge, made, run)
    notes += [f"parity does NOT hold: {row_words(row)}" for row in failed]
    return rows, notes


def typed_runner(typed: ir.Model) -> Runner:
    """The typed graph with every 16-bit value rounded explicitly: ONNX Runtime's own CPU kernels would hide it.

    Q and DQ round as they are written, which is what TensorRT computes.
    """
    rest = typed.metadata_props.get("edgesmith.precision", FP32)
    return verify.graph_runner(typed if rest == FP32 else emulate(typed, rest), optimise=False)


def bundle_rows(
    judge: Judge, typed: ir.Model, bundle: Bundle, shapes: list[tuple[int, ...]], run: Run
) -> tuple[list[Row], list[str]]:
    """The bundle as the device will open it; a backend that cannot run here gives a note instead of rows."""
    from ...runtime.backends.load import load

    plan = judge.plan
    try:
        with load(bundle) as session:
            runner = session_runner(session)
            rows = judge.rows("bundle", session.backend, runner, plan.precision, shapes)
            moved = check_neighbours(judge, runner, run) if all(row.passed for row in rows) else []
            moved += rounding_notes(judge, typed, runner)
    except BackendUnavailable as unavailable:
        what = (
            "engine built, not run here"
            if bundle.engines
            else "graph ready, engine is built on the device, not run here"
        )
        return [], [f"{what}: {unavailable.found or unavailable.what}"]
    return rows, moved


def row_words(row: Row) -> str:
    """One row in words."""
    shape = "x".join(map(str, row.shape))
    return f"{row.stage} on {row.runner}, {row.count} {row.inputs} at {shape}: {row}, limit {row.limit}"


def blame(row: Row, judge: Judge, made: Made, run: Run) -> ParityFailed:
    """The error for a row that failed: from which stage on, at which node; the artefacts are moved to a kept folder."""
    plan = judge.plan
    images = next(iter(verify.in_batches(judge.inputs(row.shape)[row.inputs], row.shape[0])))
    rest = made.typed.model.metadata_props.get("edgesmith.precision", FP32)
    typed = made.typed.model if rest == FP32 else emulate(made.typed.model, rest)
    smoothed = made.quantised.graph.base if made.quantised else None  # its values are scaled, its answers are the same
    floating = smoothed or made.rewritten.model
    places: list[tuple[str, ir.Model, ir.Model, str]] = [
        ("rewriting", made.exported.model, made.rewritten.model, FP32),
        (f"the change to {plan.precision}", floating, typed, plan.precision),
    ]
    first_off = judge.agreement(
        "exported", "ONNX Runtime", row.inputs, row.shape, judge.runner(images),
        verify.graph_runner(made.exported.model)(images), FP32,
    )  # fmt: skip
    because = f"the exported graph, the rewritten and the typed one agree with {judge.name}; the engine itself does not"
    if not first_off.passed:
        because = f"the exported graph is off already at this shape, before any rewrite: {first_off}"
    elif row.stage != "bundle" or plan.target.engine.name == ONNXRUNTIME:
        for name, reference, suspect, precision in places[: 1 if row.stage == "rewritten" else 2]:
            jump = first_jump(reference, suspect, images, precision)
            if jump and jump.after > 0:
                because = f"{name} changes the numbers, first at {jump}"
    place = keep(run, plan.run_folder)
    return ParityFailed(
        f"{plan.spec.name} does not compute what {judge.name} computes",
        found=row_words(row),
        expected=row.limit,
        because=because,
        attempt=f"look at the graphs kept in {place}, or --skip PASS for the pass at that node; "
        "--verify-each names the pass",
    )


def check_each_pass(judge: Judge, run: Run) -> Callable[[ir.Model, str], None]:
    """A hook for ``rewrite``: after each pass that changed something the graph must still agree in float32."""
    from ...graph.edit import clone

    plan = judge.plan
    shape = plan.shapes.opt
    previous: list[ir.Model] = []

    def hook(model: ir.Model, name: str) -> None:
        rows = judge.rows(name, "ONNX Runtime", verify.graph_runner(model), FP32, [shape])
        failed = [row for row in rows if not row.passed]
        if failed:
            run.save(21, f"after-{name}", model)
            jump = (
                first_jump(previous[-1], model, judge.inputs(shape)[failed[0].inputs][: shape[0]]) if previous else None
            )
            raise ParityFailed(
                f"{plan.spec.name}: the pass {name} changes the numbers",
                found=row_words(failed[0]),
                expected=failed[0].limit,
                because=f"first at {jump}" if jump else "the graph before it agreed",
                attempt=f"--skip {name}, or look at the graphs kept in {keep(run, plan.run_folder)}",
            )
        previous[:] = [clone(model)]

    return hook
