"""What was asked -> a plan that can work: every choice checked before torch is imported, so a mistake costs a second.

The plan is frozen; the pipeline reads it and asks nothing further. ``--dry-run`` prints it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...calibration.precisions import AUTO, quantised_names
from ...models.registry import ModelSpec
from ...runtime.errors import UserMistake
from ..run import arguments
from ..run.nouns import INPUT, Shapes
from ..run.pictures import Picture, pictures, pictures_left_out
from ..tasks.known import check_choices, find_export, rules_report
from ..tasks.task import ExportTask
from . import fused_ops
from .checks import (
    check_open_size,
    check_out,
    check_size,
    check_weight_bytes,
    check_weights,
    gpu_arch_of,
    opset_of,
    skipped,
)
from .fused_ops import check_native, plan_plugins
from .labels import class_names
from .model_args import model_args_of
from .of_file import check_asked, check_file, file_notes, file_opset, file_shapes
from .preparing import (
    asked_fields,
    assumed,
    contract_words,
    found_for,
    prepared,
    recorded_at,
    with_contract_file,
)
from .quantised import plan_calibration
from .settings import TASK_CHOICES, Data, Place, Settings, settings_of
from .targets import Target, find_target

if TYPE_CHECKING:
    import onnx_ir as ir

    from ...calibration.budget.hold import Calibration
    from ...runtime.pictures.preprocess import ImageContract

CLASSES_LIMIT = 1_000_000
DYNAMIC_BATCH = (1, 8)
GRAPHS_AT_ONCE = 2  # exported and rewritten, both in float32, lie in the run's folder at the same time


@dataclass(frozen=True)
class Plan:
    """One export, decided."""

    spec: ModelSpec
    weights: str
    num_classes: int
    target: Target
    precision: str
    gpu_arch: str | None
    opset: int
    shapes: Shapes
    contract: ImageContract
    out: Path
    pictures: tuple[Picture, ...]
    labels: tuple[str, ...] = ()
    ema: bool | None = None  # averaged weights or plain ones; None: averaged where there are some
    notes: tuple[str, ...] = ()  # what was taken from where
    rule: Any = None  # what the task decided, such as thresholds
    calibration: Calibration | None = None
    plugins: tuple[str, ...] = ()
    plugin_route: str = ""
    plugins_asked: bool = False  # also where none of them occurs
    skip: tuple[str, ...] = ()
    keep: bool = False
    verify_each: bool = False
    check: bool = True
    overwrite: bool = False
    seed: int = 0

    @property
    def task(self) -> ExportTask:
        return find_export(self.spec.task)

    @property
    def input_name(self) -> str:
        """What the graph calls its pictures: a file keeps its own name for them."""
        return self.spec.file.inputs[0].name if self.spec.file else INPUT

    @property
    def output_names(self) -> tuple[str, ...]:
        """What the graph calls its outputs: those of the task, or those of the file."""
        return tuple(one.name for one in self.spec.file.outputs) if self.spec.file else self.task.runtime.outputs

    def named(self, outputs: dict[str, Any]) -> dict[str, Any]:
        """Outputs by the task's names -> by those of the graph; a file has its own."""
        return dict(zip(self.output_names, outputs.values(), strict=True))

    def finish(self, model: ir.Model, engine: str) -> tuple[ir.Model, list[str]]:
        """The graph with what the task wants inside the file, and notes on it."""
        return self.task.finish(model, self.rule, engine)

    @property
    def run_folder(self) -> Path:
        """Where the numbered artefacts go, when they are kept."""
        return self.out.with_name(self.out.name.removesuffix(".edge") + ".run")

    @property
    def rest(self) -> str:
        """What the floating-point part computes in: fp16 around quantised nodes on a GPU, fp32 on a CPU."""
        return self.target.default_precision if self.precision in (*quantised_names(), AUTO) else self.precision

    def without(self, passes: Iterable[str]) -> Plan:
        """The same plan with some more passes left out."""
        return replace(self, skip=tuple(dict.fromkeys((*self.skip, *passes))))

    @property
    def order(self) -> str:
        """Which rewrites run: a graph that will be quantised takes others than one that stays in floating point."""
        from ..patterns import order_for

        return order_for(self.target.order, self.precision)

    def to_json(self) -> dict[str, Any]:
        """The plan as ``--dry-run --json`` prints it."""
        return {
            "model": self.spec.name,
            "model_args": dict(self.spec.asked),
            "family": self.spec.family,
            "weights": self.weights,
            "ema": self.ema,
            "num_classes": self.num_classes,
            "target": self.target.name,
            "engine": self.target.engine.name,
            "precision": self.precision,
            "gpu_arch": self.gpu_arch,
            "opset": self.opset,
            "min_shape": list(self.shapes.min),
            "opt_shape": list(self.shapes.opt),
            "max_shape": list(self.shapes.max),
            "plugins": list(self.plugins),
            "plugin_route": self.plugin_route if self.plugins else None,
            "skip": list(self.skip),
            "check": self.check,
            "pictures": [picture.name for picture in self.pictures],
            **rules_report(self.task, self.rule),
            "quantise": self.calibration.to_json() if self.calibration else None,
            "preprocessing": None if self.task.runtime.arrays else contract_words(self.contract),
            "notes": list(self.notes),
            "out": str(self.out),
        }


