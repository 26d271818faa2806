"""What an export made -> the files and the manifest of its bundle; first a draft to verify, then the published one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...runtime.backends.load import load
from ...runtime.bundle.bundle import Bundle, write_bundle
from ...runtime.bundle.golden import GOLDEN, golden_bytes
from ...runtime.bundle.publish import Content, Moved, Same
from ...runtime.bundle.report import write_report
from ...runtime.errors import BackendUnavailable
from ...runtime.ground.limits import FP32, quantised
from ...runtime.session.pixels import prepared
from ..engine.fused_ops import WITH_KERNELS, unused
from ..plan.plan import Plan
from ..plan.targets import OURS
from ..run.runners import run_all, session_runner
from ..run.stages import Run
from .golden import golden_images, golden_picture
from .parity import typed_runner

if TYPE_CHECKING:
    from ...calibration.budget.choose import Choice
    from ..tasks.task import Row
    from .judge import Judge
    from .made import Made


def draft(plan: Plan, run: Run, made: Made, judge: Judge) -> Bundle:
    """The bundle in the run's own folder, still without parity and report: what is verified is what is shipped."""
    files: dict[str, Content] = written(run, made.built.files)
    files["labels.json"] = json.dumps(plan.labels, ensure_ascii=False, indent=0).encode()
    images, notes = golden_images(plan, judge)
    answers = judge.golden(images)
    shown = golden_picture(plan.contract.size, channels=4 if plan.contract.channels == 4 else 3)
    kept = plan.task.runtime.thinned(answers)
    outputs = plan.named(plan.task.runtime.separated(kept))
    files[GOLDEN] = golden_bytes({plan.input_name: images}, outputs, shown, prepared(shown, plan.contract))
    content = manifest(plan, made)
    content["notes"] += notes
    if quantised(plan.precision):  # what the device is held to: our own error on the same pictures, and some more
        found = run_all(typed_runner(made.typed.model), images, plan.shapes.opt[0])
        content["precision_report"] |= plan.task.golden_figures(
            kept, plan.task.runtime.thinned(found), plan.rule, plan.precision
        )
    return write_bundle(run.folder / f"draft.{plan.precision}.edge", files, content, overwrite=True)


def written(run: Run, files: Mapping[str, Path]) -> dict[str, Content]:
    """Files of a build: the graph and its weights go over into the draft, engines and what belongs to the package are copied."""
    own = {name for name, path in files.items() if name.startswith("model.onnx") and path.is_relative_to(run.folder)}
    return {name: Moved(path) if name in own else path for name, path in files.items()}


def publish(
    plan: Plan, run: Run, bundle: Bundle, made: Made, judge: Judge | None, parity: Sequence[Row], notes: list[str],
    choice: Choice | None = None,
) -> Bundle:  # fmt: skip
    """The draft with what was measured since, parity, stages and report, written to its place in one rename."""
    files: dict[str, Content] = {
        name: Same(bundle.path / name, record) for name, record in bundle.manifest["files"].items()
    }
    content = {key: value for key, value in bundle.manifest.items() if key != "files"}
    content["parity"] = [row.to_json() for row in parity]
    content["stages"] = [stage.to_json() for stage in run.stages]
    told = [*made.quantised.notes] if made.quantised else []
    if made.quantised:
        content["quantisation"] = {**made.quantised.report, "sizes": sizes(made, bundle)}
    if choice:
        told.append(choice.why)
        content["choice"] = choice.to_json()
    if judge is not None and judge.rounds and plan.precision == FP32:
        golden = next(iter(bundle.golden.inputs.values())).copy()  # what is read from the file cannot be written to
        error = judge.own_error("golden", golden, plan.shapes.opt)
        content["precision_report"] = {**content["precision_report"], "golden_own_error": error}
    content["notes"] = [*content["notes"], *told, *notes]
    pictures, report = drawn(plan, judge, bundle)
    files |= pictures
    content |= report
    files["report.html"] = write_report({**content, "files": bundle.manifest["files"]}).encode()
    return write_bundle(plan.out, files, content, overwrite=plan.overwrite)


