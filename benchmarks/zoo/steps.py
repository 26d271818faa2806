"""The steps of one model: through the product on the CPU, and built for TensorRT-RTX.

cpu    edgesmith.export("timm:NAME", weights=its checkpoint): trace, passes, judge, file, session; the traced graph is kept
time   the traced graph and the bundle's on ONNX Runtime, one thread, in turns, CPU time of the process
rtx    the stages of an export for rtx in fp16, from the kept trace on: passes, judge, types, engine for sm89; and the plain one
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx_ir as ir
from apart import Notes
from living import SEED, living, save, size_of
from softmaxes import attentions

import edgesmith
from edgesmith.exporter.bundle.judge import Judge
from edgesmith.exporter.bundle.sound import rewrite_soundly
from edgesmith.exporter.engine.rtx import build_rtx
from edgesmith.exporter.engine.xray import read_engine
from edgesmith.exporter.plan.plan import Plan, make_plan
from edgesmith.exporter.precision.typed import typed_graph
from edgesmith.exporter.run.nouns import ExportedGraph
from edgesmith.exporter.trace.source import open_source
from edgesmith.models.registry import find
from edgesmith.runtime.errors import EdgesmithError

CLASSES = 1000  # of networks that come without any
BUILD_S = 240.0
CHECKPOINT, PLAIN, OURS = "weights.safetensors", "plain.onnx", "ours.onnx"


def cpu(name: str, folder: Path, notes: Notes) -> None:
    """The whole export; its parity, passes and nodes. Checkpoint, traced graph and ours stay in ``folder``."""
    with told_in(notes, "create"):
        spec = find(f"timm:{name}")
        size, classes = size_of(spec), spec.num_classes or CLASSES
        save(living(spec, classes, size), folder / CHECKPOINT)
        notes.put(size=list(size), own_size=list(spec.contract.size), parameters=spec.parameters)
        notes.put(num_classes=classes)
    with told_in(notes, "export"):
        result = edgesmith.export(
            f"timm:{name}", str(folder / CHECKPOINT), target="cpu", out=str(folder / "cpu.edge"), keep=True,
            overwrite=True, seed=SEED, **_choices(notes),
        )  # fmt: skip
        assert result.bundle is not None and result.artefacts is not None
        seconds = {stage.name: round(stage.seconds, 1) for stage in result.stages}
        notes.put(**_rewrite(result.bundle.manifest["rewrite"]), parity=_parity(result.parity), stages=seconds)
        shutil.copy(next(result.artefacts.glob("10*.onnx")), folder / PLAIN)
        shutil.copy(result.path / "model.onnx", folder / OURS)
        for weights in (*result.artefacts.glob("00-*"), *result.path.glob("model.onnx.data")):  # of more than 1.5 GB
            shutil.copy(weights, folder / weights.name)
        shutil.rmtree(result.artefacts)
        shutil.rmtree(result.path)
        notes.put(attentions=len(attentions(ir.load(folder / PLAIN))))


def cpu_again(name: str, folder: Path, notes: Notes) -> None:
    """The row of ``cpu`` from the trace that is kept: passes and judge of today, without tracing and the bundle."""
    _, _, graphs = rewritten_for("cpu", name, folder, notes)
    ir.save(graphs["ours"], folder / OURS)


def rtx(name: str, folder: Path, notes: Notes) -> None:
    """Engines of the rewritten and the plain graph in fp16: kernels, fused attention, or why there is none."""
    plan, judge, graphs = rewritten_for("rtx", name, folder, notes)
    for form, model in graphs.items():
        notes.put(stage=f"build {form}")
        try:
            typed = typed_graph(plan, model, judge.one_batch)
            xray = read_engine(build_rtx(typed.model, plan.gpu_arch or "sm89", timeout_s=BUILD_S).data)
        except Exception as error:  # noqa: BLE001  what does not build is a finding
            notes.put(**{form: {"failed": first_lines(error)}})
            continue
        alone = [str(node.name) for node in attentions(typed.model) if not xray.fused_in(str(node.name))]
        found = {"kernels": xray.kernels, "fused": xray.fused_attention, "islands": len(typed.islands), "alone": alone}
        notes.put(**{form: found})
    notes.put(stage="")


def rewritten_for(target: str, name: str, folder: Path, notes: Notes) -> tuple[Plan, Judge, dict[str, ir.Model]]:
    """The kept trace through passes and judge of an export for ``target``; both graphs, ours first."""
    with told_in(notes, "plan"):
        plan = make_plan(
            f"timm:{name}", str(folder / CHECKPOINT), target=target, out=str(folder / f"{target}.edge"),
            overwrite=True, seed=SEED, **_choices(notes),
        )  # fmt: skip
        source = open_source(plan)
        judge = Judge(source.runner, source.judge, plan, source.module)
        plain = ir.load(folder / PLAIN)
        exported = ExportedGraph(plain, plan.spec.name, plan.shapes, plan.input_name, plan.output_names)
    with told_in(notes, "rewrite"):
        rewritten, rows = rewrite_soundly(plan, exported, judge)
        nodes = {"nodes_before": rewritten.nodes_before, "nodes_after": rewritten.nodes_after}
        passes = [{"name": one.name, "count": one.count} for one in rewritten.passes]
        left_out = [{"name": one.name, "why": one.why} for one in rewritten.left_out]
        notes.put(**_rewrite({**nodes, "passes": passes, "left_out": left_out}), parity=_parity(rows))
    return plan, judge, {"ours": rewritten.model, "plain": plain}


def first_lines(error: BaseException) -> str:
    """What an error says, in one line."""
    if isinstance(error, EdgesmithError):
        return " | ".join(part for part in (error.what, error.found, error.because) if part)[:400]
    cause = error.__cause__
    told = f" ({type(cause).__name__}: {str(cause).strip().splitlines()[0]})" if cause and str(cause).strip() else ""
    return (f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}" + told)[:400]


@contextmanager
def told_in(notes: Notes, stage: str) -> Iterator[None]:
    """A step that stops says where, and why."""
    notes.put(stage=stage)
    try:
        yield
    except Exception as error:
        notes.put(failed=first_lines(error))
        raise
    notes.put(stage="")


def _choices(notes: Notes) -> dict[str, Any]:
    """What both exports of a model are asked for beside the target."""
    size = notes.row["size"]
    return {"image_size": f"{size[0]}x{size[1]}", "num_classes": notes.row["num_classes"]}


def _rewrite(told: dict[str, Any]) -> dict[str, Any]:
    """Of the manifest: nodes before and after, passes that fired, those left out."""
    return {
        "nodes_before": sum(told["nodes_before"].values()),
        "nodes_after": sum(told["nodes_after"].values()),
        "passes": {one["name"]: one["count"] for one in told["passes"] if one["count"]},
        "left_out": [f"{one['name']}: {one['why']}" for one in told["left_out"]],
    }


def _parity(rows: Any) -> dict[str, Any]:
    """The worst row, and whether all hold."""
    worst = max(rows, key=lambda row: row.max_abs)
    return {"holds": all(row.passed for row in rows), "max_abs": float(f"{worst.max_abs:.1e}"), "largest": float(f"{worst.largest:.2e}"), "limit": worst.limit}  # fmt: skip