def make_plan(model: str, weights: Place | None = Settings.weights, **choices: Any) -> Plan:
    """Check and complete every choice; ``choices`` are the settings of settings.py.

    Raises UserMistake for the first that cannot work.
    """
    asked, of_file = with_contract_file(settings_of(model, weights, choices))
    fields = {**of_file, **asked_fields(asked)}
    published = found_for(model, model_args_of(asked.model_args), fields)
    weights = published.usual_weights if weights is None else str(weights)
    check_weight_bytes(published)
    check_weights(weights)
    record = recorded_at(weights, fields)
    spec = record.applied(published).with_classes(asked.num_classes)
    goal = find_target(asked.target)
    kind = arguments.precision(asked.precision or goal.default_precision)
    arch = gpu_arch_of(goal, asked.gpu_arch, kind)
    if kind != AUTO:
        goal.check_precision(kind, arch)
    if spec.file:
        check_asked(spec, asked)
        check_file(spec.file, goal, kind)
    shapes = _shapes(spec, asked, fields.get("layout"))
    if asked.num_classes is not None and not 0 <= asked.num_classes <= CLASSES_LIMIT:
        raise UserMistake(
            "That is not a number of classes",
            found=f"--num-classes {asked.num_classes}",
            expected=f"1 to {CLASSES_LIMIT}, or 0 for a network without its classifier",
            attempt=f"--num-classes 10, or leave it out for the model's own {spec.num_classes}",
        )
    ops = plan_plugins(spec, asked.plugins)
    route = check_native(goal, asked.native_plugins, ops, fused_ops.asked(asked.plugins))
    steps = skipped(asked, goal, kind, ops)
    destination = Path(asked.out) if asked.out else Path(f"{spec.file_name}.edge")
    check_out(destination, asked.overwrite, asked.data, GRAPHS_AT_ONCE * 4 * spec.parameters)
    task, own = find_export(spec.task), {name: getattr(asked, name) for name in TASK_CHOICES}
    check_choices(task, spec, own)
    if "fit" in task.choices and own["fit"] is None:
        own["fit"] = fields.pop("fit", None)
    contract = prepared(spec, task.fitted(spec.contract_for(shapes.sides(shapes.opt)), own), fields)
    names, outputs = class_names(spec, task, asked.num_classes, asked.labels)
    rule = task.plan(spec, goal, own)
    calibration = plan_calibration(asked, kind, goal, spec, task, contract, names, shapes.max[0])
    judged = None if calibration and calibration.data else asked.images or asked.data
    return Plan(
        spec=spec,
        weights=spec.file.path if spec.file else weights,
        num_classes=outputs,
        target=goal,
        precision=kind,
        gpu_arch=arch,
        opset=_opset(spec, goal, asked.opset, kind),
        shapes=shapes,
        contract=contract,
        out=destination,
        pictures=() if calibration and calibration.data else _pictures(judged),
        labels=names,
        ema=asked.ema,
        notes=(
            *spec.assumed,
            *record.told(published),
            *assumed(spec, fields, contract),
            *(file_notes(spec, shapes, asked.labels is not None) if spec.file else ()),
            *pictures_left_out(judged),
        ),
        rule=rule,
        calibration=calibration,
        plugins=ops,
        plugin_route=route,
        plugins_asked=fused_ops.asked(asked.plugins),
        skip=steps,
        keep=asked.keep,
        verify_each=asked.verify_each,
        check=asked.check,
        overwrite=asked.overwrite,
        seed=asked.seed,
    )


def _opset(spec: ModelSpec, target: Target, asked: int | None, precision: str) -> int:
    """What the graph is written in; a file keeps its own where it can."""
    told = opset_of(target, asked, precision)
    return file_opset(spec.file, target, precision, asked) if spec.file else told


def _shapes(spec: ModelSpec, asked: Settings, layout: str | None) -> Shapes:
    """The smallest, usual and largest input, each of which the network can see; ``layout``: where the user says it."""
    if spec.file:
        return file_shapes(spec, asked)
    contract = replace(spec.contract, layout=layout or spec.contract.layout)
    size = arguments.image_size(asked.image_size) or spec.contract.size
    batch = 1 if asked.batch is None else asked.batch
    batches = DYNAMIC_BATCH if asked.dynamic and str(batch) == "1" else arguments.batch(batch)
    flags = {"min-shapes": asked.min_shapes, "opt-shapes": asked.opt_shapes, "max-shapes": asked.max_shapes}
    minimum, usual, maximum = (
        arguments.shape(words, flag, contract=contract) if words else None for flag, words in flags.items()
    )
    shapes = arguments.shapes(size, batches, minimum, usual, maximum, contract=contract)
    for each in (shapes.opt, shapes.min, shapes.max):
        check_size(spec, shapes.sides(each))
    check_open_size(spec, shapes)
    return shapes


def _pictures(data: Data | None) -> tuple[Picture, ...]:
    """Pictures to judge a graph in floating point by."""
    if data is None or isinstance(data, (str, os.PathLike)):
        return pictures(None if data is None else Path(data))
    raise UserMistake(
        "Pictures in memory are for quantised precisions",
        found=f"data of type {type(data).__name__}",
        expected="a folder, or nothing",
        attempt='precision="int8", or data="photos/"',
    )
