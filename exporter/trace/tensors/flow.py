"""The flow of tensors by name on one screen: file -> exported -> rewritten -> typed -> engine -> judged -> bundle.

The stages are those of pipeline.py; what differs is that the inputs are several, and no pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ....graph.run import open_session
from ....runtime.backends.load import load
from ....runtime.bundle.bundle import Bundle, write_bundle
from ....runtime.bundle.golden import GOLDEN, golden_bytes
from ....runtime.bundle.publish import Content
from ....runtime.bundle.vet import sha256
from ....runtime.errors import BackendUnavailable, ParityFailed
from ....runtime.ground.limits import FP32
from ...bundle.made import Made
from ...bundle.pack import manifest, publish, written
from ...bundle.sound import leave_out_wrong
from ...engine.build import build
from ...precision.casts import PrecisionResult, to_precision
from ...precision.emulate import emulate
from ...precision.islands import choose_islands
from ...run.nouns import ExportedGraph
from ...run.stages import Run, keep, not_lost
from ..file.original import run_by_name
from ..file.read import read_graph
from ..file.source import IN_FULL, JUDGE
from .judge import Case, TensorRow, judged_cases, rows
from .plan import make_plan

if TYPE_CHECKING:
    import onnx_ir as ir

    from ...plan.plan import Plan

__all__ = ["Carried", "carry_out", "make_plan"]

GOLDEN_CASES = 2  # of the usual sizes: cases of one golden file have the same


@dataclass(frozen=True)
class Carried:
    """What the pipeline tells of it."""

    bundle: Bundle
    parity: tuple[TensorRow, ...]


@dataclass(frozen=True)
class FileOrigin:
    """Where the graph comes from, as the manifest has it."""

    source: str
    sha256: str | None
    notes: tuple[str, ...]
    averaged: bool = False

    @property
    def entries(self) -> Mapping[str, Any]:
        return {"judge": IN_FULL}


def carry_out(plan: Plan, run: Run) -> Carried:
    """Export by a plan of plan.make_plan.

    Raises:
        UserMistake: the file does not run, or cannot be written in what target and precision need; nothing was written.
        ParityFailed: what was made does not compute what the file computes.
    """
    file = plan.spec.file
    assert file is not None
    path, inputs = Path(file.path), plan.rule.inputs
    with run.stage("create", f"{path.name}, opset {file.opset}") as stage:
        usual, largest = ([one.at(key) for one in inputs] for key in ("opt", "max"))
        read = read_graph(path, usual, largest, {one.name: one.shape for one in inputs}, plan.opset)
        origin = FileOrigin(path.name, sha256(path), read.notes)
        cases = judged_cases(plan)
        stage.detail = f"{path.name}, opset {file.opset}, {plan.spec.parameters / 1e6:.2f} M parameters, {file.words()}"
    exported = ExportedGraph(read.model, plan.spec.name, plan.shapes, plan.input_name, plan.output_names)
    with run.stage("rewrite", f"for {plan.target.name}") as stage:
        rewritten, known = leave_out_wrong(
            plan, exported, rows_at(cases), list(dict.fromkeys(one.shape for one in cases))
        )
        stage.detail = f"{len(read.model.graph)} -> {len(rewritten.model.graph)} nodes"
        stage.size_bytes = run.save(20, "rewritten", rewritten.model)
    with run.stage("precision", plan.precision) as stage:
        typed = typed_graph(plan, rewritten.model, cases[0].feeds)
        stage.detail = plan.precision + (f", {len(typed.islands)} nodes kept in fp32" if typed.islands else "")
        stage.size_bytes = run.save(30, plan.precision, typed.model)
    with run.stage("build", f"for {plan.target.engine}") as stage:
        bounds = {one.name: (one.min, one.opt, one.max) for one in inputs}
        built = build(
            typed.model, plan.target, plan.gpu_arch, bounds, run.folder, run.progress, route=plan.plugin_route
        )
        stage.detail, stage.size_bytes = built.summary, built.size_bytes
    made = Made(origin, exported, rewritten, typed, built)
    with run.stage("verify", f"against {IN_FULL}") as stage:
        draft = drafted(plan, run, made, cases)
        parity, notes = checked(plan, run, made, draft, cases, known)
        stage.detail = f"{sum(row.passed for row in parity)} of {len(parity)} checks against {IN_FULL} hold"
    with run.stage("bundle", str(plan.out)) as stage:
        with not_lost(draft.path, plan.out):
            bundle = publish(plan, run, draft, made, None, parity, [*plan.notes, *origin.notes, *notes])
        stage.detail = f"{plan.out}, report and self-test inside"
        stage.size_bytes = sum(one.stat().st_size for one in bundle.path.rglob("*") if one.is_file())
    return Carried(bundle, tuple(parity))


def rows_at(cases: tuple[Case, ...]) -> Callable[[ir.Model, Sequence[tuple[int, ...]]], list[TensorRow]]:
    """Graph, shapes of the first input -> the rows of the cases that have them."""

    def judged(model: ir.Model, shapes: Sequence[tuple[int, ...]]) -> list[TensorRow]:
        some = tuple(case for case in cases if case.shape in shapes)
        return rows("rewritten", "ONNX Runtime", _runner(model), some, FP32)

    return judged


def typed_graph(plan: Plan, model: ir.Model, feeds: dict[str, np.ndarray]) -> PrecisionResult:
    """The graph in the precision of the plan; the islands are those that the usual inputs show to be needed."""
    if plan.precision == FP32:
        return to_precision(model, FP32)
    islands = choose_islands(model, feeds, precision=plan.precision)
    limit, engine = plan.target.max_opset, plan.target.engine.name
    typed = to_precision(model, plan.precision, keep=islands.why, max_opset=limit, engine=engine)
    return replace(typed, report={**typed.report, "measured": islands.to_json()})


def drafted(plan: Plan, run: Run, made: Made, cases: tuple[Case, ...]) -> Bundle:
    """The bundle in the run's own folder; each golden case is one run, stacked along an axis of its own."""
    usual = [case for case in cases if case.shape == plan.shapes.opt]
    golden = [case for case in usual if _sizes(case) == _sizes(usual[0])][-GOLDEN_CASES:]
    inputs, outputs = (
        {name: np.stack([side(case)[name] for case in golden]) for name in side(golden[0])}
        for side in (lambda case: case.feeds, lambda case: case.answers)
    )
    content = manifest(plan, made)
    for key in ("input_contract", "labels", "num_classes"):
        del content[key]
    content["inputs"] = [one.to_json() for one in plan.rule.inputs]
    files: dict[str, Content] = {**written(run, made.built.files), GOLDEN: golden_bytes(inputs, outputs)}
    return write_bundle(run.folder / f"draft.{plan.precision}.edge", files, content, overwrite=True)


