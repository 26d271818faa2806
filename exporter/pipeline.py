"""The whole flow on one screen: checkpoint -> torch model -> exported -> rewritten -> typed graph -> engine -> bundle.

Start reading here. Each stage is one module of the same name, and hands the next a frozen noun (artifacts.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from .arguments import spell
from .plan import Plan, make_plan
from .stages import Progress, Run, Stage, keep, run_beside

if TYPE_CHECKING:
    from pathlib import Path

    import onnx_ir as ir

    from ..runtime.bundle import Bundle
    from .artifacts import RewrittenGraph
    from .parity import Judge
    from .precision import PrecisionResult
    from .verify import Row


@dataclass(frozen=True)
class Result:
    """What an export made: the bundle (None after a dry run), its parity rows, its stages, the kept artefacts."""

    plan: Plan
    bundle: Bundle | None = None
    parity: tuple[Row, ...] = ()
    stages: tuple[Stage, ...] = ()
    artefacts: Path | None = None
    notes: tuple[str, ...] = field(default=())

    @property
    def path(self) -> Path:
        return self.plan.out

    def to_json(self) -> dict[str, Any]:
        """What ``edgesmith export --json`` prints."""
        return {
            "bundle": str(self.plan.out) if self.bundle else None,
            "report": str(self.plan.out / "report.html") if self.bundle else None,
            "artefacts": str(self.artefacts) if self.artefacts else None,
            "plan": self.plan.to_json(),
            "stages": [stage.to_json() for stage in self.stages],
            "parity": [row.to_json() for row in self.parity],
            "notes": list(self.notes),
        }


def export(model: str, weights: str = "random", *, dry_run: bool = False, progress: Progress | None = None,
           **choices: Any) -> Result:  # fmt: skip
    """Export a model to a verified bundle. ``choices`` are those of ``plan.make_plan``.

    Raises:
        UserMistake: something asked for cannot be done; nothing was written.
        ParityFailed: the graph does not compute what PyTorch computes; the artefacts are kept in the folder it names.
    """
    plan = make_plan(model, weights, **choices)
    if dry_run:
        return Result(plan)
    with run_beside(plan.out, progress) as run:
        return run_plan(plan, run)


def run_plan(plan: Plan, run: Run) -> Result:
    """Carry out a plan, stage by stage."""
    from ..models import prepare
    from .build import build
    from .made import Made
    from .pack import draft, publish
    from .parity import Judge, check, check_each_pass
    from .rewrite import rewrite
    from .trace import trace

    with run.stage("create", f"{plan.spec.name}, weights {plan.weights}") as stage:
        size = (plan.shapes.opt[2], plan.shapes.opt[3])
        source = prepare(plan.spec.name, plan.weights, plan.num_classes, size, plan.seed)
        parameters = sum(parameter.numel() for parameter in source.module.parameters())
        stage.detail = f"{plan.spec.name}, {parameters / 1e6:.2f} M parameters, {plan.num_classes} classes, weights {source.source}"
        judge = Judge(source.module, plan)

    with run.stage("trace", "torch.export, then ONNX") as stage:
        exported = trace(source.module, plan.shapes, name=plan.spec.name, opset=plan.opset)
        stage.detail = f"{len(exported.model.graph)} nodes, opset {plan.opset}, input {spell(plan.shapes.symbolic())}"
        stage.size_bytes = run.save(10, "exported", exported.model)

    with run.stage("rewrite", f"for {plan.target.name}") as stage:
        each = check_each_pass(judge, run) if plan.verify_each else None
        rewritten = rewrite(exported, plan.target.order, skip=plan.skip, verify_each=each)
        stage.detail = f"{len(exported.model.graph)} -> {len(rewritten.model.graph)} nodes, {passes_told(rewritten)}"
        stage.size_bytes = run.save(20, "rewritten", rewritten.model)

    with run.stage("precision", plan.precision) as stage:
        typed = typed_graph(plan, rewritten.model, judge)
        stage.detail = plan.precision + (f", {len(typed.islands)} nodes kept in fp32" if typed.islands else "")
        stage.size_bytes = run.save(30, plan.precision, typed.model)

    with run.stage("build", f"for {plan.target.engine}") as stage:
        built = build(typed.model, plan.target, plan.gpu_arch, plan.shapes, run.folder, run.progress)
        stage.detail = built.summary
        stage.size_bytes = built.size_bytes

    made = Made(source, exported, rewritten, typed, built)
    with run.stage("verify", "against PyTorch eager fp32") as stage:
        bundle = draft(plan, run, made, judge)
        parity, notes = check(judge, made, bundle, run)
        stage.detail = f"{sum(row.passed for row in parity)} of {len(parity)} checks against PyTorch eager fp32 hold"

    with run.stage("bundle", str(plan.out)) as stage:
        bundle = publish(plan, run, bundle, parity, [*source.notes, *notes])
        stage.detail = f"{plan.out}, report and self-test inside"
        stage.size_bytes = sum(path.stat().st_size for path in bundle.path.rglob("*") if path.is_file())

    artefacts = keep(run, plan.run_folder) if plan.keep else None
    return Result(plan, bundle, tuple(parity), tuple(run.stages), artefacts, tuple(bundle.manifest["notes"]))


def typed_graph(plan: Plan, model: ir.Model, judge: Judge) -> PrecisionResult:
    """The graph in the precision of the plan, with the float32 islands that real inputs show to be needed."""
    from .islands import choose_islands
    from .precision import to_precision

    if plan.precision == "fp32":
        return to_precision(model, "fp32")
    islands = choose_islands(model, {"images": judge.one_batch(plan.shapes.opt)}, precision=plan.precision)
    typed = to_precision(model, plan.precision, keep=islands.why, max_opset=plan.target.max_opset)
    return replace(typed, report={**typed.report, "measured": islands.to_json()})


def passes_told(rewritten: RewrittenGraph) -> str:
    """``9 of 14 passes changed something, 2 refused 5 places``."""
    applied = sum(record.count > 0 for record in rewritten.passes)
    refusals = [len(record.refused) for record in rewritten.passes if record.refused]
    told = f"{applied} of {len(rewritten.passes)} passes changed something"
    return told + (f", {len(refusals)} refused {sum(refusals)} places" if refusals else "")
