"""One traced model in another precision, without stages of its own: what "auto" tries, and the rival of a quantised bundle."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ...plan.plan import Plan
from ...run.stages import Run
from ..made import Made, Origin

if TYPE_CHECKING:
    from ....calibration.budget.hold import Quantised
    from ....runtime.bundle.bundle import Bundle
    from ...precision.casts import PrecisionResult
    from ...run.nouns import ExportedGraph, RewrittenGraph
    from ..judge import Judge


@dataclass(frozen=True)
class Traced:
    """What all variants share."""

    source: Origin
    exported: ExportedGraph
    judge: Judge
    run: Run


@dataclass(frozen=True)
class Variant:
    """A plan and the graphs it led to."""

    plan: Plan
    rewritten: RewrittenGraph
    typed: PrecisionResult
    quantised: Quantised | None = None


def in_floating_point(plan: Plan, precision: str | None = None) -> Plan:
    """The same export without quantisation: ``NAME.fp32.edge``, in the target's own precision unless another is named."""
    kind = precision or plan.target.default_precision
    out = plan.out.with_name(f"{plan.out.name.removesuffix('.edge')}.{kind}.edge")
    return replace(plan, precision=kind, calibration=None, out=out)


def make_variant(plan: Plan, traced: Traced) -> Variant:
    """Rewritten, quantised where the plan says so, typed."""
    from ...engine.fused_ops import needed_types
    from ...patterns.order import passes_for
    from ...patterns.rewrite import rewrite
    from ...precision.quantise import quantise_within
    from ...precision.typed import typed_graph

    runs = {
        step.__name__ for step in passes_for(plan.order, plan.plugins)
    }  # a pass skipped on request may not run here at all
    skip = [name for name in plan.skip if name in runs]
    rewritten = rewrite(traced.exported, plan.order, skip=skip, plugins=plan.plugins, needs_kernel=needed_types(plan))
    quantised = quantise_within(plan, rewritten.model, traced.run) if plan.calibration else None
    return Variant(plan, rewritten, typed_graph(plan, rewritten.model, traced.judge.one_batch, quantised), quantised)


def pack_variant(variant: Variant, traced: Traced) -> tuple[Made, Bundle]:
    """The variant built for its target, as a draft bundle."""
    from ...engine.build import build
    from ..pack import draft

    plan, run = variant.plan, traced.run
    folder = run.folder / f"variant-{plan.precision}"
    folder.mkdir(exist_ok=True)
    built = build(
        variant.typed.model, plan.target, plan.gpu_arch, plan.shapes, folder, run.progress, finish=plan.finish,
        route=plan.plugin_route,
    )  # fmt: skip
    made = Made(traced.source, traced.exported, variant.rewritten, variant.typed, built, variant.quantised)
    return made, draft(plan, run, made, traced.judge)