def _sizes(case: Case) -> list[tuple[int, ...]]:
    return [array.shape for array in (*case.feeds.values(), *case.answers.values())]


def checked(
    plan: Plan, run: Run, made: Made, draft: Bundle, cases: tuple[Case, ...], known: list[TensorRow]
) -> tuple[list[TensorRow], list[str]]:
    """The rows of the rewritten graph, which are ``known``, the typed one and the bundle; ParityFailed for the first that does not hold."""
    found = list(known)
    if plan.precision != FP32:
        rounded = _runner(emulate(made.typed.model, plan.precision), optimise=False)
        found += rows(plan.precision, "ONNX Runtime, rounded", rounded, cases, plan.precision)
    notes = []
    try:
        with load(draft) as session:
            found += rows("bundle", session.backend, session.run, cases, plan.precision)
    except BackendUnavailable as unavailable:
        what = "engine built" if draft.engines else "graph ready, engine is built on the device"
        notes.append(f"{what}, not run here: {unavailable.found or unavailable.what}")
    failed = [row for row in found if not row.passed]
    if failed and plan.check:
        raise ParityFailed(
            f"{plan.spec.name} as exported does not compute what {JUDGE} computes",
            found=f"{failed[0].stage} on {failed[0].runner}, {failed[0]}",
            expected=failed[0].limit,
            because="a rewrite, the precision or the engine changes the numbers",
            attempt=f"--precision {FP32}, --skip PASS, or look at the graphs kept in {keep(run, plan.run_folder)}",
        )
    return found, [*notes, *(f"parity does NOT hold: {row.stage} on {row.runner}, {row}" for row in failed)]


def _runner(model: ir.Model, optimise: bool = True) -> Any:
    session = open_session(model, optimise=optimise)
    return lambda feeds: run_by_name(session, feeds)
