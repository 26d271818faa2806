"""The whole flow on one screen: checkpoint -> torch model -> exported -> rewritten -> quantised -> typed -> engine -> bundle.

Start reading here. Each stage is one module of the same name, and hands the next a frozen noun (run/nouns.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ..models.doors.kinds import as_task
from ..models.doors.names import FILES, door_of
from ..models.registry import MODELS, find
from .plan import plan as plan_module
from .plan.plan import Plan
from .run.arguments import spell
from .run.stages import Progress, Run, Stage, keep, not_lost, run_beside
from .tasks.known import find_export

if TYPE_CHECKING:
    from pathlib import Path

    from ..runtime.bundle.bundle import Bundle
    from .run.nouns import RewrittenGraph
    from .tasks.task import Row


@dataclass(frozen=True)
class Result:
    """What an export made: the bundle (None after a dry run), its parity rows, its stages, the kept artefacts."""

    plan: Plan
    bundle: Bundle | None = None
    parity: tuple[Row, ...] = ()
    stages: tuple[Stage, ...] = ()
    artefacts: Path | None = None
    notes: tuple[str, ...] = field(default=())
    quantisation: dict[str, Any] | None = None  # as the manifest has it
    beside: Bundle | None = None  # the bundle in floating point, kept because the quantised one is not faster here

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
            "fused": self.bundle.manifest["rewrite"]["fused"] if self.bundle else None,
            "quantisation": self.quantisation,
            "beside": str(self.beside.path) if self.beside else None,
            "notes": list(self.notes),
        }


def export(model: str, weights: str | None = None, *, dry_run: bool = False, progress: Progress | None = None,
           **choices: Any) -> Result:  # fmt: skip
    """Export a model to a verified bundle. ``choices`` are those of ``plan.make_plan``.

    Raises:
        UserMistake: something asked for cannot be done; nothing was written.
        ParityFailed: the graph does not compute what PyTorch computes, or misses the accuracy budget; the artefacts are
            kept in the folder it names ("auto" that finds no precision keeps none).
    """
    own = _own_flow(model, choices.get("task")) if isinstance(model, str) else ""
    flow = import_module(f".{own}", __package__) if own else None  # a task of several graphs has a screen of its own
    plan = (flow or plan_module).make_plan(model, weights, **choices)
    if dry_run:
        return Result(plan)
    with run_beside(plan.out, progress) as run:
        if flow is None:
            return run_plan(plan, run)
        carried = flow.carry_out(plan, run)
        kept = keep(run, plan.run_folder) if plan.keep else None
        return Result(
            plan, carried.bundle, carried.parity, tuple(run.stages), kept, tuple(carried.bundle.manifest["notes"])
        )


def _own_flow(model: str, task: str | None) -> str:
    """The flow of the model's task, where it has one of its own; networks behind a door have the usual one.

    ``task``: what somebody says that the answers of a file mean.
    """
    door = door_of(model) if model not in MODELS else None
    return "" if door and door[0] != FILES else find_export(as_task(find(model), task).task).flow


def run_plan(plan: Plan, run: Run) -> Result:
    """Carry out a plan, stage by stage."""
    from .bundle.judge import Judge
    from .bundle.made import Made
    from .bundle.pack import draft, publish
    from .bundle.parity import check, check_each_pass
    from .bundle.rivals.auto import choose_precision
    from .bundle.rivals.beside_fp16 import audit_build
    from .bundle.rivals.duel import race
    from .bundle.rivals.variant import Traced
    from .bundle.sound import rewrite_soundly
    from .engine.build import build
    from .engine.fused_ops import fused_ops
    from .precision.quantise import hold_budget, quantise_within
    from .precision.typed import typed_graph
    from .trace.others import it_runs
    from .trace.source import open_source

    with run.stage("create", f"{plan.spec.name}, weights {plan.weights}") as stage:
        source = open_source(plan)
        stage.detail = source.detail
        judge = Judge(source.runner, source.judge, plan, source.module)
        with it_runs(plan.spec):
            judge.check_answers()

    with run.stage("trace", source.how) as stage:
        exported = source.export(run.folder)
        stage.detail = f"{len(exported.model.graph)} nodes, opset {plan.opset}, input {spell(plan.shapes.symbolic(), plan.input_name)}"
        stage.size_bytes = run.save(10, "exported", exported.model)

    traced = Traced(source, exported, judge, run)
    choice = None
    if plan.precision == "auto":
        plan, choice = choose_precision(plan, traced)
        judge.plan = plan

    with run.stage("rewrite", f"for {plan.target.name}") as stage:
        rewritten, rows = rewrite_soundly(
            plan, exported, judge, check_each_pass(judge, run) if plan.verify_each else None
        )
        plan = judge.plan = plan.without(one.name for one in rewritten.left_out)
        stage.detail = f"{len(exported.model.graph)} -> {len(rewritten.model.graph)} nodes, {passes_words(rewritten)}"
        fused = sum(fused_ops(rewritten.model).values())
        stage.detail += f", {fused} fused ops" if fused else ""
        stage.detail += "".join(f", left out {one.name}" for one in rewritten.left_out)
        stage.size_bytes = run.save(20, "rewritten", rewritten.model)

    quantised = quantise_within(plan, rewritten.model, run) if plan.calibration else None
    if quantised:
        hold_budget(plan, quantised, run)

    with run.stage("precision", plan.rest) as stage:
        typed = typed_graph(plan, rewritten.model, judge.one_batch, quantised)
        stage.detail = plan.rest + (" around it" if quantised else "")
        stage.detail += f", {len(typed.islands)} nodes kept in fp32" if typed.islands else ""
        stage.size_bytes = run.save(30, plan.precision, typed.model)

    with run.stage("build", f"for {plan.target.engine}") as stage:
        built = build(
            typed.model, plan.target, plan.gpu_arch, plan.shapes, run.folder, run.progress, finish=plan.finish,
            route=plan.plugin_route,
        )  # fmt: skip
        stage.detail = built.summary
        stage.size_bytes = built.size_bytes

    if quantised:
        quantised, typed, built = audit_build(plan, quantised, typed, built, traced)

    made = Made(source, exported, rewritten, typed, built, quantised)
    with run.stage("verify", f"against {source.judge_in_full}") as stage:
        bundle = draft(plan, run, made, judge)
        parity, notes = check(judge, made, bundle, run, rows)
        stage.detail = (
            f"{sum(row.passed for row in parity)} of {len(parity)} checks against {source.judge_in_full} hold"
        )

    beside = race(plan, made, bundle, traced) if quantised else None

    with run.stage("bundle", str(plan.out)) as stage:
        with not_lost(bundle.path, plan.out):
            bundle = publish(plan, run, bundle, made, judge, parity, [*plan.notes, *source.notes, *notes], choice)
        stage.detail = f"{plan.out}, report and self-test inside"
        stage.size_bytes = sum(path.stat().st_size for path in bundle.path.rglob("*") if path.is_file())

    artefacts = keep(run, plan.run_folder) if plan.keep else None
    told = bundle.manifest["quantisation"]
    return Result(
        plan, bundle, tuple(parity), tuple(run.stages), artefacts, tuple(bundle.manifest["notes"]), told, beside
    )


def passes_words(rewritten: RewrittenGraph) -> str:
    """``9 of 14 passes changed something, 2 refused 5 places``."""
    applied = sum(record.count > 0 for record in rewritten.passes)
    refusals = [len(record.refused) for record in rewritten.passes if record.refused]
    told = f"{applied} of {len(rewritten.passes)} passes changed something"
    return told + (f", {len(refusals)} refused {sum(refusals)} places" if refusals else "")
