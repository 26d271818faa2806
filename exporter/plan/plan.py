"""What was asked -> a plan that can work: every choice checked before torch is imported, so a mistake costs a second.

The plan is frozen; the pipeline reads it and asks nothing further. ``--dry-run`` prints it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...calibration.precisions import AUTO, quantised_names
from ...models.registry import ModelSpec, find
from ...runtime.errors import UserMistake
from ..run import arguments
from ..run.nouns import Shapes
from ..run.pictures import Picture, pictures
from ..tasks.known import check_choices, find_export, rules_told
from ..tasks.task import ExportTask
from .checks import check_open_size, check_out, check_size, check_weight_bytes, check_weights, gpu_arch_of, opset_of
from .fused_ops import asked, check_native, plan_plugins
from .labels import class_names
from .quantised import Calibration, Data, plan_calibration
from .targets import Target, find_target

if TYPE_CHECKING:
    import onnx_ir as ir

    from ...runtime.pictures.preprocess import ImageContract

CLASSES_LIMIT = 1_000_000
DYNAMIC_BATCH = (1, 8)


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
        """Of the graph's input; networks with several are not exported yet."""
        (only,) = self.spec.input_names
        return only

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

    @property
    def order(self) -> str:
        """Which rewrites run: a graph that will be quantised takes others than one that stays in floating point."""
        from ..patterns import order_for

        return order_for(self.target.order, self.precision)

    def to_json(self) -> dict[str, Any]:
        """The plan as ``--dry-run --json`` prints it."""
        return {
            "model": self.spec.name,
            "family": self.spec.family,
            "weights": self.weights,
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
            **rules_told(self.task, self.rule),
            "quantise": self.calibration.to_json() if self.calibration else None,
            "out": str(self.out),
        }


def make_plan(
    model: str,
    weights: str | os.PathLike[str] = "random",
    *,
    precision: str | None = None,
    target: str = "cpu",
    gpu_arch: str | None = None,
    num_classes: int | None = None,
    labels: str | os.PathLike[str] | None = None,
    image_size: int | str | Iterable[int] | None = None,
    fit: str | None = None,
    batch: int | str = 1,
    dynamic: bool = False,
    min_shapes: str | None = None,
    opt_shapes: str | None = None,
    max_shapes: str | None = None,
    opset: int | None = None,
    out: str | os.PathLike[str] | None = None,
    data: Data | None = None,
    images: str | os.PathLike[str] | None = None,
    nms: str | None = None,
    score: float | None = None,
    iou: float | None = None,
    max_detections: int | None = None,
    plugins: str | Iterable[str] | None = None,
    native_plugins: bool = False,
    skip: Iterable[str] = (),
    keep: bool = False,
    verify_each: bool = False,
    check: bool = True,
    overwrite: bool = False,
    seed: int = 0,
    **quantising: Any,
) -> Plan:
    """Check and complete every choice; ``quantising`` are those of ``plan_quantised.plan_calibration``.

    Raises UserMistake for the first that cannot work.
    """
    spec = find(model)
    check_weight_bytes(spec)
    goal = find_target(target)
    kind = arguments.precision(precision or goal.default_precision)
    arch = gpu_arch_of(goal, gpu_arch, kind)
    if kind != AUTO:
        goal.check_precision(kind, arch)
    size = arguments.image_size(image_size) or spec.contract.size
    batches = DYNAMIC_BATCH if dynamic and str(batch) == "1" else arguments.batch(batch)
    given = [
        arguments.shape(words, flag) if words else None
        for flag, words in (("min-shapes", min_shapes), ("opt-shapes", opt_shapes), ("max-shapes", max_shapes))
    ]
    shapes = arguments.shapes(size, batches, *given)
    for side in (shapes.opt, shapes.min, shapes.max):
        check_size(spec, (side[2], side[3]))
    check_open_size(spec, shapes)
    if num_classes is not None and not 1 <= num_classes <= CLASSES_LIMIT:
        raise UserMistake(
            "That is not a number of classes",
            found=f"--num-classes {num_classes}",
            expected=f"1 to {CLASSES_LIMIT}",
            attempt=f"--num-classes 10, or leave it out for the model's own {spec.num_classes}",
        )
    ops = plan_plugins(spec, plugins)
    route = check_native(goal, native_plugins, ops, asked(plugins))
    steps = (skip,) if isinstance(skip, str) else tuple(skip)
    if steps:
        from ..patterns import order_for
        from ..patterns.rewrite import check_skip

        check_skip(steps, order_for(goal.order, kind), ops)
    destination = Path(out) if out else Path(f"{spec.name}.edge")
    check_out(destination, overwrite)
    check_weights(str(weights))
    task = find_export(spec.task)
    choices = {"fit": fit, "nms": nms, "score": score, "iou": iou, "max_detections": max_detections}
    check_choices(task, spec, choices)
    contract = task.fitted(spec.contract_for((shapes.opt[2], shapes.opt[3])), choices)
    names = class_names(spec, num_classes, labels)
    rule = task.plan(spec, goal, choices)
    calibration = plan_calibration(
        kind, goal, spec, task, contract, names, data, images=images, seed=seed, **quantising
    )
    return Plan(
        spec=spec,
        weights=str(weights),
        num_classes=len(names),
        target=goal,
        precision=kind,
        gpu_arch=arch,
        opset=opset_of(goal, opset, kind),
        shapes=shapes,
        contract=contract,
        out=destination,
        pictures=() if calibration and calibration.data else _pictures(images or data),
        labels=names,
        rule=rule,
        calibration=calibration,
        plugins=ops,
        plugin_route=route,
        plugins_asked=asked(plugins),
        skip=steps,
        keep=keep,
        verify_each=verify_each,
        check=check,
        overwrite=overwrite,
        seed=seed,
    )


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
