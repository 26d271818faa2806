"""After a quantised build: the engine beside that of fp16, read by X-ray; what broke a fusion goes back to fp16.

For a target whose engine is built on the device, TensorRT-RTX builds both for the nearest chip as a stand-in: the same
family of compiler, not the device's version.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ....runtime.backends.engine_build import BuildFailed
from ...engine import rtx
from ...engine.audit import Audited, build_audited, quantised_products
from ...engine.buildable import buildable
from ...engine.rtx import stand_in
from ...plan.plan import Plan
from .variant import Traced, in_floating_point, make_variant

if TYPE_CHECKING:
    import onnx_ir as ir

    from ....calibration.budget.hold import Quantised
    from ....calibration.nouns import QuantisedGraph
    from ...engine.build import Built
    from ...precision.casts import PrecisionResult

    Parts = tuple[Quantised, PrecisionResult, Built]


def audit_build(plan: Plan, quantised: Quantised, typed: PrecisionResult, built: Built, traced: Traced) -> Parts:
    """The same three, or what they became when nodes were given back; the audit is ``xray`` of the report."""
    from ....calibration.budget.within import without
    from ...engine.build import build
    from ...engine.xray import read_engine
    from ...precision.quantise import hold_budget
    from ...precision.typed import typed_graph

    if plan.target.engine.runs_here or not rtx.installed():
        return quantised, typed, built
    run, here = traced.run, plan.target.builds_here
    chip = str(plan.gpu_arch) if here else stand_in(plan.gpu_arch, plan.precision)
    tried = [(quantised.graph, typed)]

    def make(keep: Mapping[str, str]) -> tuple[ir.Model, tuple[str, ...]]:
        if keep:
            graph = without(quantised.graph, keep)
            typed_now = typed_graph(plan, graph.model, traced.judge.one_batch, replace(quantised, graph=graph))
            tried.append((graph, typed_now))
        model = tried[-1][1].model
        return model, quantised_products(model)

    def built_for(model: ir.Model) -> bytes:
        made, _ = buildable(model, plan.target.engine.name)
        return rtx.build_rtx(made, chip, plan.shapes, progress=run.progress.step).data

    def engine(model: ir.Model) -> bytes:
        if here and model is typed.model:
            return next(path for name, path in built.files.items() if name.startswith("engines/")).read_bytes()
        return built_for(model)

    with run.stage("audit", f"against fp16 for {chip}") as stage:
        rival = make_variant(in_floating_point(plan), traced).typed.model
        try:
            beside = read_engine(built_for(rival))
            found = build_audited(make, beside, engine)
        except BuildFailed as error:
            if here:
                raise
            stage.detail = f"not read: {str(error).splitlines()[0]} for {chip}, which only stands in for the device"
            return quantised, typed, built
        stage.detail = found.audit.verdict()
        quantised.report["xray"] = xray_report(found, chip, here)
        if not found.given_back:
            return quantised, typed, built
        graph, typed = tried[-1]
        quantised = judged_again(plan, quantised, graph)
        hold_budget(plan, quantised, run)
        built = build(
            typed.model, plan.target, plan.gpu_arch, plan.shapes, run.folder, run.progress, finish=plan.finish,
            route=plan.plugin_route,
        )  # fmt: skip
    return quantised, typed, built


def judged_again(plan: Plan, quantised: Quantised, graph: QuantisedGraph) -> Quantised:
    """The same with fewer nodes quantised: what ships is described, and held to the budget on the same pictures."""
    from ....calibration.budget.hold import evaluation_of, judged
    from ....calibration.budget.search import is_within
    from ....calibration.report.report import accuracy_report, describe
    from ...precision.quantise import facts_of

    before = quantised.report
    scanned = {row["node"]: row["output_sqnr_db"] for row in before["nodes"] if "output_sqnr_db" in row}
    quantised = replace(quantised, graph=graph, report={**before, **describe(graph, scanned)})
    assert graph.base is not None and plan.calibration is not None
    facts = facts_of(plan)
    evaluation = evaluation_of(facts, graph.base) if "accuracy" in before else None
    if evaluation is None:
        return quantised
    figures = evaluation.evaluate(judged(facts, graph.model))
    quantised.report["accuracy"] = accuracy_report(figures, evaluation.expected)
    if plan.calibration.max_drop is None:
        return quantised
    met = is_within(figures.drop.points, plan.calibration.max_drop)
    quantised.report["budget"] = {**before["budget"], "met": met}
    return replace(quantised, figures=figures, met=met)


def xray_report(found: Audited, chip: str, here: bool) -> dict[str, Any]:
    """The audit as plain data, with what was given back and whose compiler it was."""
    builder = f"TensorRT-RTX for {chip}" + ("" if here else ", a stand-in for the device's own builder")
    return {**found.audit.to_json(), "given_back": dict(found.given_back), "rounds": found.rounds, "builder": builder}