def drawn(plan: Plan, judge: Judge | None, bundle: Bundle) -> tuple[Mapping[str, bytes], dict[str, Any]]:
    """Pictures for the report where the task draws some, PyTorch beside the bundle as it runs here; else nothing."""
    inputs = [(picture.name, picture.path) for picture in plan.pictures]
    if judge is None or not plan.task.draws or not inputs or plan.shapes.sides(plan.shapes.opt) != plan.contract.size:
        return {}, {}
    try:
        with load(bundle) as session:
            files, entries = plan.task.pictures(
                inputs, judge.runner, session_runner(session), plan.rule, plan.contract, plan.labels, plan.shapes.opt[0]
            )
    except BackendUnavailable:
        return {}, {}
    return files, entries


def sizes(made: Made, bundle: Bundle) -> dict[str, int]:
    """Bytes of the rewritten graph in float32, and of the graph that ships; weights beside the file are counted."""
    import onnx_ir

    from ...graph.beside import is_beside, settle, weight_bytes

    settle(made.rewritten.model)
    shipped = (told["bytes"] for name, told in bundle.manifest["files"].items() if name.startswith("model.onnx"))
    model = made.rewritten.model
    beside = weight_bytes(model) if is_beside(model) else 0
    return {FP32: onnx_ir.to_proto(model).ByteSize() + beside, "quantised": sum(shipped)}


def manifest(plan: Plan, made: Made) -> dict[str, Any]:
    """Everything the runtime, the report and a reader need to know of a bundle; its schema and hash are added where it is written."""
    spec = plan.spec
    dynamic = bool(plan.shapes.dynamic_axes)
    shapes = {name: list(getattr(plan.shapes, name)) if dynamic else None for name in ("min", "opt", "max")}
    return {
        "name": plan.out.name.removesuffix(".edge"),
        "model": spec.recorded_name,
        **({"model_args": dict(spec.asked)} if spec.asked else {}),
        "family": spec.family,
        "variant": spec.recorded_name,
        "paper": spec.paper,
        "licence": {"code": spec.licence_code, "weights": spec.licence_weights},
        "weights": {"source": made.source.source, "sha256": made.source.sha256, "seed": plan.seed,
                    "ema": made.source.averaged},
        **made.source.entries,
        "task": spec.task,
        "num_classes": plan.num_classes,
        "target": plan.target.name,
        **engine(plan),
        "precision": plan.precision,
        "gpu_arch": plan.gpu_arch,
        "opset": made.built.opset,
        "inputs": [{"name": plan.input_name, "dtype": plan.contract.dtype, "shape": list(plan.shapes.symbolic()), **shapes}],
        "outputs": list(made.built.outputs),
        "input_contract": plan.contract.to_json(),
        "labels": "labels.json",
        **plan.task.entries(plan.rule),
        "rewrite": {
            "passes": [
                {"name": record.name, "count": record.count, "refused": [asdict(refusal) for refusal in record.refused],
                 "seconds": round(record.seconds, 4)}
                for record in made.rewritten.passes
            ],
            "skipped": [name for name in plan.skip if name not in {one.name for one in made.rewritten.left_out}],
            "left_out": [asdict(one) for one in made.rewritten.left_out],
            "nodes_before": dict(made.rewritten.nodes_before),
            "nodes_after": dict(made.rewritten.nodes_after),
            "fused": made.built.fused,
        },
        **plugins(made.built.fused),
        "precision_report": dict(made.typed.report),
        "quantisation": made.quantised.report if made.quantised else None,
        "parity": [],
        "benchmark": None,
        "engines": [engine for engine in made.built.engines],
        "notes": [*(f"left out: {one.name}, {one.why}" for one in made.rewritten.left_out), *made.rewritten.notes, *made.built.notes, *unused(plan, made.built.fused)],
    }  # fmt: skip


def engine(plan: Plan) -> dict[str, str]:
    """``engine`` of the manifest where a device cannot know it by the target's name: the target was added here."""
    return {} if plan.target.name in OURS else {"engine": plan.target.engine.name}


def plugins(fused: dict[str, Any] | None) -> dict[str, Any]:
    """``plugins`` of the manifest, where the engine is to take the nodes from the kernel pack in the bundle."""
    if fused is None or fused["route"] not in WITH_KERNELS:
        return {}
    return {"plugins": {"route": fused["route"], "ops": list(fused["ops"])}}
